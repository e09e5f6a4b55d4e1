"""The sources of a split's examples: tensors in memory, a map-style dataset, or a stream.

A dataset's item is `(inputs, target)`, or a mapping whose key `labels` or `label` is the target and whose other keys
are the inputs. `collate` makes a batch from a list of items, as in PyTorch's `DataLoader`; it returns one of the same
two forms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate

from avil_ray.errors import UserError
from avil_ray.tasks.examples import Examples

Batch = tuple[Any, Any]
"""The inputs and the targets of some examples: tensors, or mappings of tensors."""

Collate = Callable[[list[Any]], Any]
"""A list of items -> a batch: `(inputs, targets)`, or a mapping with `labels` or `label`."""

TARGETS = ("labels", "label")
"""The keys that may hold a mapping's target."""


class Columns(dict[str, Any]):
    """The inputs of an item that was a mapping, and the key of its target."""

    def __init__(self, inputs: Mapping[str, Any], key: str) -> None:
        super().__init__(inputs)
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return Columns, (dict(self), self.key)


@dataclass(frozen=True)
class Rows:
    """A map-style dataset, read item by item without caching.

    Attributes
    ----------
    dataset
        Any object with `len()` and `dataset[row]`.
    collate
        Makes a batch from items; None for PyTorch's default.
    """

    dataset: Any
    collate: Collate | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def item(self, row: int) -> Batch:
        """The inputs and the target of one example."""
        return divided(self.dataset[row])

    def collated(self, items: Sequence[Batch]) -> Batch:
        """A batch of examples."""
        return collated(items, self.collate)

    def batch(self, rows: Tensor) -> Batch:
        """The inputs and targets at `rows` [B]."""
        return self.collated([self.item(row) for row in rows.tolist()])


@dataclass(frozen=True)
class Joined:
    """Two concatenated sources: the target's train and dev.

    Attributes
    ----------
    first, second
        The sources; a batch may contain examples of both.
    """

    first: Source
    second: Source

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def item(self, row: int) -> Batch:
        """The inputs and the target of one example."""
        before = len(self.first)
        return self.first.item(row) if row < before else self.second.item(row - before)

    def collated(self, items: Sequence[Batch]) -> Batch:
        """A batch of examples."""
        return self.first.collated(items)

    def batch(self, rows: Tensor) -> Batch:
        """The inputs and targets at `rows` [B]."""
        before = len(self.first)
        if bool((rows < before).all()):
            return self.first.batch(rows)
        if bool((rows >= before).all()):
            return self.second.batch(rows - before)
        return self.collated([self.item(row) for row in rows.tolist()])


@dataclass(frozen=True)
class Stream:
    """An `IterableDataset`: examples in its own order, of unknown number."""

    dataset: Any
    collate: Collate | None = None

    def items(self) -> Any:
        """A new pass over the examples, each as (inputs, target)."""
        return map(divided, iter(self.dataset))

    def collated(self, items: Sequence[Batch]) -> Batch:
        """A batch of examples."""
        return collated(items, self.collate)


Source = Examples | Rows | Joined


def find_source(split: Any, collate: Collate | None, where: str) -> Examples | Rows | Stream:
    """The source that a task's split specifies.

    Raises
    ------
    UserError
        It is not a source.
    """
    if isinstance(split, Examples):
        return split
    if isinstance(split, IterableDataset):
        return Stream(split, collate)
    if hasattr(split, "batch_sampler") and hasattr(split, "dataset"):
        hint = "give its dataset (and its collate_fn as the task's collate); the run decides on order and batches"
        raise UserError(f"{where} is a DataLoader; {hint}")
    sized = hasattr(split, "__len__") and hasattr(split, "__getitem__")
    if isinstance(split, Dataset) and not sized:
        raise UserError(f"{where} is a {type(split).__name__} without len() or dataset[row]; give it both")
    if not isinstance(split, Dataset) and not (sized and hasattr(split, "features")):  # features: datasets.Dataset
        needed = "avil_ray.Examples, a torch Dataset or a datasets.Dataset"
        raise UserError(f"{where} must be {needed}, not {_kind(split)}")
    return Rows(split, collate)


def join(first: Source, second: Source) -> Source:
    """The concatenation of two sources."""
    if isinstance(first, Examples) and isinstance(second, Examples):
        return first.join(second)
    return Joined(first, second)


def divided(item: Any) -> Batch:
    """The inputs and the target of an item, or of a batch.

    Raises
    ------
    UserError
        It has neither of the two forms.
    """
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    if isinstance(item, Mapping):
        key = next((key for key in TARGETS if key in item), None)
        if key is not None:
            return Columns({name: value for name, value in item.items() if name != key}, key), item[key]
        raise UserError(f"an item has no key {' or '.join(map(repr, TARGETS))} among {', '.join(map(str, item))}")
    raise UserError(f"an item must be (inputs, target), or a mapping with 'labels', not {_kind(item)}")


def collated(items: Sequence[Batch], collate: Collate | None) -> Batch:
    """A batch of items, made by `collate`, or by PyTorch's default if it is None."""
    if collate is not None:
        return divided(collate([_whole(item) for item in items]))
    batch: list[Any] = default_collate([(_tensors(inputs), _tensors(target)) for inputs, target in items])
    return batch[0], batch[1]


def _whole(item: Batch) -> Any:
    """An item in the dataset's original form, for a user's collate function."""
    inputs, target = item
    return {**inputs, inputs.key: target} if isinstance(inputs, Columns) else (inputs, target)


def _tensors(value: Any) -> Any:
    """Converts numbers and lists of numbers, as returned by `datasets`, to tensors.

    The default collate would transpose lists and convert Python's numbers to float64.
    """
    if isinstance(value, Mapping):
        return {key: _tensors(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return torch.tensor(value)
    if not isinstance(value, list):
        return value
    numbers = np.asarray(value)
    return torch.from_numpy(numbers.astype(np.float32) if numbers.dtype == np.float64 else numbers)


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
