"""When a run must fail: its parameters are not finite, or the target learns nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from avil_ray.errors import WorkFailed
from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector
from avil_ray.methods.method import Run

log = logging.getLogger(__name__)


def dropped_parts(updates: Sequence[Update], target: str, number: int) -> dict[str, float]:
    """`dropped/<task>` for tasks that broke although theta stayed finite.

    Either clipping left nothing of a gradient that was too long, or the loss of an auxiliary was not finite while its
    weight was 0.
    """
    gone = []
    for update in updates:
        if not np.isfinite(update.theta).all():
            continue
        gone += [task for task, loss in update.losses.items() if task != target and not math.isfinite(loss)]
        if update.trouble is not None:
            gone.append(update.trouble.task)
            log.warning("round %d: a step was skipped: %s", number, update.trouble.text)
    return {f"dropped/{task}": 1.0 for task in gone if task}


def require_learning(run: Run, updates: Sequence[Update], target: Target, patience: int) -> None:
    """Raise `WorkFailed` where at least `patience` rounds trained the target, and each dropped what it learned.

    Such a run would end where it began, or have learned from its auxiliaries only.
    """
    name = target.suite.target
    column = f"dropped/{name}"
    dropped = [row.get(column, 0.0) for row in run.rows if column in row or f"train_loss/{name}" in row]
    if len(dropped) < patience or not all(dropped):
        return
    known = sorted((update.trouble for update in updates if update.trouble), key=lambda trouble: trouble.task != name)
    why = (
        known[0].text if known else target.not_finite(run.main.theta, "train", "dev") or "its loss on dev is not finite"
    )
    raise WorkFailed(f"the target's update ({name!r}) was dropped in every round so far ({len(dropped)}): {why}")


def require_finite(theta: Vector, updates: Sequence[Update], number: int) -> None:
    """Raise `WorkFailed`, with the task that broke first and why, where theta is not finite."""
    if np.isfinite(theta).all():
        return
    known = [update.trouble for update in updates if update.trouble]
    if known:
        raise WorkFailed(f"diverged in round {number}: {known[0].text}")
    broken = [task for update in updates for task, loss in update.losses.items() if not math.isfinite(loss)]
    loss = f"the loss of task {broken[0]!r} is not finite" if broken else "the parameters are not finite"
    raise WorkFailed(f"diverged in round {number}: {loss}; a lower learning_rate may help")
