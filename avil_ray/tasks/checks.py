"""Checks of user-defined suites; every error is one line that names the task and the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from avil_ray.errors import UserError
from avil_ray.tasks.data import Batch, Rows, Source, Stream
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.losses import LossFunction, cross_entropy_of, of_classes

if TYPE_CHECKING:
    from avil_ray.tasks.task import Task

SPLITS = ("train", "dev", "select", "test")

JUDGED = ("select", "test")
"""The splits on which the metric is evaluated."""

BINARY = "binary_cross_entropy"

BLOCK = 1 << 22
"""How many numbers are scanned at a time, to keep memory small relative to the data."""


def check_split(where: str, source: Source | Stream, loss: str | LossFunction) -> None:
    """Check one split on its own: all data in memory, or a dataset's length; its items are checked as they are read.

    Parameters
    ----------
    where
        Its name in messages: "task 'left': its train split".

    Raises
    ------
    UserError
        Inputs or labels have a wrong type or number or are not finite, or the loss cannot take the labels.
    """
    if isinstance(source, Stream):
        return
    if not isinstance(source, Examples):
        if len(source) == 0:
            raise UserError(f"{where} is empty; give at least one example")
        return
    inputs = source.inputs
    for field, labels in tensors_of("labels", source.labels):
        if not isinstance(labels, Tensor) or labels.ndim == 0:
            raise UserError(f"{where}: {field} must be a tensor [N] or [N, …], not {kind_of(labels)}")
        _check_dense(where, field, labels)
        _check_inputs(where, inputs)
        if len(inputs) != len(labels):
            raise UserError(
                f"{where} has {len(inputs)} inputs but {len(labels)} {field}; give one label for each input"
            )
        if len(labels) == 0:
            raise UserError(f"{where} is empty; give at least one example")
        check_targets(where, field, labels, loss)
        ignored = cross_entropy_of(loss).ignore_index
        if of_classes(loss) and bool((labels == ignored).all()):
            raise UserError(f"{where}: {field} are all {ignored}, so none counts; leave the task or the split out")
    found = _first_not_finite(inputs) if isinstance(inputs, Tensor) else None
    if found is not None:
        raise _not_finite(where, "inputs", found, inputs[found].item())


def check_targets(where: str, field: str, targets: Tensor, loss: str | LossFunction) -> None:
    """Check targets on their own: finite, and of the type and range that a loss of the library needs."""
    if of_classes(loss):
        _check_classes(where, field, targets, cross_entropy_of(loss).ignore_index)
    unknown = _first_not_finite(targets)
    if unknown is not None:
        hint = "leave out examples whose label is unknown"
        raise UserError(f"{where}: {field}[{_index(unknown)}] is {targets[unknown].item()}; {hint}")
    if loss == BINARY and not bool(((targets >= 0) & (targets <= 1)).all()):
        low, high = targets.min().item(), targets.max().item()
        raise UserError(f"{where}: {field} range from {low:g} to {high:g}, but {BINARY} needs 0 to 1")


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


def check_batch(task: Task, source: Any, rows: Tensor | None, batch: Batch, count: int, before: int = 0) -> None:
    """Check a batch as it is read, if its split could not be scanned beforehand.

    Parameters
    ----------
    source
        One of the task's splits, or its train and dev splits joined.
    rows
        [B], the rows of the batch; None for a stream.
    batch
        Inputs and targets: tensors [B, …] or mappings of them.
    count
        B.
    before
        The number of a stream's examples before these.

    Raises
    ------
    UserError
        An input or target is not finite, or targets do not fit the loss; the message names the split and the row.
    """
    if isinstance(source, Examples) and isinstance(source.inputs, Tensor):
        return
    inputs, targets = batch
    for field, values in tensors_of("inputs", inputs):
        if isinstance(values, Tensor):
            _check_dense(f"task {task.name!r}: a batch of its data", field, values)
        found = _first_not_finite(values) if isinstance(values, Tensor) else None
        if found is not None:
            split, row = _place(task, source, rows, found[0], before)
            raise _not_finite(f"task {task.name!r}: its {split} split", field, [row, *found[1:]], values[found].item())
    if isinstance(source, Examples):
        return
    for field, values in tensors_of("labels", targets):
        split, row = _place(task, source, rows, 0, before)
        where = f"task {task.name!r}: its {split} split: the batch with row {row}"
        if not isinstance(values, Tensor) or values.ndim == 0 or len(values) != count:
            raise UserError(
                f"{where}: {field} must be a tensor [{count}, …] for {count} examples, not {kind_of(values)}"
            )
        _check_dense(where, field, values)
        check_targets(where, field, values, task.loss)


def check_augmented(task: Task, inputs: Any, targets: Any) -> None:
    """Raise `UserError` if an augmentation has produced values that are not finite or invalid targets."""
    where = f"task {task.name!r}: augment"
    for field, values in tensors_of("inputs", inputs):
        found = _first_not_finite(values) if isinstance(values, Tensor) else None
        if found is not None:
            raise UserError(f"{where}: {field} are {values[found].item()} after it; look at what it divides by")
    for field, values in tensors_of("labels", targets):
        if isinstance(values, Tensor):
            check_targets(where, field, values, task.loss)


def tensors_of(field: str, values: Any) -> Iterator[tuple[str, Any]]:
    """(Name, value) of a field, or of each entry if it is a mapping."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from tensors_of(f"{field}[{key!r}]", value)
    else:
        yield field, values


