"""Who trains and who adapts."""

from __future__ import annotations

import pickle

import pytest
import torch

from avil_ray.errors import UserError
from avil_ray.learning.splits import Dev, DevUse, pieces
from avil_ray.tasks.learning import Learning


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
def test_crossfit_splits_the_pool_by_its_fraction(fraction: float, train: int, dev: int) -> None:
    training, adapting = sets(DevUse("crossfit", fraction), train, dev)
    assert training & adapting == set()
    assert training | adapting == set(range(train + dev))
    assert training
    assert adapting
    assert abs(len(training) - fraction * (train + dev)) <= 1


def test_crossfit_draws_new_parts_for_each_round_and_seed_reproducibly() -> None:
    use = DevUse("crossfit")
    parts = [sets(use, 70, 30, number, seed)[1] for number in range(4) for seed in range(2)]
    assert len({frozenset(part) for part in parts}) == len(parts)
    assert sets(use, 70, 30, 3, 1)[1] == parts[-1]


def test_over_the_rounds_every_example_is_used_for_both() -> None:
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


def test_another_type_is_rejected() -> None:
    with pytest.raises(UserError, match="dev must be 'train', 'hold' or 'crossfit', not 'both'"):
        DevUse("both")  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (8, [8]), (9, [5, 4]), (17, [6, 6, 5]), (0, [0])])
def test_pieces_are_even_and_no_larger_than_asked(count: int, sizes: list[int]) -> None:
    rows = 3 * torch.arange(count)
    found = pieces(rows, Learning(evaluation_batch=8))
    assert [len(piece) for piece in found] == sizes
    assert torch.equal(torch.cat(found), rows)


def test_a_piece_is_sent_without_the_rows_of_others() -> None:
    found = pieces(torch.arange(4096), Learning(evaluation_batch=16))
    assert len(pickle.dumps(found[0])) < 8 * 4096 / 16
