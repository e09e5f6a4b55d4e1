"""A round's deltas as a matrix: what is dropped, what alpha leaves alone, and one row for each layer."""

from __future__ import annotations

import numpy as np
import pytest
import small
import torch

from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.methods.deltas import by_layer, gather, geometry, split_off

SEED = 0


def target_of(trunk: object = small.batch_norm) -> Target:
    suite = small.small_suite(trunk)
    return Target(suite, suite.draw(SEED), SEED)


def updates(target: Target, ends: dict[str, np.ndarray]) -> list[Update]:
    return [Update(assignment=name, theta=end, losses={name: 0.0}) for name, end in ends.items()]


def test_a_delta_that_is_not_finite_becomes_zero_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    target = target_of()
    theta = target.flat.vector()
    broken = theta.copy()
    broken[3] = np.inf
    deltas = gather(theta, updates(target, {"left": theta + 1, "right": broken}), target.device)
    torch.testing.assert_close(deltas[0], torch.ones(len(theta)))
    assert not deltas[1].any()
    assert "the update of task 'right' is not finite" in caplog.text


@pytest.mark.parametrize("full_heads", [True, False])
def test_buffers_follow_the_target_and_auxiliary_heads_move_in_full_where_asked(full_heads: bool) -> None:
    target, space = target_of(), target_of().space
    base, deltas = torch.zeros(space.size), torch.stack([torch.full((space.size,), 1.0 + k) for k in range(3)])
    split_off(base, deltas, list(small.TASKS), target, full_heads=full_heads)
    assert (base[space.buffers] == 1).all()
    assert not deltas[:, space.buffers].any()
    assert not base[space.trunk].any()
    assert not base[space.head("left")].any(), "the target's own head is alpha's to scale"
    assert (base[space.head("right")] == (2.0 if full_heads else 0.0)).all()
    assert (deltas[1, space.head("right")] == (0.0 if full_heads else 2.0)).all()


def test_the_rows_of_a_tasks_layers_add_up_to_its_delta_and_touch_nothing_else() -> None:
    space = target_of(small.plain).space
    deltas = torch.randn(2, space.size, generator=torch.Generator().manual_seed(0))
    rows = by_layer(deltas, space).view(2, len(space.layers), -1)
    torch.testing.assert_close(rows.sum(1), deltas)
    for index, layer in enumerate(space.layers.values()):
        assert torch.equal(rows[:, index, layer], deltas[:, layer])
        assert (rows[:, index] != 0).sum() == (deltas[:, layer] != 0).sum()


def test_norms_and_cosines_by_hand() -> None:
    deltas = torch.tensor([[3.0, 4.0], [4.0, -3.0], [0.0, 0.0], [-6.0, -8.0]])
    facts = geometry(deltas, ["a", "b", "c", "d"], "a")
    assert [facts[f"delta_norm/{task}"] for task in "abcd"] == pytest.approx([5, 5, 0, 10])
    assert [facts[f"cosine/{task}"] for task in "abcd"] == pytest.approx([1, 0, 0, -1])
