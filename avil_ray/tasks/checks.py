"""What a suite of one's own may get wrong, told in one line that names the task and the field."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.tasks.examples import Examples

if TYPE_CHECKING:
    from avil_ray.tasks.task import Task

SPLITS = ("train", "dev", "select", "test")

JUDGED = ("select", "test")
"""The splits on which a run's figures are the metric's."""

OF_CLASSES = ("accuracy", "matthews", "f1", "auc", "accuracy_and_f1", "accuracy_and_macro_f1")
"""Metrics that compare classes."""

OF_TWO_CLASSES = ("f1", "auc", "accuracy_and_f1")
"""Metrics that know 0 and 1 only."""

OF_NUMBERS = ("pearson", "spearman", "pearson_and_spearman", "mean_squared_error", "mean_absolute_error")
"""Metrics that compare numbers."""

DEFINED_ANYWHERE = ("accuracy", "mean_squared_error", "mean_absolute_error")
"""Metrics that are defined where all labels are the same; the others then have no value."""

CROSS_ENTROPY, BINARY, SQUARED = "cross_entropy", "binary_cross_entropy", "mean_squared_error"

BLOCK = 1 << 22
"""How many numbers are scanned at a time: little memory beside the data's own."""


def check_split(where: str, examples: Any, loss: str) -> None:
    """Check one split's inputs and labels, each by itself.

    Parameters
    ----------
    where
        What messages call it: "task 'left': its train split".

    Raises
    ------
    UserError
        Inputs or labels of a wrong kind or number, or not finite; labels that the loss cannot take.
    """
    if not isinstance(examples, Examples):
        raise UserError(f"{where} must be avil_ray.Examples(inputs, labels), not {kind_of(examples)}")
    inputs, labels = examples.inputs, examples.labels
    if not isinstance(labels, Tensor) or labels.ndim != 1:
        raise UserError(f"{where}: labels must be a tensor [N], not {kind_of(labels)}")
    _check_dense(where, "labels", labels)
    _check_inputs(where, inputs)
    if len(inputs) != len(labels):
        raise UserError(f"{where} has {len(inputs)} inputs but {len(labels)} labels; give one label for each input")
    if len(labels) == 0:
        raise UserError(f"{where} is empty; give at least one example")
    if loss == CROSS_ENTROPY:
        _check_classes(where, labels)
    unknown = _first_not_finite(labels)
    if unknown is not None:
        hint = "leave out examples whose label nobody knows"
        raise UserError(f"{where}: labels[{unknown[0]}] is {labels[unknown].item()}; {hint}")
    if loss == BINARY and not bool(((labels >= 0) & (labels <= 1)).all()):
        low, high = labels.min().item(), labels.max().item()
        raise UserError(f"{where}: labels lie from {low:g} to {high:g}, but {BINARY} needs 0 to 1")
    found = _first_not_finite(inputs) if isinstance(inputs, Tensor) else None
    if found is not None:
        raise _not_finite(where, "inputs", found, inputs[found].item())


def _check_inputs(where: str, inputs: Any) -> None:
    needed = "a tensor [N, …], or an object with len(), inputs[indices] and inputs.join(other)"
    if isinstance(inputs, Tensor):
        _check_dense(where, "inputs", inputs)
        fits = inputs.ndim > 0
    else:
        has_all = all(hasattr(inputs, name) for name in ("__len__", "__getitem__", "join"))
        fits = has_all and not isinstance(inputs, str | bytes | type)
    if not fits:
        raise UserError(f"{where}: inputs must be {needed}, not {kind_of(inputs)}")


def _check_dense(where: str, field: str, tensor: Tensor) -> None:
    found = {
        "nested": (tensor.is_nested, "pad its parts to one length"),
        "sparse": (tensor.layout != torch.strided, f"give {field}.to_dense()"),
        "quantized": (tensor.is_quantized, f"give {field}.dequantize()"),
        "complex": (tensor.is_complex(), "give its real and imaginary parts as numbers of their own"),
        "meta": (tensor.is_meta, "give one that holds values"),
        "differentiable": (tensor.requires_grad, f"give {field}.detach()"),
    }
    for kind, (wrong, hint) in found.items():
        if wrong:
            raise UserError(f"{where}: {field} must be an ordinary tensor, not a {kind} one; {hint}")


def check_batch(task: Task, examples: Examples, rows: Tensor, inputs: Any) -> None:
    """Check a batch of inputs as it comes, where they are an object that cannot be scanned beforehand.

    Parameters
    ----------
    examples
        One of the task's splits, or its train and dev splits joined.
    rows
        [B]: which of them the batch is.
    inputs
        The batch: a tensor [B, …] or a mapping of them.

    Raises
    ------
    UserError
        An input is not finite; the message names the split and the row.
    """
    if isinstance(examples.inputs, Tensor):
        return
    named = {f"inputs[{key!r}]": inputs[key] for key in inputs} if isinstance(inputs, Mapping) else {"inputs": inputs}
    for field, values in named.items():
        found = _first_not_finite(values) if isinstance(values, Tensor) else None
        if found is not None:
            split, row = _place(task, examples, int(rows[found[0]]))
            raise _not_finite(f"task {task.name!r}: its {split} split", field, [row, *found[1:]], values[found].item())


def _place(task: Task, examples: Examples, row: int) -> tuple[str, int]:
    """The split that a row of the examples is of, and its row there."""
    for split in SPLITS:
        if getattr(task, split) is examples:
            return split, row
    count = len(task.train)
    return ("train", row) if row < count else ("dev", row - count)


