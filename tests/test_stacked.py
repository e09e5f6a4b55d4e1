"""Every run of a stack ends as `train` ends it, within 1e-4; its bits do not depend on who else is in the stack.

The tolerance is on every figure of every round but times, and on theta: relative to the figure, or to 1e-2 where the
figure is smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_suite

import avil_ray as avil
from avil_ray.errors import WorkFailed
from avil_ray.learning.stack.learner import StackLearner
from avil_ray.methods.joint import FixedWeights
from avil_ray.stacked import Ended, Halving, Member, Stack, train_stack
from avil_ray.storage import LocalStorage

ROUNDS, STEPS = 6, 5
TOLERANCE, FLOOR = 1e-4, 1e-2

METHODS: list[FixedWeights] = [
    avil.Static(weights={"right": 0.5, "noise": 0.2}),
    avil.Static(weights={"right": 2.0}, learning_rate=0.03, dev="hold"),
    avil.Static(weights={"left": 0.0, "noise": 1.0}),
    avil.Static(weights={"right": 1.0}, finish="fine-tune"),
    avil.Equal(),
    avil.EqualFineTune(dev="hold"),
    avil.TargetOnly(learning_rate=0.2),
]


def members(suite: avil.Suite, methods: Sequence[FixedWeights] = METHODS, folder: Path | None = None) -> list[Member]:
    """Each method with a seed of its own, or one of two."""
    storages = [None if folder is None else LocalStorage(folder / str(number)) for number in range(len(methods))]
    for storage in storages:
        if storage is not None:
            storage.folder.mkdir(parents=True, exist_ok=True)
    return [Member(suite, one, seed % 2, storages[seed]) for seed, one in enumerate(methods)]


def stack(grid: Sequence[Member], **options: Any) -> list[Ended]:
    ended = train_stack(grid, **{"rounds": ROUNDS, "steps_per_round": STEPS, **options})
    return sorted(ended, key=lambda one: one.place)


def by_itself(one: Member) -> avil.Result:
    return avil.train(one.suite, one.method, rounds=ROUNDS, steps_per_round=STEPS, seed=one.seed, pool="inline")


def assert_close(ended: Ended, single: avil.Result) -> None:
    found = ended.result
    assert found is not None
    assert ended.rows == found.rows
    assert [list(row) for row in found.rows] == [list(row) for row in single.rows]
    for row, expected in zip(found.rows, single.rows, strict=True):
        for name, value in expected.items():
            if not name.startswith("time/"):
                assert math.isclose(row[name], value, rel_tol=TOLERANCE, abs_tol=TOLERANCE * FLOOR), name
    np.testing.assert_allclose(found.theta, single.theta, rtol=TOLERANCE, atol=TOLERANCE * FLOOR)
    assert found.test == pytest.approx(single.test, rel=TOLERANCE)
    assert (found.best_round, found.best_track) == (single.best_round, single.best_track)
    assert found.select == pytest.approx(single.select, rel=TOLERANCE)


def assert_same(one: Ended, other: Ended) -> None:
    """To the last bit, but for times."""
    untimed = [
        [{name: value for name, value in row.items() if not name.startswith("time/")} for row in ended.rows]
        for ended in (one, other)
    ]
    assert untimed[0] == untimed[1]
    assert one.how == other.how
    if one.result is not None and other.result is not None:
        assert np.array_equal(one.result.theta, other.result.theta)
        assert one.result.test == other.result.test


@pytest.mark.parametrize(
    "learning",
    [
        {},
        {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1, "schedule": "cosine", "warmup": 4},
        {"momentum": 0.0, "weight_decay": 0.01, "clip": 0.3, "schedule": "linear"},
    ],
)
@pytest.mark.parametrize("own_heads", [True, False])
def test_every_run_ends_as_train_ends_it(learning: dict[str, Any], own_heads: bool) -> None:
    grid = members(small_suite(own_heads=own_heads, **learning))
    for ended, one in zip(stack(grid), grid, strict=True):
        assert_close(ended, by_itself(one))


def test_regression_with_another_metric() -> None:
    grid = members(small_suite(regression=True, learning_rate=0.02), METHODS[:4])
    for ended, one in zip(stack(grid), grid, strict=True):
        assert_close(ended, by_itself(one))


def test_rows_have_their_own_numbers_of_the_optimizer() -> None:
    suite = small_suite()
    ways = [
        {"momentum": 0.0},
        {"clip": 0.1},
        {"weight_decay": 0.2},
        {"schedule": "linear", "warmup": 3},
        {"patience": 1},
    ]
    grid = [Member(replace(suite, learning=replace(suite.learning, **way)), avil.Equal(), 3) for way in ways]
    for ended, one in zip(stack(grid), grid, strict=True):
        assert_close(ended, by_itself(one))
    assert len({ended.result.theta.tobytes() for ended in stack(grid) if ended.result}) == len(ways)


def test_the_bits_do_not_depend_on_who_else_is_in_the_stack() -> None:
    grid = members(small_suite())
    whole = stack(grid)
    for part in ([0], [1, 4, 6], [2, 3, 5]):
        rest = [one.method for place, one in enumerate(grid) if place not in part]
        for place, ended in zip(part, stack([grid[place] for place in part], others=rest), strict=True):
            assert_same(ended, whole[place])


def test_seconds_are_shared_out_and_steps_are_each_runs_own() -> None:
    first, second = stack(members(small_suite(), [avil.TargetOnly(), avil.Equal()]))
    assert [row["cost/gradient_steps"] for row in first.rows] == [STEPS] * ROUNDS
    assert [row["cost/gradient_steps"] for row in second.rows] == [3 * STEPS] * ROUNDS
    for one, other in zip(first.rows, second.rows, strict=True):
        assert other["time/device"] == pytest.approx(3 * one["time/device"])
        assert one["time/device"] == one["time/reserved"] == one["time/round"]


def test_a_run_that_diverges_leaves_and_the_others_are_as_without_it() -> None:
    methods = [METHODS[0], avil.Equal(learning_rate=1e10), METHODS[1]]
    grid = members(small_suite(regression=True, learning_rate=0.02, clip=math.inf), methods)
    whole = stack(grid)
    assert [one.how for one in whole] == ["finished", "left", "finished"]
    fine = stack([grid[0], grid[2]], others=[methods[1]])
    assert_same(whole[0], fine[0])
    assert_same(whole[2], fine[1])
    with pytest.raises(WorkFailed, match="diverged in round"):
        by_itself(grid[1])


@pytest.mark.parametrize("by_single", [False, True])
def test_a_stack_that_was_cut_off_goes_on_with_the_same_bits_and_so_does_train(
    tmp_path: Path, by_single: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = members(small_suite(optimizer="adam", learning_rate=0.01), folder=tmp_path)
    whole, rounds = stack([replace(one, storage=None) for one in grid]), []
    advance = Stack.advance

    def cut_off(self: Stack) -> list[Ended]:
        rounds.append(self)
        if len(rounds) == 4:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(Stack, "advance", cut_off)
    with pytest.raises(KeyboardInterrupt):
        stack(grid, checkpoint_every=0.0)
    trained: list[int] = []
    train = StackLearner.train

    def counted(self: StackLearner, jobs: Any, tasks: Any) -> Any:
        trained.append(len(jobs))
        return train(self, jobs, tasks)

    monkeypatch.setattr(StackLearner, "train", counted)
    if by_single:
        for number, one in enumerate(grid):
            result = avil.train(
                one.suite, one.method, rounds=ROUNDS, steps_per_round=STEPS, seed=one.seed,
                output=tmp_path / str(number), resume=True,
            )  # fmt: skip
            assert_close(whole[number], result)
        return
    for ended, expected in zip(stack(grid), whole, strict=True):
        assert_same(ended, expected)
    assert trained[:3] == [len(grid)] * 3
    assert len(trained) == ROUNDS - 3 + 3, "three rounds are left of each, and three of the fine-tuning"


def test_halving_keeps_the_best_third_of_a_rung_with_those_that_were_there_before() -> None:
    scores = [0.1, 0.9, 0.5, 0.7, 0.3, 0.2]
    assert Halving((2,), "max").keeps(2, scores) == [False, True, False, True, False, False]
    assert Halving((2,), "min").keeps(2, scores) == [True, False, False, False, False, True]
    assert Halving((2,), "max", {2: [0.9, 0.9, 0.9]}).keeps(2, scores) == [False, True, False, False, False, False]


def test_rows_are_dropped_at_rungs() -> None:
    methods = [avil.TargetOnly(learning_rate=rate) for rate in (1e-6, 2e-6, 0.1, 0.2, 3e-6, 4e-6)]
    grid = [Member(small_suite(), one, 0) for one in methods]
    ended = stack(grid, halving=Halving((2,), "max"))
    assert [one.how for one in ended] == ["stopped", "stopped", "finished", "finished", "stopped", "stopped"]
    assert [len(one.rows) for one in ended] == [2, 2, ROUNDS, ROUNDS, 2, 2]
    for one, whole in zip(ended, stack(grid), strict=True):
        if one.how == "finished":
            assert_same(one, whole)
