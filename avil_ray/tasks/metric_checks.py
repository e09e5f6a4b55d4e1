"""Checks that a metric fits a task's outputs and is defined on the splits on which it is evaluated."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.tasks.checks import BINARY, JUDGED, SPLITS
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.losses import cross_entropy_of, of_classes
from avil_ray.tasks.named_metrics import METRICS, Kind
from avil_ray.tasks.task import Task

BLOCK = 512
"""The number of a dataset's examples read at a time for their targets."""


def check_metrics(task: Task, judged: Collection[str] = JUDGED) -> None:
    """Check that the named metrics fit the task's loss and targets.

    They must be defined on the splits in `judged`; on the others they must support all classes.

    Raises
    ------
    UserError
        A metric does not match what the loss learns, supports only two classes when there are more, or is undefined
        because all targets of a split are equal.
    """
    for metric in (task.metric, *task.also):
        if isinstance(metric, str):
            _check_kind(task, metric)
            for split in SPLITS:
                if getattr(task, split) is not None:
                    _check_targets(task, metric, split, split in judged)


def _check_kind(task: Task, metric: str) -> None:
    where, kind = f"task {task.name!r}: metric {metric!r}", METRICS[metric].kind
    learns_numbers = task.loss in ("mean_squared_error", "mean_absolute_error")
    if learns_numbers and kind != "numbers":
        raise UserError(f"{where} compares classes, but the loss is {task.loss}; give one of {_named('numbers')}")
    if (of_classes(task.loss) or task.loss == BINARY) and kind == "numbers":
        name = task.loss if isinstance(task.loss, str) else "cross_entropy"
        raise UserError(
            f"{where} compares numbers, but the loss is {name}; give one of {_named('classes', 'two classes')}"
        )


def _named(*kinds: Kind) -> str:
    return ", ".join(name for name, metric in METRICS.items() if metric.kind in kinds)


def _check_targets(task: Task, metric: str, split: str, judged: bool) -> None:
    named, where = METRICS[metric], f"task {task.name!r}: metric {metric!r}"
    of_two = named.kind == "two classes"
    if not (of_two or task.loss == BINARY or (judged and named.varied)):
        return
    if not judged and not isinstance(getattr(task, split), Examples):
        return  # a dataset's training targets are checked as they are read
    found = _different_targets(task, split, 3 if of_two or task.loss == BINARY else 2)
    other = next((value for value in found if value not in (0, 1)), None)
    if other is not None and task.loss == BINARY and judged and named.kind != "numbers":
        raise UserError(f"{where} supports only labels 0 and 1, but {split} has {other:g}; round them")
    if other is not None and of_two and task.loss != BINARY:
        hint = "give f1_macro or matthews"
        raise UserError(f"{where} supports only labels 0 and 1, but {split} has {other:g}; {hint}")
    column = _constant_label(task, split) if judged and named.varied else None
    if column is not None:
        raise UserError(
            f"{where} is undefined on the {split} split: all examples have the same label in column {column}; give a "
            "larger split, leave that label out, or give another metric"
        )
    if judged and named.varied and len(found) < 2:
        needed = "both 0 and 1" if of_two else "two different labels at least"
        labels = f"all its labels are {found[0]:g}" if found else "none of its labels counts"
        raise UserError(
            f"{where} is undefined on the {split} split: {labels}, and it needs "
            f"{needed}; give a larger split or another metric"
        )


def _constant_label(task: Task, split: str) -> int | None:
    """The first constant column of multiple labels [N, L]; None if there is none."""
    source = task.source(split)
    labels = source.labels if isinstance(source, Examples) else None
    if task.loss != BINARY or not isinstance(labels, Tensor) or labels.ndim != 2 or labels.shape[1] < 2:
        return None
    constant = (labels == labels[0]).all(dim=0).nonzero()
    return int(constant[0]) if len(constant) else None


def _different_targets(task: Task, split: str, enough: int) -> list[float]:
    """The distinct targets of a split, up to `enough` of them."""
    source, ignored = task.source(split), cross_entropy_of(task.loss).ignore_index
    found: set[float] = set()
    for rows in torch.arange(len(source)).split(len(source) if isinstance(source, Examples) else BLOCK):  # type: ignore[arg-type]
        targets: Any = source.labels if isinstance(source, Examples) else source.batch(rows)[1]  # type: ignore[union-attr]
        if not isinstance(targets, Tensor):
            return [0.0, 1.0]  # a user's loss reads them; a user's metric should, too
        found.update(value for value in targets.unique().tolist() if value != ignored or not of_classes(task.loss))
        if len(found) >= enough:
            break
    return sorted(found)
