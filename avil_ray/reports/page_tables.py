"""The tables of a report: what stands in each cell, as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from avil_ray.reports import advice, auxiliaries, formats
from avil_ray.reports.alphas import AlphaFinding, TaskAlpha
from avil_ray.reports.choosing import MethodSummary
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.differences import PairedDifference


@dataclass(frozen=True)
class AlphaTable:
    """What alpha did under one label: sentences, and a row for each task."""

    label: str
    rounds: int
    sentences: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Row:
    """One method in a table: its cells by column, `method` first; `reference` rows stand out."""

    cells: Mapping[str, str]
    reference: bool


def standings(comparison: Comparison) -> list[Row]:
    """Every method on test, against the target alone and against the recommended one; best on select first."""
    decimals = formats.decimals_for(comparison)
    baselines = [(comparison.alone, comparison.against_alone), (comparison.best, comparison.against_best)]
    if comparison.alone is comparison.best:
        del baselines[0]
    shown = [(baseline, {one.a: one for one in found}) for baseline, found in baselines if baseline]
    rows = []
    for method in ranked(comparison):
        cells = {"method": method.label, "test": formats.estimate(method.test, decimals)}
        for baseline, found in shown:
            cells[f"against {baseline.label}"] = _against(found.get(method.label), decimals)
        rows.append(Row(cells, reference=method is comparison.best))
    return rows


def ranked(comparison: Comparison) -> list[MethodSummary]:
    """The methods, the best on select first and those without a result last."""
    sign = -1 if comparison.facts.mode == "max" else 1

    def place(method: MethodSummary) -> tuple[bool, float]:
        select = method.chosen.select if method.chosen else None
        return select is None, sign * select.mean if select else 0.0

    return sorted(comparison.methods, key=place)


def _against(one: PairedDifference | None, decimals: int) -> str:
    if one is None:
        return "the same"
    if one.estimate is None:
        return "no result"
    size = formats.signed(one.estimate.difference, decimals)
    if one.estimate.interval is None or one.corrected is None:
        return f"{size}: {advice.verdict(one)}"
    interval = formats.interval(one.estimate.interval, decimals)
    return f"{size} {interval}, {formats.probability(one.corrected)}: {advice.verdict(one)}"


def rows(comparison: Comparison) -> list[Row]:
    """The main table, in the order of the search space."""
    decimals = formats.decimals_for(comparison)
    return [
        Row(
            {
                "method": method.label,
                "configurations": f"{len(method.configurations):,}",
                "trials (failed)": f"{len(method.records):,} ({len(method.failures):,})",
                "test": formats.estimate(method.test, decimals),
                "gradient steps": f"{method.cost.gradient_steps:,}",
                "reserved device time": formats.seconds(method.cost.reserved_device_seconds or None),
                "busy": formats.share(method.cost.busy),
                "wall time": formats.seconds(method.cost.wall_seconds),
            },
            reference=method is comparison.reference,
        )
        for method in comparison.methods
    ]


def auxiliary_rows(comparison: Comparison) -> list[Row]:
    """What the trials say of each auxiliary; columns for which there is nothing are left out."""
    found = auxiliaries.evidence(comparison)
    if not found or comparison.best is None:
        return []
    rows = []
    for one in found:
        cells = {"auxiliary": one.task, f"in {comparison.best.label} as chosen": one.use}
        grids = [other.effect.label for other in found if other.effect]
        if grids:
            cells[f"weight above 0 rather than 0 in {grids[0]}, on select"] = _effect(comparison, one.effect)
        cells |= {f"kept by {label}": f"{count} of {formats.counted(runs, 'run')}" for label, count, runs in one.kept}
        rows.append(Row(cells, reference=False))
    return rows


def _effect(comparison: Comparison, effect: auxiliaries.Effect | None) -> str:
    if effect is None:
        return "not varied"
    decimals, estimate = formats.decimals_for(comparison), effect.estimate
    size = formats.signed(estimate.difference, decimals)
    if estimate.interval is None or effect.corrected is None:
        return f"{size} (one seed)"
    word = auxiliaries.judged(comparison, effect)
    word = word if word in ("helped", "hurt") else advice.nothing_shown(estimate.pairs)
    return f"{size} {formats.interval(estimate.interval, decimals)}, {formats.probability(effect.corrected)}: {word}"


def alpha_table(found: AlphaFinding, target: str) -> AlphaTable:
    """One finding as a page shows it."""
    rows = [Row(_alpha_cells(row), reference=False) for row in found.tasks]
    return AlphaTable(found.label, found.rounds, found.sentences(target), rows)


def _alpha_cells(row: TaskAlpha) -> dict[str, str]:
    return {
        "task": row.task,
        "alpha": formats.estimate(row.alpha, 3),
        "w": formats.estimate(row.weight, 2) if row.weight else "not logged",
        "share": f"{formats.number(row.share, 2)} ({row.word})",
        "cosine to the target": "not logged" if row.cosine is None else formats.number(row.cosine, 2),
        "rise of the dev loss without it": formats.estimate(row.without, 4) if row.without else "not logged",
    }
