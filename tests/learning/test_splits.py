"""Who trains, who adapts, and in what order."""

from __future__ import annotations

import pytest
import torch

from avil_ray.errors import UserError
from avil_ray.learning.splits import Dev, DevUse, batches


def sets(use: DevUse, train: int, dev: int, number: int = 0, seed: int = 0) -> tuple[set[int], set[int]]:
    training, adapting = use.rows(train, dev, seed, number)
    for rows in (training, adapting):
        assert rows.dtype == torch.int64
        assert rows.tolist() == sorted(set(rows.tolist()))
    return set(training.tolist()), set(adapting.tolist())


@pytest.mark.parametrize(
    ("kind", "training", "adapting"),
    [("train", range(10), range(7, 10)), ("hold", range(7), range(7, 10))],
)
@pytest.mark.parametrize("number", [0, 5])
def test_fixed_uses(kind: Dev, training: range, adapting: range, number: int) -> None:
    assert sets(DevUse(kind), 7, 3, number) == (set(training), set(adapting))


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.7, 0.99])
@pytest.mark.parametrize(("train", "dev"), [(70, 30), (5, 4), (1, 1)])
def test_crossfit_parts_the_pool_by_its_fraction(fraction: float, train: int, dev: int) -> None:
    training, adapting = sets(DevUse("crossfit", fraction), train, dev)
    assert training & adapting == set()
    assert training | adapting == set(range(train + dev))
    assert training
    assert adapting
    assert abs(len(training) - fraction * (train + dev)) <= 1


def test_crossfit_draws_new_parts_each_round_and_for_each_seed_and_the_same_ones_again() -> None:
    use = DevUse("crossfit")
    parts = [sets(use, 70, 30, number, seed)[1] for number in range(4) for seed in range(2)]
    assert len({frozenset(part) for part in parts}) == len(parts)
    assert sets(use, 70, 30, 3, 1)[1] == parts[-1]


def test_over_the_rounds_every_example_does_both() -> None:
    use = DevUse("crossfit")
    counts = torch.zeros(100)
    for number in range(200):
        counts[use.rows(70, 30, 0, number)[1]] += 1
    assert (counts / 200 - 0.3).abs().max() < 0.15
    assert counts.sum() == 200 * 30


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_fraction_outside_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="crossfit_fraction must lie between 0 and 1"):
        DevUse("crossfit", fraction)


def test_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match="dev must be 'train', 'hold' or 'crossfit', not 'both'"):
        DevUse("both")  # type: ignore[arg-type]


ROWS = torch.tensor([3, 5, 8, 13, 21, 34, 55])


def stream(first: int, steps: int, size: int, seed: int = 0, purpose: str = "x") -> list[list[int]]:
    return [rows.tolist() for rows in batches(ROWS, size, first, steps, seed, purpose)]


@pytest.mark.parametrize("size", [1, 3, 7, 8, 20])
def test_the_stream_is_one_permutation_after_another(size: int) -> None:
    rows = [row for batch in stream(0, 42, size) for row in batch]
    passes = [tuple(rows[start : start + 7]) for start in range(0, len(rows) - 6, 7)]
    assert all(sorted(one) == ROWS.tolist() for one in passes)
    assert len(set(passes)) > len(passes) / 2, "passes differ in their order"
    assert all(len(batch) == size for batch in stream(0, 42, size))


@pytest.mark.parametrize("size", [1, 3, 8, 20])
@pytest.mark.parametrize("first", [1, 2, 7, 30])
def test_the_stream_starts_anywhere(first: int, size: int) -> None:
    assert stream(first, 5, size) == stream(0, first + 5, size)[first:]


def test_seed_and_purpose_make_the_order() -> None:
    assert stream(0, 3, 4) == stream(0, 3, 4)
    assert stream(0, 3, 4, seed=1) != stream(0, 3, 4)
    assert stream(0, 3, 4, purpose="y") != stream(0, 3, 4)


def test_no_steps_no_batches() -> None:
    assert stream(4, 0, 4) == []
