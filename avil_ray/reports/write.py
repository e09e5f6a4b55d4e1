"""Writes the whole report of a sweep into its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from avil_ray.reports import drawing, equal_cost_table, figures
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.equal_cost import EqualCost
from avil_ray.reports.facts import SweepFacts
from avil_ray.reports.html import Picture, html_report
from avil_ray.reports.markdown import markdown_report
from avil_ray.reports.records import TrialRecord
from avil_ray.storage import Place, at

TABLE = "equal-cost.csv"
"""What each search would have found at equal cost, where something could be replayed."""


def write_report(
    folder: Place,
    records: Iterable[TrialRecord],
    facts: SweepFacts,
    at_equal_cost: Callable[[Comparison], EqualCost] | None = None,
) -> Comparison:
    """Write `summary.json`, `report.md`, `report.html`, `figures/*.png` and `equal-cost.csv`, each in one piece.

    The same trials give the same files.

    Parameters
    ----------
    folder
        The sweep's folder; it is made where it is missing. Figures of an earlier report there are removed.
    records
        The sweep's trials, in any order; those without a result yet too, so that the report can say so.
    facts
        What the sweep was to be.
    at_equal_cost
        Replays searches on what the sweep has measured; without it the report has no section on that.
    """
    comparison = compare(records, facts)
    if at_equal_cost is not None:
        comparison = replace(comparison, equal_cost=at_equal_cost(comparison))
    storage, pictures = at(folder), at(folder) / "figures"
    pictures.make()
    for old in pictures.names():
        if old.endswith(".png"):
            pictures.delete(old)
    shown = []
    with drawing.own_look():
        drawings = figures.draw_all(comparison)
        for one in drawings:
            shown.append(Picture(one.caption, drawing.svg(one.figure, one.name, drawing.LIGHT)))
            pictures.write(f"{one.name}.png", drawing.png(one.figure))
    named = [(f"figures/{one.name}.png", one.caption) for one in drawings]
    storage.write("report.md", markdown_report(comparison, named).encode())
    storage.write("report.html", html_report(comparison, shown).encode())
    summary = json.dumps(comparison.summary(), indent=1, ensure_ascii=False, allow_nan=False)
    storage.write("summary.json", (summary + "\n").encode())
    if equal_cost_table.rows(comparison):
        storage.write(TABLE, equal_cost_table.as_csv(comparison))
    elif storage.exists(TABLE):
        storage.delete(TABLE)
    return comparison
