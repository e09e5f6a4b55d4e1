"""Writes the whole report of a sweep into its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from avil_ray.reports import drawing, figures
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.facts import SweepFacts
from avil_ray.reports.html import Picture, html_report
from avil_ray.reports.markdown import markdown_report
from avil_ray.reports.records import TrialRecord
from avil_ray.storage import discard, make_folder, replace_file


def write_report(folder: Path, records: Iterable[TrialRecord], facts: SweepFacts) -> Comparison:
    """Write `summary.json`, `report.md`, `report.html` and `figures/*.png`, each in one piece.

    The same trials give the same files.

    Parameters
    ----------
    folder
        The sweep's folder; it is made where it is missing. Figures of an earlier report there are removed.
    records
        The sweep's trials, in any order; those without a result yet too, so that the report can say so.
    facts
        What the sweep was to be.
    """
    comparison = compare(records, facts)
    pictures = folder / "figures"
    make_folder(pictures)
    for old in pictures.glob("*.png"):
        discard(old)
    shown = []
    with drawing.own_look():
        drawings = figures.draw_all(comparison)
        for one in drawings:
            shown.append(Picture(one.caption, drawing.svg(one.figure, one.name, drawing.LIGHT)))
            replace_file(pictures / f"{one.name}.png", drawing.png(one.figure))
    named = [(f"figures/{one.name}.png", one.caption) for one in drawings]
    replace_file(folder / "report.md", markdown_report(comparison, named).encode())
    replace_file(folder / "report.html", html_report(comparison, shown).encode())
    summary = json.dumps(comparison.summary(), indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(folder / "summary.json", (summary + "\n").encode())
    return comparison
