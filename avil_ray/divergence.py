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
    """`dropped/<task>` for tasks that diverged although theta stayed finite.

    Either clipping reduced an overflowing gradient to zero, or an auxiliary's loss was not finite while its weight was
    0.
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
    """Raise `WorkFailed` if at least `patience` rounds trained the target and all of them dropped its updates.

    Such a run would not progress, or learn only from its auxiliaries.
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
    """Raise `WorkFailed` if theta is not finite, naming the task that diverged first and why."""
    if np.isfinite(theta).all():
        return
    known = [update.trouble for update in updates if update.trouble]
    if known:
        raise WorkFailed(f"diverged in round {number}: {known[0].text}")
    broken = [task for update in updates for task, loss in update.losses.items() if not math.isfinite(loss)]
    loss = f"the loss of task {broken[0]!r} is not finite" if broken else "the parameters are not finite"
    raise WorkFailed(f"diverged in round {number}: {loss}; a lower learning_rate may help")
