"""Training batches of one task for given steps, read in this process or by the processes of PyTorch's `DataLoader`.

The contents of a batch are a pure function of (seed, task, step). The rows come from `tasks.order`, and the global
generators are seeded for every example (or batch), so augmentation and randomness inside a dataset repeat in any
process, with any number of loader processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avil_ray.errors import UserError, one_line
from avil_ray.learning.passes import Batch, Source
from avil_ray.randomness import seeded
from avil_ray.tasks.augmentation import Augment, is_batched
from avil_ray.tasks.checks import check_augmented
from avil_ray.tasks.data import Batch as Pair
from avil_ray.tasks.data import Columns, Stream
from avil_ray.tasks.data import Source as Data
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning

Key = tuple[int, int, int]
"""A step, a position in its batch, and the example's row; one row may appear at several positions."""


@dataclass(frozen=True)
class Items(Dataset[Any]):
    """A dataset for PyTorch's `DataLoader`: the keys of a batch -> the batch, each example augmented.

    A failure is returned as a `UserError`: raised in a loader process, it would arrive as a remote traceback.
    """

    source: Source
    data: Data
    augment: Augment | None
    seed: int

    def __getitem__(self, keys: Sequence[Key]) -> Pair | UserError:
        try:
            with one_line(f"{self.source.where} cannot be read"):
                return self.data.collated([self._item(*key) for key in keys])
        except UserError as error:
            return error

    def _item(self, step: int, place: int, row: int) -> Pair:
        with seeded(self.seed, step, place, row):
            pair = self.data.item(row)
            return pair if self.augment is None else augmented(self.source, self.augment, *pair)


def tried(source: Source, count: int, seed: int, learning: Learning) -> Batch:
    """`count` augmented examples, as in training: from both ends of the splits, or the first ones of a stream."""
    plain = replace(learning, loader_processes=0)
    if isinstance(source.data, Stream):
        return next(StreamLoader(source).batches(1, 0, seed, replace(plain, batch_size=count)))
    return next(loaded(source, iter([source.ends(count)]), 0, seed, plain))


def loaded(source: Source, order: Iterator[Tensor], first: int, seed: int, learning: Learning) -> Iterator[Batch]:
    """The batches of steps `first`, `first + 1`, …; `order` gives the rows [B] of each.

    Raises
    ------
    UserError
        The data or the augmentation fail, or give values that the model or the loss cannot take.
    """
    augment, data = source.task.augmentation, source.data
    assert not isinstance(data, Stream)
    if isinstance(data, Examples) and isinstance(data.inputs, Tensor) and augment is None:
        for rows in order:  # already checked as a whole
            yield Batch(source, *data.batch(rows), rows, len(rows))
        return
    steps = enumerate(order, first)
    pairs: Iterator[tuple[int, Tensor, Pair | UserError]]
    if isinstance(data, Examples) and (augment is None or is_batched(augment)):
        pairs = ((step, rows, _whole(source, rows, step, seed)) for step, rows in steps)
    else:
        items = Items(source, data, None if augment is None or is_batched(augment) else augment, seed)
        _require_single(source, items)
        pairs = _in_processes(items, steps, learning) if learning.loader_processes else _here(items, steps)
    while True:
        with one_line(f"{source.where} cannot be read"):
            found = next(pairs, None)
        if found is None:
            return
        step, rows, pair = found
        if isinstance(pair, UserError):
            raise pair
        if augment is not None and is_batched(augment):
            with seeded(seed, "augment", step):
                pair = augmented(source, augment, *pair)
        if augment is not None:
            check_augmented(source.task, *pair)
        yield source.checked(*pair, rows, len(rows))


def _whole(source: Source, rows: Tensor, step: int, seed: int) -> Pair:
    """A batch of examples in memory; a user's own inputs may draw random numbers as they are read."""
    with seeded(seed, "rows", step):
        batch = source.batch(rows)
    return batch.inputs, batch.targets


def _keys(step: int, rows: Tensor) -> list[Key]:
    return [(step, place, row) for place, row in enumerate(rows.tolist())]


def _here(items: Items, steps: Iterator[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor, Pair | UserError]]:
    for step, rows in steps:
        yield step, rows, items[_keys(step, rows)]


