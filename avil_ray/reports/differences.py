"""How two methods differ on test, and what they cost beside each other; p-values are corrected for their number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from avil_ray.reports.choosing import MethodSummary, Paid
from avil_ray.reports.statistics import BestOf, Mode, PairedEstimate, holm, paired_difference, seeds_to_tell

Verdict = Literal["ahead", "tie", "behind", "undecided"]
LEVEL = 0.05
"""A difference is one where its p-value, corrected for the number of comparisons, is below."""


@dataclass(frozen=True)
class PairedDifference:
    """Method `a` against method `b` on test, paired by seed; `estimate` is None where either has no result."""

    a: str
    b: str
    estimate: PairedEstimate | None
    cost_ratio: float | None
    """The gradient steps of all trials of `a`, over those of `b`; None where either took none."""
    reserved_cost_ratio: float | None
    """The same of the reserved device-seconds."""
    verdict: Verdict
    """How `a` stands: `tie` where the corrected p-value is `LEVEL` or more, `undecided` where there is none."""
    at_equal_cost: BestOf | None
    """What `b`'s search is expected to reach with as many whole configurations as cost no more than `a` did."""
    at_equal_reserved: BestOf | None
    """The same, where the cost is the reserved device time."""
    corrected: float | None = None
    """The p-value corrected (Holm) for the `comparisons` made at once; None where there is none."""
    comparisons: int = 1
    seeds_to_tell: int | None = None
    """See `statistics.seeds_to_tell`."""


def decide(
    found: Iterable[PairedDifference], methods: Mapping[str, MethodSummary], mode: Mode
) -> dict[tuple[str, str], PairedDifference]:
    """(a, b) -> their difference with its verdict, the p-values of all pairs corrected together.

    A pair counts once, even where it is there as a − b and as b − a.
    """
    by_pair = {(one.a, one.b): one for one in found}
    raw = {
        frozenset(pair): one.estimate.p_value
        for pair, one in by_pair.items()
        if one.estimate and one.estimate.p_value is not None
    }
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    decided = {}
    for (a, b), one in by_pair.items():
        p_value, mine, others = corrected.get(frozenset((a, b))), methods[a].chosen, methods[b].chosen
        decided[a, b] = one
        if p_value is not None and one.estimate and mine and others:
            decided[a, b] = replace(
                one,
                verdict=_verdict(one.estimate.difference, p_value, mode),
                corrected=p_value,
                comparisons=len(raw),
                seeds_to_tell=seeds_to_tell(mine.per_seed, others.per_seed, len(raw)),
            )
    return decided


def difference(a: MethodSummary, b: MethodSummary, mode: Mode) -> PairedDifference:
    """`a` minus `b`, without a verdict: see `decide`."""
    return PairedDifference(
        a=a.label,
        b=b.label,
        estimate=paired_difference(a.chosen.per_seed, b.chosen.per_seed) if a.chosen and b.chosen else None,
        cost_ratio=_ratio(a.cost.gradient_steps, b.cost.gradient_steps),
        reserved_cost_ratio=_ratio(a.cost.reserved_device_seconds, b.cost.reserved_device_seconds),
        verdict="undecided",
        at_equal_cost=_affordable(a, b, mode, "gradient_steps"),
        at_equal_reserved=_affordable(a, b, mode, "reserved_device_seconds"),
    )


def _affordable(a: MethodSummary, b: MethodSummary, mode: Mode, paid: Paid) -> BestOf | None:
    affordable = [best for best in b.best_of(mode, paid) if best.cost <= getattr(a.cost, paid)]
    return affordable[-1] if affordable else None


def _ratio(a: float, b: float) -> float | None:
    return a / b if a and b else None


def _verdict(difference: float, corrected: float, mode: Mode) -> Verdict:
    if corrected >= LEVEL:
        return "tie"
    return "ahead" if (difference > 0) == (mode == "max") else "behind"
