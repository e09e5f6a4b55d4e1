"""What a batch holds depends on the seed and the step, not on who loads it, when, or after what."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from avil_ray.errors import UserError
from avil_ray.learning.loading import StreamLoader, loaded
from avil_ray.learning.passes import Source
from avil_ray.tasks.augmentation import Noise, batched
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.task import Task

ROWS = [torch.tensor([0, 2, 1]), torch.tensor([2, 2, 3]), torch.tensor([1, 0, 3])]
PLAIN, TWO = Learning(batch_size=3), Learning(batch_size=3, loader_processes=2)


class Drawing(Dataset[tuple[Tensor, int]]):
    """Reading an item draws from all three global generators."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        drawn = float(torch.rand(())) + np.random.rand() + random.random()  # noqa: NPY002
        return torch.tensor([row, drawn]), row


class Counting(IterableDataset[tuple[Tensor, int]]):
    """Ten numbers in an order that is drawn anew at every pass."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        order = torch.randperm(10).tolist()
        return ((torch.tensor([float(number)]), number) for number in order)


def noisy_batch(inputs: Tensor, targets: Any) -> tuple[Tensor, Any]:
    return inputs + torch.randn(inputs.shape), targets


def source(train: Any, augment: Any = None) -> Source:
    return Source(Task("a", train, augment=augment), "train")


def batches(source: Source, learning: Learning = PLAIN, first: int = 0, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    return [(batch.inputs, batch.targets) for batch in loaded(source, iter(ROWS[first:]), first, seed, learning)]


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    assert len(one) == len(other)
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True))


SOURCES = {
    "drawing": lambda: source(Drawing()),
    "augmented": lambda: source(Drawing(), Noise()),
    "tensors": lambda: source(Examples(torch.zeros(4, 2), torch.arange(4)), Noise()),
    "batched": lambda: source(Examples(torch.zeros(4, 2), torch.arange(4)), batched(noisy_batch)),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_batch_depends_only_on_seed_and_step(kind: str) -> None:
    whole = batches(SOURCES[kind]())
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    random.seed(99)
    assert same(batches(SOURCES[kind]()), whole)
    assert same(batches(SOURCES[kind](), first=1), whole[1:])
    assert not same(batches(SOURCES[kind](), seed=2), whole)
    first, second = whole[1][0][:2]
    assert not torch.equal(first, second), "the same example twice in a batch is augmented twice"


@pytest.mark.parametrize("kind", SOURCES)
def test_loader_processes_change_nothing(kind: str) -> None:
    assert same(batches(SOURCES[kind](), TWO), batches(SOURCES[kind]()))


def test_loading_leaves_the_global_generators_unchanged() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    for learning in (PLAIN, TWO):
        torch.manual_seed(5)
        batches(SOURCES["augmented"](), learning)
        assert torch.equal(torch.rand(3), expected)


def streamed(loader: StreamLoader, first: int, steps: int, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    return [(batch.inputs, batch.targets) for batch in loader.batches(steps, first, seed, PLAIN)]


def test_a_stream_continues_replays_and_restarts() -> None:
    whole = streamed(StreamLoader(source(Counting())), 0, 8)
    passes = torch.cat([targets for _, targets in whole]).tolist()
    assert sorted(passes[:10]) == sorted(passes[10:20]) == list(range(10))
    assert passes[:10] != passes[10:20]
    loader = StreamLoader(source(Counting()))
    assert same(streamed(loader, 0, 3) + streamed(loader, 3, 5), whole)
    assert same(streamed(loader, 2, 4), whole[2:6]), "a place that was passed is found by a replay"
    assert same(streamed(StreamLoader(source(Counting())), 5, 3), whole[5:])
    assert not same(streamed(loader, 0, 8, seed=2), whole)


def test_a_stream_restarts_only_to_go_back() -> None:
    begun = []

    class Watched(Counting):
        def __iter__(self) -> Iterator[tuple[Tensor, int]]:
            begun.append(1)
            return super().__iter__()

    loader = StreamLoader(source(Watched()))
    whole = streamed(StreamLoader(source(Counting())), 0, 2)
    streamed(loader, 0, 1)
    assert same(streamed(loader, 1, 1), whole[1:])
    assert len(begun) == 1
    streamed(loader, 3, 1)
    passes = len(begun)
    streamed(loader, 0, 1)
    assert len(begun) == passes + 1


def test_a_stream_is_augmented_by_position() -> None:
    whole = streamed(StreamLoader(source(Counting(), Noise())), 0, 5)
    assert same(streamed(StreamLoader(source(Counting(), Noise())), 2, 3), whole[2:])
    assert not same(streamed(StreamLoader(source(Counting())), 0, 5), whole)


def test_an_empty_stream_is_one_line() -> None:
    class Empty(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(())

    with pytest.raises(UserError, match="task 'a': its train split has no examples"):
        streamed(StreamLoader(source(Empty())), 0, 1)


def test_single_examples_cannot_be_taken_of_every_kind_of_inputs() -> None:
    class Words:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, rows: Tensor) -> Tensor:
            return rows[:, None].float()

        def join(self, other: Words) -> Words:
            return self

    with pytest.raises(UserError, match=r"augment needs tensor inputs .* avil_ray\.tasks\.augmentation\.batched"):
        batches(source(Examples(Words(), torch.arange(4)), Noise()))


class BrokenStream(Counting):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return ((torch.tensor([1.0 if number != 7 else torch.nan]), 1) for number in range(10))


def test_a_number_in_a_stream_that_is_not_finite_is_named_by_its_position() -> None:
    batches = StreamLoader(source(BrokenStream())).batches(3, 0, 1, PLAIN)
    with pytest.raises(UserError, match=r"^task 'a': its train split: inputs\[7, 0\] is nan"):
        list(batches)


@pytest.mark.parametrize("batch", [False, True])
def test_an_augmentation_that_breaks_its_inputs_is_named(batch: bool) -> None:
    def breaks(inputs: Tensor, targets: Any) -> tuple[Tensor, Any]:
        return inputs / 0, targets

    examples = Examples(torch.ones(4, 2), torch.arange(4))
    with pytest.raises(UserError, match=r"^task 'a': augment: inputs are inf after it"):
        batches(source(examples, batched(breaks) if batch else breaks))
