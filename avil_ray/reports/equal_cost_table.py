"""What each search would have reached at equal cost, as a report shows it: sentences, a table, CSV, JSON."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import Any

from avil_ray.reports import formats
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.equal_cost import AtCost
from avil_ray.reports.page_tables import Row
from avil_ray.reports.statistics import Interval

NOTE = (
    "This replays searches on the trials that ran; nothing is trained for it. A search pays for a configuration, "
    "then sees its mean of select over seeds, and ends before the first that the budget does not cover. Of the one "
    "that is best on select, test is read. test: the mean over the search's repetitions ± half the 95 % interval "
    "over seeds. From search to search: half the 95 % interval of that mean over repetitions, and where 90 % of "
    "them lie. grid: evenly spaced values of each option, as many as can be paid for. random: drawn at random. "
    "asha: successive halving of configurations drawn at random, by their mean over seeds. optuna: the "
    "tree-structured Parzen estimator, which may propose a configuration again for free. surrogate: a Gaussian "
    "process, which always goes the same way. Intervals of differences are not corrected for the number of searches."
)
"""What the section rests on."""


def sentences(comparison: Comparison) -> list[str]:
    """The budget, the strongest search within it against the reference, and what could not be replayed."""
    found, reference = comparison.equal_cost, comparison.reference
    if found is None:
        return []
    said = []
    if found.budget is not None and reference is not None:
        origin = f"what all trials of {reference.label} took" if found.of_reference else "as the search space says"
        said.append(f"The budget is {found.budget:,} gradient steps: {origin}.")
    strongest = found.strongest(larger_is_better=comparison.facts.mode == "max")
    if strongest is not None and strongest.difference is not None and reference is not None:
        decimals, difference = formats.decimals_for(comparison), strongest.difference
        interval = formats.interval(difference.interval, decimals) if difference.interval else "one seed"
        said.append(
            f"Of the searches within it, {strongest.label} with {strongest.search} is best on select; on test "
            f"{reference.label} minus that is {formats.signed(difference.difference, decimals)} ({interval})."
        )
    return [*said, *found.remarks]


def rows(comparison: Comparison) -> list[Row]:
    """The reference, then every search; none where nothing could be replayed."""
    found, reference = comparison.equal_cost, comparison.reference
    if found is None or not found.found or reference is None:
        return []
    return [_reference_row(comparison), *(_row(comparison, reference.label, one) for one in found.found)]


def _reference_row(comparison: Comparison) -> Row:
    reference = comparison.reference
    assert reference is not None
    cells = {
        "method": reference.label,
        "search": "every configuration",
        "configurations": f"{len(reference.configurations):,}",
        "gradient steps": f"{reference.cost.gradient_steps:,}",
        "test": formats.estimate(reference.test, formats.decimals_for(comparison)),
        "from search to search": "",
        f"{reference.label} minus it": "",
    }
    return Row(cells, reference=True)


def _row(comparison: Comparison, reference: str, one: AtCost) -> Row:
    decimals, difference = formats.decimals_for(comparison), one.difference
    minus = ""
    if difference is not None:
        interval = f" {formats.interval(difference.interval, decimals)}" if difference.interval else " (one seed)"
        minus = formats.signed(difference.difference, decimals) + interval
    cells = {
        "method": one.label,
        "search": one.search if one.within else f"{one.search}, above the budget",
        "configurations": formats.number(one.configurations, 1 if one.configurations % 1 else 0),
        "gradient steps": f"{one.cost:,.0f}",
        "test": formats.estimate(one.test, decimals) if one.why_not is None else one.why_not,
        "from search to search": _spread(one, decimals),
        f"{reference} minus it": minus,
    }
    return Row(cells, reference=False)


def _spread(one: AtCost, decimals: int) -> str:
    """`± 0.001, 90 % in [0.87, 0.90]`, with how many could pay for nothing."""
    if one.over_searches is None or one.middle is None or one.over_searches.half_width is None:
        return ""
    said = (
        f"± {formats.number(one.over_searches.half_width, decimals)}, 90 % in {formats.interval(one.middle, decimals)}"
    )
    return f"{said}; {one.empty} of {one.repeats} could pay for nothing" if one.empty else said


def as_csv(comparison: Comparison) -> bytes:
    """A row a search, intervals as two columns each, numbers as they are."""
    text = io.StringIO()
    lines = [_flat(one) for one in (comparison.equal_cost.found if comparison.equal_cost else ())]
    writer = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def as_json(comparison: Comparison) -> dict[str, Any] | None:
    """The content of `equal_cost` in `summary.json`; None where nobody asked for it."""
    return asdict(comparison.equal_cost) if comparison.equal_cost else None


def _flat(one: AtCost) -> dict[str, Any]:
    plain = ("label", "search", "within", "repeats", "empty", "configurations", "cost", "select")
    return {
        **{name: getattr(one, name) for name in plain},
        "test": one.test.mean if one.test else None,
        **_ends("test", one.test.interval if one.test else None),
        **_ends("over_searches", one.over_searches.interval if one.over_searches else None),
        **_ends("middle", one.middle),
        "difference": one.difference.difference if one.difference else None,
        **_ends("difference", one.difference.interval if one.difference else None),
        "why_not": one.why_not,
    }


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
