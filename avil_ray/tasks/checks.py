"""What a suite of one's own may get wrong, told in one line that names the task and the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.tasks.examples import Examples

OF_CLASSES = ("accuracy", "matthews", "f1", "auc", "accuracy_and_f1", "accuracy_and_macro_f1")
"""Metrics that compare classes."""

OF_TWO_CLASSES = ("f1", "auc", "accuracy_and_f1")
"""Metrics that know 0 and 1 only."""

OF_NUMBERS = ("pearson", "spearman", "pearson_and_spearman", "mean_squared_error", "mean_absolute_error")
"""Metrics that compare numbers."""

CROSS_ENTROPY, BINARY, SQUARED = "cross_entropy", "binary_cross_entropy", "mean_squared_error"


def check_split(where: str, examples: Examples, loss: str) -> None:
    """Check one split's inputs and labels, each by itself.

    Parameters
    ----------
    where
        What messages call it: "task 'left': its train split".

    Raises
    ------
    UserError
        Inputs or labels of a wrong kind or number; labels that the loss cannot take.
    """
    inputs, labels = examples.inputs, examples.labels
    if not isinstance(labels, Tensor) or labels.ndim != 1:
        raise UserError(f"{where}: labels must be a tensor [N], not {_kind(labels)}")
    if not isinstance(inputs, Tensor) and not hasattr(inputs, "join"):
        needed = "a tensor [N, …], or an object with len(), inputs[indices] and inputs.join(other)"
        raise UserError(f"{where}: inputs must be {needed}, not {_kind(inputs)}")
    if len(inputs) != len(labels):
        raise UserError(f"{where} has {len(inputs)} inputs but {len(labels)} labels; give one label for each input")
    if len(labels) == 0:
        raise UserError(f"{where} is empty; give at least one example")
    if loss == CROSS_ENTROPY:
        _check_classes(where, labels)
    elif not bool(torch.isfinite(labels).all()):
        row = int((~torch.isfinite(labels)).nonzero()[0])
        raise UserError(f"{where}: labels[{row}] is {labels[row].item()}; leave out examples whose label nobody knows")
    if loss == BINARY and not bool(((labels >= 0) & (labels <= 1)).all()):
        low, high = labels.min().item(), labels.max().item()
        raise UserError(f"{where}: labels lie from {low:g} to {high:g}, but {BINARY} needs 0 to 1")


def _check_classes(where: str, labels: Tensor) -> None:
    if labels.dtype != torch.int64:
        hint = f"use labels.long(), or another loss than {CROSS_ENTROPY}"
        raise UserError(f"{where}: labels must be int64 classes, not {_dtype(labels)}; {hint}")
    if int(labels.min()) < 0:
        row = int((labels < 0).nonzero()[0])
        hint = "classes count from 0; leave out examples whose label nobody knows"
        raise UserError(f"{where}: labels[{row}] is {labels[row].item()}; {hint}")


def check_metric(task: str, metric: str, loss: str, labels: Mapping[str, Tensor]) -> None:
    """Check that a metric can judge a loss's outputs and these labels (split -> [N]); `UserError` where not."""
    where = f"task {task!r}: metric {metric!r}"
    if loss == SQUARED and metric in OF_CLASSES:
        raise UserError(f"{where} compares classes, but the loss is {SQUARED}; give one of {', '.join(OF_NUMBERS)}")
    if loss in (CROSS_ENTROPY, BINARY) and metric in OF_NUMBERS:
        raise UserError(f"{where} compares numbers, but the loss is {loss}; give one of {', '.join(OF_CLASSES)}")
    for split, found in labels.items():
        if metric in OF_TWO_CLASSES and not bool(((found == 0) | (found == 1)).all()):
            raise UserError(f"{where} knows labels 0 and 1 only, but {split} has others; give accuracy or matthews")


def _dtype(labels: Tensor) -> str:
    return str(labels.dtype).removeprefix("torch.")


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    return f"a {type(value).__name__}"