def _first_not_finite(values: Tensor) -> tuple[int, ...] | None:
    """Where the first number that is not finite stands; None where all are."""
    if not values.is_floating_point() or values.numel() == 0:
        return None
    step = max(1, BLOCK // (values.numel() // len(values)))
    for number, block in enumerate(values.split(step)):
        wrong = ~torch.isfinite(block)
        if bool(wrong.any()):
            first, *rest = wrong.nonzero()[0].tolist()
            return (number * step + first, *rest)
    return None


def _not_finite(where: str, field: str, place: Sequence[int], value: float) -> UserError:
    hint = "leave out such examples, or put a number where one is missing"
    return UserError(f"{where}: {field}[{', '.join(map(str, place))}] is {value}; {hint}")


def _check_classes(where: str, labels: Tensor) -> None:
    if labels.dtype != torch.int64:
        hint = f"use labels.long(), or another loss than {CROSS_ENTROPY}"
        raise UserError(f"{where}: labels must be int64 classes, not {_dtype(labels)}; {hint}")
    if int(labels.min()) < 0:
        row = int((labels < 0).nonzero()[0])
        hint = "classes count from 0; leave out examples whose label nobody knows"
        raise UserError(f"{where}: labels[{row}] is {labels[row].item()}; {hint}")


def check_joinable(where: str, train: Examples, dev: Examples) -> None:
    """Raise `UserError` where train and dev, which are joined, have inputs of two kinds."""
    one, two = train.inputs, dev.inputs
    if isinstance(one, Tensor) != isinstance(two, Tensor):
        raise UserError(f"{where}: its dev split: inputs must be of train's kind, {kind_of(one)}, not {kind_of(two)}")
    if isinstance(one, Tensor) and (one.shape[1:], one.dtype) != (two.shape[1:], two.dtype):
        shapes = [f"{_dtype(tensor)} {list(tensor.shape[1:])}" for tensor in (one, two)]
        raise UserError(f"{where}: its dev split: an input must be as train's, {shapes[0]}, not {shapes[1]}")


def check_target(where: str, task: Task) -> None:
    """Check what a target needs beyond other tasks: all splits, each of its own examples, and a metric for them.

    Raises
    ------
    UserError
        A split is missing or is another one's too, or the metric is undefined on select or test.
    """
    missing = [split for split in ("dev", *JUDGED) if getattr(task, split) is None]
    if missing:
        raise UserError(f"{where}: the target {task.name!r} has no {', '.join(missing)} split")
    for one, two in combinations(SPLITS, 2):
        if _same(getattr(task, one), getattr(task, two)):
            hint = "no example may stand in two splits"
            raise UserError(f"task {task.name!r}: its {one} and {two} splits have the same examples; {hint}")
    check_metric(task.name, task.metric, task.loss, {split: getattr(task, split).labels for split in SPLITS})


def _same(one: Examples, two: Examples) -> bool:
    """Whether two splits are the same examples, or parts of one tensor that overlap; rows may be equal by nature."""
    if one is two or one.inputs is two.inputs:
        return True
    if not (isinstance(one.inputs, Tensor) and isinstance(two.inputs, Tensor)):
        return False
    equal = torch.equal(one.inputs, two.inputs) and torch.equal(one.labels, two.labels)
    return equal or len(np.intersect1d(*_addresses(one.inputs, two.inputs))) > 0


def _addresses(one: Tensor, two: Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each row of two tensors begins in memory; nothing where they share none, or repeat one row throughout."""
    memory = {tensor.untyped_storage().data_ptr() for tensor in (one, two)}
    if len(memory) > 1 or 0 in (one.numel(), two.numel(), one.stride(0), two.stride(0)):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, second = (t.data_ptr() + np.arange(len(t)) * t.stride(0) * t.element_size() for t in (one, two))
    return first, second


def check_metric(
    task: str, metric: str, loss: str, labels: Mapping[str, Tensor], judged: Collection[str] = JUDGED
) -> None:
    """Check that a metric can judge a loss's outputs and these labels (split -> [N]); `UserError` where not.

    It must be defined on the splits in `judged`; on the others it must know all classes.
    """
    where = f"task {task!r}: metric {metric!r}"
    if loss == SQUARED and metric in OF_CLASSES:
        raise UserError(f"{where} compares classes, but the loss is {SQUARED}; give one of {', '.join(OF_NUMBERS)}")
    if loss in (CROSS_ENTROPY, BINARY) and metric in OF_NUMBERS:
        raise UserError(f"{where} compares numbers, but the loss is {loss}; give one of {', '.join(OF_CLASSES)}")
    for split, found in labels.items():
        of_two = (found == 0) | (found == 1)
        if loss == BINARY and split in judged and not bool(of_two.all()):
            raise UserError(f"{where} knows labels 0 and 1 only, but {split} has {_other(found, of_two)}; round them")
        if loss == CROSS_ENTROPY and metric in OF_TWO_CLASSES and not bool(of_two.all()):
            hint = "give accuracy_and_macro_f1 or matthews"
            raise UserError(f"{where} knows labels 0 and 1 only, but {split} has {_other(found, of_two)}; {hint}")
        if split in judged and metric not in DEFINED_ANYWHERE and bool((found == found[0]).all()):
            needed = "both 0 and 1" if metric in OF_TWO_CLASSES else "two different labels at least"
            raise UserError(
                f"{where} is undefined on the {split} split: all its labels are {found[0].item():g}, and it needs "
                f"{needed}; give a larger split or another metric"
            )


def _other(labels: Tensor, of_two: Tensor) -> str:
    return f"{labels[~of_two][0].item():g}"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def kind_of(value: Any) -> str:
    """What messages call a value of a wrong kind."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    return f"a {type(value).__name__}"
