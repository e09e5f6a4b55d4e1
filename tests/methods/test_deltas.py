"""A round's deltas on the driver: what is dropped, what alpha scales and what it leaves alone, how they lie."""

from __future__ import annotations

import numpy as np
import pytest
import small

from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.line import Line
from avil_ray.learning.parameters import SUM_BLOCK, ParameterSpace
from avil_ray.methods.deltas import differences, geometry, line_of, sound

SEED = 0


def space_of(trunk: object = small.batch_norm, *, own_heads: bool = True) -> ParameterSpace:
    suite = small.small_suite(trunk, own_heads=own_heads)
    return Target(suite, suite.draw(SEED), SEED).space


def updates(**ends: np.ndarray) -> list[Update]:
    return [Update(assignment=name, theta=np.float32(end), losses={name: 0.0}) for name, end in ends.items()]


@pytest.mark.parametrize("place", [3, SUM_BLOCK + 7])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_a_delta_that_is_not_finite_is_not_sound_and_is_logged(
    place: int, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    theta = np.full(SUM_BLOCK + 9, -3e38, np.float32)
    broken = theta.copy()
    broken[place] = value
    assert sound(theta, updates(left=theta + 1, right=broken)) == [True, False]
    assert "the update of task 'right' is not finite" in caplog.text
    assert "left" not in caplog.text


def scaled(line: Line, space: ParameterSpace) -> np.ndarray:
    """How often each row scales each number of theta, [n, size]."""
    counts = np.zeros((len(line.rows), space.size), int)
    for number, row in enumerate(line.rows):
        for part in row.parts:
            counts[number, part] += 1
    return counts


def taken(line: Line, space: ParameterSpace) -> np.ndarray:
    """The update from which each number of theta is taken as it is; -1 where from none."""
    found = np.full(space.size, -1)
    for part, update in line.fixed:
        assert (found[part] == -1).all()
        found[part] = update
    return found


@pytest.mark.parametrize("full_heads", [True, False])
@pytest.mark.parametrize("layers", [True, False])
@pytest.mark.parametrize("own_heads", [True, False])
def test_alpha_scales_every_parameter_once_except_heads_that_move_in_full(
    full_heads: bool, layers: bool, own_heads: bool
) -> None:
    space = space_of(own_heads=own_heads)
    line = line_of(space, small.TASKS, [True] * 3, "left", full_heads=full_heads, layers=layers)
    assert [row.update for row in line.rows] == sorted([0, 1, 2] * (len(space.layers) if layers else 1))
    counts, fixed = scaled(line, space).reshape(3, -1, space.size), taken(line, space)
    for update, task in enumerate(small.TASKS):
        expected = np.zeros(space.size, int)
        expected[space.parameters] = 1
        expected[space.head(task)] = int(task == "left" or not full_heads)
        assert (counts[update].sum(0) == expected).all()
        if layers:
            for row, layer in zip(counts[update], space.layers.values(), strict=True):
                assert not np.delete(row, np.r_[layer]).any(), "a row touches its own layer alone"
    assert (fixed[space.buffers] == 0).all(), "the target's"
    assert (fixed[space.trunk] == -1).all()
    assert (fixed[space.head("left")] == -1).all(), "the target's own head is alpha's to scale"
    for update, task in enumerate(small.TASKS[1:], 1):
        assert (fixed[space.head(task)] == (update if full_heads else -1)).all()


def test_an_unused_update_is_ignored() -> None:
    space = space_of()
    line = line_of(space, small.TASKS, [False, False, True], "left", full_heads=True, layers=False)
    assert [bool(row.parts) for row in line.rows] == [False, False, True]
    assert set(taken(line, space)) == {-1, 2}, "buffers stay as they were"


def test_norms_and_cosines_by_hand() -> None:
    theta = np.ones(SUM_BLOCK + 4, np.float32)
    deltas = {"a": (3.0, 4.0), "b": (4.0, -3.0), "c": (0.0, 0.0), "d": (-6.0, -8.0), "e": (np.nan, 0.0)}
    ends = {name: theta.copy() for name in deltas}
    for name, end in ends.items():
        end[[5, SUM_BLOCK + 2]] += deltas[name]
        end[-1] = 9.0  # no parameter
    used = [True, True, True, True, False]
    facts = geometry(theta, updates(**ends), used, slice(0, len(theta) - 1), "a")
    assert [facts[f"delta_norm/{task}"] for task in deltas] == pytest.approx([5, 5, 0, 10, 0])
    assert [facts[f"cosine/{task}"] for task in deltas] == pytest.approx([1, 0, 0, -1, 0])
    without = geometry(theta, updates(**ends), [False, *used[1:]], slice(0, len(theta) - 1), "a")
    assert [without[f"cosine/{task}"] for task in deltas] == [0, 0, 0, 0, 0]


def test_differences_are_those_of_the_slice_block_by_block() -> None:
    start, end = np.random.default_rng(0).standard_normal((2, 2 * SUM_BLOCK + 5), dtype=np.float32)
    blocks = [part.numpy().copy() for part in differences(start, end, slice(2, 2 * SUM_BLOCK + 4))]
    assert [len(block) for block in blocks] == [SUM_BLOCK, SUM_BLOCK, 2]
    assert np.array_equal(np.concatenate(blocks), (end - start)[2:-1])
