"""The files of a trial's run: its record, its history, and its curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avil_ray.reports.records import HISTORY, RESULT
from avil_ray.storage import Storage
from avil_ray.tracking.items import Item, Text

if TYPE_CHECKING:
    from avil_ray.reports.facts import SweepFacts
    from avil_ray.reports.records import TrialRecord

RECORD, FIGURES = "record", "figures"
"""The folders of a run that hold them."""


def trial_files(place: Storage, record: TrialRecord, sweep: SweepFacts | None, *, drawn: bool = True) -> list[Item]:
    """What the run of a trial that has ended keeps of its folder `place`, and its curves if they are to be drawn.

    `sweep` names the metric of the curves.
    """
    items: list[Item] = []
    for name in (RESULT, HISTORY):
        try:
            items.append(Text(f"{RECORD}/{name}", place.read(name).decode(errors="replace")))
        except FileNotFoundError:  # a trial that failed early has no history
            continue
    curves = figure(record, sweep.metric if sweep else "loss") if drawn else None
    return [*items, curves] if curves else items


def figure(record: TrialRecord, metric: str) -> Text | None:
    """A trial's curves; None where it has no rounds."""
    from avil_ray.reports.trial_figure import trial_figure  # matplotlib takes seconds to import

    drawn = trial_figure(record.history, metric, record.best_round)
    return Text(f"{FIGURES}/curves.svg", drawn) if drawn else None
