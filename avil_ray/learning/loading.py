"""Batches of one task for given steps: read in this process, or by PyTorch's `DataLoader` in processes of its own.

What a batch holds is a pure function of (seed, track, task, step): the rows come from `tasks.order`, and the global
generators are seeded for every example (or batch) by them, so that augmentation, and randomness inside a dataset,
repeats in any process, with any number of loader processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from avil_ray.errors import UserError
from avil_ray.randomness import seeded
from avil_ray.tasks.augmentation import Augment, is_batched
from avil_ray.tasks.data import Batch, Source, Stream
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning

Key = tuple[int, int, int]
"""A step, a place in its batch, and the row of the example there: one row may fill several places."""


@dataclass(frozen=True)
class Items:
    """A dataset of `(step, place, row)` -> one augmented example, for PyTorch's `DataLoader`."""

    source: Source
    augment: Augment | None
    seed: int

    def __getitem__(self, key: Key) -> Batch:
        step, place, row = key
        with seeded(self.seed, step, place, row):
            inputs, target = self.source.item(row)
            return (inputs, target) if self.augment is None else self.augment(inputs, target)


class Loader:
    """Batches of a task's training data.

    Parameters
    ----------
    where
        What messages call the data: "task 'left': its train split".
    """

    def __init__(self, source: Source, augment: Augment | None, where: str) -> None:
        self._source, self._where = source, where
        self._batch_augment = augment if augment is not None and is_batched(augment) else None
        self._augment = None if self._batch_augment is not None else augment
        if self._augment is not None and isinstance(source, Examples) and not isinstance(source.inputs, Tensor):
            hint = "mark the callable with avil_ray.augmentation.batched, and it gets whole batches"
            raise UserError(f"{where}: augment needs inputs in a tensor to take single examples of; {hint}")

    def batches(self, rows: Iterator[Tensor], first: int, seed: int, learning: Learning) -> Iterator[Batch]:
        """The batches of steps `first`, `first + 1`, …, one for each of `rows`."""
        steps = enumerate(rows, first)
        if isinstance(self._source, Examples) and self._augment is None:
            plain = isinstance(self._source.inputs, Tensor)
            found = ((step, self._whole(some, step, seed, plain=plain)) for step, some in steps)
        elif learning.loader_processes == 0:
            found = ((step, self._single(some, step, seed)) for step, some in steps)
        else:
            found = self._loaded(steps, seed, learning)
        if self._batch_augment is None:
            yield from (batch for _, batch in found)
            return
        for step, (inputs, targets) in found:
            with seeded(seed, "batch", step):
                batch = self._batch_augment(inputs, targets)
            yield batch

    def _whole(self, rows: Tensor, step: int, seed: int, *, plain: bool) -> Batch:
        if plain:
            return self._source.batch(rows)
        with seeded(seed, "rows", step):  # inputs of one's own may draw random numbers as they are read
            return self._source.batch(rows)

    def _single(self, rows: Tensor, step: int, seed: int) -> Batch:
        items = Items(self._source, self._augment, seed)
        return self._source.collated([items[step, place, row] for place, row in enumerate(rows.tolist())])

    def _loaded(
        self, steps: Iterator[tuple[int, Tensor]], seed: int, learning: Learning
    ) -> Iterator[tuple[int, Batch]]:
        keys = [[(step, place, row) for place, row in enumerate(rows.tolist())] for step, rows in steps]
        loader: DataLoader[Batch] = DataLoader(
            Items(self._source, self._augment, seed),  # type: ignore[arg-type] (any object with [key] will do)
            batch_sampler=keys,  # type: ignore[arg-type] (keys need not be numbers)
            collate_fn=self._source.collated,
            num_workers=learning.loader_processes,
            prefetch_factor=learning.prefetch,
            pin_memory=learning.pin_memory,
            generator=torch.Generator(),  # else it would draw from the generator that dropout draws from
        )
        for index, batch in enumerate(loader):
            yield keys[index][0][0], (batch[0], batch[1])


class StreamLoader:
    """Batches of a stream. It remembers where it is, and replays the stream from its beginning where it is elsewhere.

    The generators are seeded at the start of each pass and before each example, so a replay gives the same examples.
    """

    def __init__(self, stream: Stream, augment: Augment | None, where: str) -> None:
        self._stream, self._where = stream, where
        self._batch_augment = augment if augment is not None and is_batched(augment) else None
        self._augment = None if self._batch_augment is not None else augment
        self._seed: int | None = None
        self._examples: Iterator[Batch] = iter(())
        self._taken = 0

    def batches(self, steps: int, first: int, seed: int, learning: Learning) -> Iterator[Batch]:
        """The batches of steps `first` … `first + steps - 1` of the stream, each of exactly `batch_size` examples."""
        if seed != self._seed or self._taken != first * learning.batch_size:
            self._seed, self._taken, self._examples = seed, 0, self._endless(seed)
            for _ in range(first * learning.batch_size):
                next(self._examples)
                self._taken += 1
        for step in range(first, first + steps):
            items = []
            for index in range(self._taken, self._taken + learning.batch_size):
                inputs, target = next(self._examples)
                if self._augment is not None:
                    with seeded(seed, "augment", index):
                        inputs, target = self._augment(inputs, target)
                items.append((inputs, target))
            self._taken += learning.batch_size
            batch = self._stream.collated(items)
            if self._batch_augment is not None:
                with seeded(seed, "batch", step):
                    batch = self._batch_augment(*batch)
            yield batch

    def _endless(self, seed: int) -> Iterator[Batch]:
        """One pass after another."""
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
                raise UserError(f"{self._where} gave no example; give at least one")
            number += 1