def _in_processes(
    items: Items, steps: Iterator[tuple[int, Tensor]], learning: Learning
) -> Iterator[tuple[int, Tensor, Pair | UserError]]:
    known = list(steps)
    loader: DataLoader[Any] = DataLoader(
        items,
        sampler=[_keys(step, rows) for step, rows in known],
        batch_size=None,  # the dataset already returns batches
        collate_fn=_unchanged,
        num_workers=learning.loader_processes,
        prefetch_factor=learning.prefetch,
        pin_memory=learning.pin_memory,
        generator=torch.Generator(),  # the default one would advance the generator that dropout uses
    )
    for (step, rows), pair in zip(known, loader, strict=True):
        yield step, rows, pair


def _unchanged(batch: Any) -> Any:
    return batch


def _require_single(source: Source, items: Items) -> None:
    """Raise `UserError` if single examples cannot be read: a user's own inputs support only batches."""
    if items.augment is not None and isinstance(items.data, Examples) and not isinstance(items.data.inputs, Tensor):
        hint = "mark the callable with avil_ray.tasks.augmentation.batched, to pass it whole batches"
        raise UserError(f"{source.where}: augment needs tensor inputs to process single examples; {hint}")


def augmented(source: Source, augment: Augment, inputs: Any, targets: Any) -> Pair:
    """A batch or an example, augmented."""
    with one_line(f"task {source.task.name!r}: augment failed"):
        found = augment(inputs, targets)
    if not (isinstance(found, tuple | list) and len(found) == 2):
        raise UserError(
            f"task {source.task.name!r}: augment must return (inputs, target), not a {type(found).__name__}"
        )
    changed, target = found
    if isinstance(inputs, Columns) and isinstance(changed, Mapping):
        changed = Columns(changed, inputs.key)  # collate receives items in the dataset's own form
    return changed, target


class StreamLoader:
    """Batches of a stream. It remembers its position, skips ahead as needed, and starts over to go back.

    The global generators are seeded before each pass and each example, so a replay gives the same examples.
    """

    def __init__(self, source: Source) -> None:
        assert isinstance(source.data, Stream)
        self._source, self._stream = source, source.data
        self._seed: int | None = None
        self._examples: Iterator[Pair] = iter(())
        self._taken = 0

    def batches(self, steps: int, first: int, seed: int, learning: Learning) -> Iterator[Batch]:
        """The batches of steps `first` … `first + steps - 1` of the stream, each of exactly `batch_size` examples."""
        size, augment = learning.batch_size, self._source.task.augmentation
        if seed != self._seed or self._taken > first * size:
            self._seed, self._taken, self._examples = seed, 0, self._endless(seed)
        while self._taken < first * size:
            self._next()
        for step in range(first, first + steps):
            items = [self._next() for _ in range(size)]
            if augment is not None and not is_batched(augment):
                numbers = range(step * size, (step + 1) * size)
                items = [
                    self._augmented(augment, item, number, seed) for item, number in zip(items, numbers, strict=True)
                ]
            with one_line(f"{self._source.where} cannot be read"):
                inputs, targets = self._stream.collated(items)
            if augment is not None and is_batched(augment):
                inputs, targets = self._augmented(augment, (inputs, targets), step, seed)
            yield self._source.checked(inputs, targets, None, size, before=step * size)

    def _augmented(self, augment: Augment, pair: Pair, number: int, seed: int) -> Pair:
        with seeded(seed, "augment", number):
            return augmented(self._source, augment, *pair)

    def _next(self) -> Pair:
        with one_line(f"{self._source.where} cannot be read"):
            found = next(self._examples)
        self._taken += 1
        return found

    def _endless(self, seed: int) -> Iterator[Pair]:
        """Endless passes over the stream."""
        index, number = 0, 0
        while True:
            if hasattr(self._stream.dataset, "set_epoch"):
                self._stream.dataset.set_epoch(number)
            with seeded(seed, "pass", number):
                examples = self._stream.items()
            before = index
            while True:
                with seeded(seed, "example", index):
                    found = next(examples, None)
                if found is None:
                    break
                index += 1
                yield found
            if index == before:
                raise UserError(f"{self._source.where} has no examples; at least one is needed")
            number += 1