def _place(task: Task, source: Any, rows: Tensor | None, index: int, before: int) -> tuple[str, int]:
    """The split of a batch's example, and its row there."""
    if rows is None:
        return "train", before + index
    row = int(rows[index])
    for split in SPLITS:
        given = getattr(task, split)
        if given is source or (isinstance(source, Rows) and given is source.dataset):
            return split, row
    count = len(task.train)
    return ("train", row) if row < count else ("dev", row - count)


def _first_not_finite(values: Tensor) -> tuple[int, ...] | None:
    """The index of the first number that is not finite; None if all are."""
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
    return UserError(f"{where}: {field}[{_index(place)}] is {value}; {hint}")


def _index(place: Sequence[int]) -> str:
    return ", ".join(map(str, place))


def _check_classes(where: str, field: str, labels: Tensor, ignored: int) -> None:
    if labels.dtype != torch.int64:
        hint = "use labels.long(), or another loss than cross_entropy"
        raise UserError(f"{where}: {field} must be int64 classes, not {_dtype(labels)}; {hint}")
    wrong = (labels < 0) & (labels != ignored)
    if bool(wrong.any()):
        place = tuple(wrong.nonzero()[0].tolist())
        hint = f"classes count from 0, and {ignored} marks what does not count"
        raise UserError(f"{where}: {field}[{_index(place)}] is {labels[place].item()}; {hint}")


def check_joinable(where: str, train: Any, dev: Any) -> None:
    """Raise `UserError` if train and dev, which are joined, have inputs of different kinds."""
    if not (isinstance(train, Examples) and isinstance(dev, Examples)):
        if isinstance(train, Examples) != isinstance(dev, Examples):
            raise UserError(f"{where}: its train and dev splits must both be avil_ray.Examples, or both datasets")
        return
    one, two = train.inputs, dev.inputs
    if isinstance(one, Tensor) != isinstance(two, Tensor):
        raise UserError(f"{where}: its dev split: inputs must have train's type, {kind_of(one)}, not {kind_of(two)}")
    if isinstance(one, Tensor) and (one.shape[1:], one.dtype) != (two.shape[1:], two.dtype):
        shapes = [f"{_dtype(tensor)} {list(tensor.shape[1:])}" for tensor in (one, two)]
        raise UserError(f"{where}: its dev split: an input must have train's shape, {shapes[0]}, not {shapes[1]}")


def check_target(where: str, task: Task) -> None:
    """Check the additional requirements of a target: all splits, each with its own examples.

    Raises
    ------
    UserError
        A split is missing, shares examples with another, or is a stream.
    """
    missing = [split for split in ("dev", *JUDGED) if getattr(task, split) is None]
    if missing:
        raise UserError(f"{where}: the target {task.name!r} has no {', '.join(missing)} split")
    if isinstance(task.source("train"), Stream):
        raise UserError(f"{where}: the target {task.name!r} must have len(); a stream can only train an auxiliary")
    for one, two in combinations(SPLITS, 2):
        if _same(getattr(task, one), getattr(task, two)):
            hint = "no example may be in two splits"
            raise UserError(f"task {task.name!r}: its {one} and {two} splits have the same examples; {hint}")


def _same(one: Any, two: Any) -> bool:
    """Whether two splits are identical, or overlapping parts of one source; single equal rows do not count."""
    if one is two:
        return True
    if isinstance(one, Subset) and isinstance(two, Subset):
        return one.dataset is two.dataset and len(np.intersect1d(one.indices, two.indices)) > 0
    one, two = (Examples(*each.tensors) if _is_pair(each) else each for each in (one, two))
    if not (isinstance(one, Examples) and isinstance(two, Examples)):
        return False
    if one.inputs is two.inputs:
        return True
    if not (isinstance(one.inputs, Tensor) and isinstance(two.inputs, Tensor)):
        return False
    equal = torch.equal(one.inputs, two.inputs) and _equal_targets(one.labels, two.labels)
    return equal or len(np.intersect1d(*_addresses(one.inputs, two.inputs))) > 0


def _is_pair(split: Any) -> bool:
    """Whether a dataset is just a tensor of inputs and a tensor of targets."""
    return isinstance(split, TensorDataset) and len(split.tensors) == 2


def _equal_targets(one: Any, two: Any) -> bool:
    pairs = zip(tensors_of("", one), tensors_of("", two), strict=False)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


def _addresses(one: Tensor, two: Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The memory address of each row of two tensors; empty if they share no memory, or repeat a single row."""
    memory = {tensor.untyped_storage().data_ptr() for tensor in (one, two)}
    if len(memory) > 1 or 0 in (one.numel(), two.numel(), one.stride(0), two.stride(0)):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, second = (t.data_ptr() + np.arange(len(t)) * t.stride(0) * t.element_size() for t in (one, two))
    return first, second


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def kind_of(value: Any) -> str:
    """How messages describe a value of a wrong type."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    return f"a {type(value).__name__}"
