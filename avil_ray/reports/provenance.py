"""Where the figures come from: data, learning, length, date, commit, versions, hardware, MLflow."""

from __future__ import annotations

from collections.abc import Mapping

from avil_ray.reports import formats
from avil_ray.reports.facts import Setup, Start, SweepFacts

UI = "http://127.0.0.1:5000/"
"""Where `avil-ray ui` listens unless told otherwise."""
SPLITS = ("train", "dev", "select", "test")


def provenance(facts: SweepFacts) -> list[tuple[str, str]]:
    """(what, its value) in the order of a report; little for a sweep of an earlier version."""
    found = [("seeds", ", ".join(map(str, facts.seeds)) or "none")]
    if facts.setup is None:
        return [*found, ("the rest", "not stored: the sweep was run by an earlier version of avil_ray")]
    setup = facts.setup
    found += [(f"examples of {task}", _sizes(setup.examples[task])) for task in facts.tasks if task in setup.examples]
    found.append(("length of a run", f"{formats.counted(setup.rounds, 'round')} of {setup.steps_per_round:,} steps"))
    found.append(("learning", f"{_learning(setup)}, unless a method's options say otherwise"))
    for number, start in enumerate(facts.starts):
        found += _start(start, "started" if number == 0 else "resumed", facts.starts[number - 1] if number else None)
    return found


def mlflow_link(facts: SweepFacts) -> str | None:
    """The address of the sweep's run in the MLflow UI; None where it is not known."""
    place = facts.starts[-1].mlflow if facts.starts else None
    return place if place is None or not place.startswith("#") else UI + place


def mlflow_served_here(facts: SweepFacts) -> bool:
    """Whether `avil-ray ui` must be started before the link leads anywhere."""
    return bool(facts.starts) and (facts.starts[-1].mlflow or "").startswith("#")


def _sizes(sizes: Mapping[str, int | None]) -> str:
    known = [(split, sizes[split]) for split in SPLITS if split in sizes]
    return ", ".join(f"{split} {'a stream' if count is None else f'{count:,}'}" for split, count in known)


def _learning(setup: Setup) -> str:
    return formats.options({name.replace("_", " "): value for name, value in setup.learning.items()})


def _start(start: Start, word: str, before: Start | None) -> list[tuple[str, str]]:
    """One start; of a later one only what is not as before."""
    found = [(word, start.date)]
    if before is None or start.commit != before.commit:
        found.append(("commit", start.commit or "not in a git repository"))
    if before is None or start.versions != before.versions:
        found.append(("versions", ", ".join(f"{name} {version}" for name, version in start.versions.items())))
    if before is None or start.hardware != before.hardware:
        found.append(("hardware", "; ".join(start.hardware)))
    return found
