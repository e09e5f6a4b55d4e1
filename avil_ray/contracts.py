"""Checks a method's assignments and a pool's updates, as both may be user code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.methods.method import Run


def check_assignments(work: Sequence[Assignment], run: Run) -> Sequence[Assignment]:
    """The assignments of a method; `UserError` if no pool could run them."""
    if not work or not all(isinstance(one, Assignment) for one in work):
        raise UserError("assign() must return a list with at least one Assignment")
    for place, one in enumerate(work):
        if (one.track, one.name) in ((other.track, other.name) for other in work[:place]):
            raise UserError(f"assign(): two assignments on track {one.track!r} are called {one.name!r}")
        if one.track not in run.tracks:
            raise UserError(
                f"assign(): {one.name!r} starts from track {one.track!r}; available: {', '.join(run.tracks)}"
            )
        for task in sorted(set(one.weights) - set(run.setting.suite.task_names)):
            raise UserError(f"assign(): {one.name!r} trains {task!r}, which is not a task of the suite")
    return work


def check_updates(updates: Any, work: Sequence[Assignment]) -> Sequence[Update]:
    """The updates of a pool; `UserError` unless there is one for each assignment, in order."""
    names = [assignment.name for assignment in work]
    fine = isinstance(updates, Sequence) and all(isinstance(update, Update) for update in updates)
    if not fine or [update.assignment for update in updates] != names:
        raise UserError(f"pool: run() must return one Update per assignment, in the same order ({', '.join(names)})")
    found: Sequence[Update] = updates
    return found


def require_settled(before: Run, after: Run, number: int) -> Run:
    """The run after `begin`, which must not have changed tracks while their scores on select are pending."""
    if (
        any(after.tracks.get(name) is not track for name, track in before.tracks.items())
        or after.tracks.keys() - before.tracks
    ):
        hint = "reads_select() must return True for such a round"
        raise UserError(f"begin() of round {number} changes tracks before their figures on select are known; {hint}")
    return after
