"""One backward pass for several batches gives the bits of one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import small
import torch
from torch import nn

import avil_ray as avil
from avil_ray.learning import twins as module
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.twins import Twins, backward

SEED = 3
WEIGHTS = {"left": 1.0, "right": 0.3, "noise": 0.0}


def half() -> nn.Module:
    return nn.Sequential(nn.Linear(small.WIDTH, 8).bfloat16(), nn.Tanh())


def result(suite: avil.Suite, **options: Any) -> avil.Result:
    method = avil.Static(weights={**WEIGHTS, "noise": 0.7})
    return avil.train(suite, method, rounds=3, steps_per_round=5, seed=SEED, **options)


@pytest.mark.parametrize(
    "suite",
    [
        small.small_suite(),
        small.small_suite(own_heads=False),
        small.small_suite(small.dropout),
        small.small_suite(small.Recurrent),
        small.small_suite(regression=True, optimizer="adam"),
        small.small_suite(batch_size=7, clip=0.01),
    ],
    ids=["heads", "shared", "dropout", "recurrent", "regression", "clipped"],
)
def test_a_run_has_the_bits_that_it_has_without_twins(suite: avil.Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    take = Twins.take
    monkeypatch.setattr(Twins, "take", lambda self, count: (used.append(count), take(self, count))[1])
    found = result(suite)
    assert used == [3] * 15, "every step's three batches went through twins"
    monkeypatch.setattr(module, "LARGEST", 0)
    expected = result(suite)
    assert len(used) == 15
    assert found.theta.tobytes() == expected.theta.tobytes()
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert {k: v for k, v in row.items() if "time" not in k} == {k: v for k, v in other.items() if "time" not in k}


def test_each_twin_has_the_gradient_of_its_own_total() -> None:
    suite = small.small_suite()
    flat = initial_model(suite, SEED)
    used = Twins(suite, SEED, flat).take(3)
    flat.load(torch.randn(flat.space.size, generator=torch.Generator().manual_seed(1)))
    inputs = torch.randn(4, small.WIDTH)
    totals = [twin.model(inputs, task).square().sum() for twin, task in zip(used, small.TASKS, strict=True)]
    backward(used, totals, list(WEIGHTS.values()))
    for twin, (task, weight) in zip(used, WEIGHTS.items(), strict=True):
        flat.zero_gradient()
        (weight * flat.model(inputs, task).square().sum()).backward()
        torch.testing.assert_close(twin.gradient, flat.gradient)
    assert not used[2].gradient.any()
    assert used[0].gradient.any()


@pytest.mark.parametrize(
    ("trunk", "learning", "pay"),
    [
        (small.plain, {}, True),
        (small.dropout, {}, True),
        (small.batch_norm, {}, False),
        (half, {}, False),
        (small.plain, {"micro_batch": 4}, False),
        (small.plain, {"compile": True}, False),
        (lambda: nn.Sequential(nn.Linear(small.WIDTH, module.LARGEST), nn.Linear(module.LARGEST, 8)), {}, False),
    ],
    ids=["plain", "dropout", "BatchNorm", "bfloat16", "micro-batches", "compiled", "large"],
)
def test_a_model_has_twins_where_they_save_time(
    trunk: Callable[[], nn.Module], learning: dict[str, Any], pay: bool
) -> None:
    suite = small.small_suite(trunk, **learning)
    assert Twins(suite, SEED, initial_model(suite, SEED)).pay(suite.learning) is pay
