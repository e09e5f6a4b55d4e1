"""An optional last phase of a run: the target alone is trained from the best round at a lower learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.splits import DevUse
from avil_ray.methods.method import Run, Setting, dropped_facts
from avil_ray.tasks.learning import Learning

SHARE, RATE = 0.35, 0.3
"""It lasts 0.35 times the requested rounds (7 for 20), at 0.3 times the learning rate."""


def rounds(setting: Setting) -> int:
    """The number of fine-tuning rounds, in addition to those requested."""
    return ceil(SHARE * setting.rounds)


def assignment(run: Run, learning: Learning, dev: DevUse) -> Assignment:
    """A round on the target alone, continuing the main track."""
    return Assignment(
        name="fine-tuning",
        weights={run.setting.suite.target: 1.0},
        steps=run.setting.steps,
        learning=replace(learning, learning_rate=RATE * learning.learning_rate),
        dev=dev,
        continues=True,
        schedule_steps=rounds(run.setting) * run.setting.steps,
    )


def facts(updates: Sequence[Update], target: Target) -> dict[str, float]:
    """The columns of such a round: `fine_tuning`, weights, and whether the update was dropped as not finite."""
    weights = {f"weight/{task}": float(task == target.suite.target) for task in target.suite.task_names}
    return {"fine_tuning": 1.0, **weights, **dropped_facts(updates)}
