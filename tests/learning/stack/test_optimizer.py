"""Each row takes the steps of PyTorch's optimizer with its own numbers, and hands its state on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import avil_ray as avil
from avil_ray.learning.optimizers import FlatOptimizer
from avil_ray.learning.parameters import FlatModel
from avil_ray.learning.stack.optimizer import Follows, StackedOptimizer
from avil_ray.models.multitask import MultitaskModel

KINDS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {"momentum": 0.0},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"learning_rate": 0.3, "clip": 0.2, "schedule": "cosine", "warmup": 3},
        {"groups": {"trunk": {"learning_rate": 0.01}, "heads.b": {"weight_decay": 0.5}}},
        {"optimizer_options": {"momentum": 0.5}, "schedule": "linear"},
    ],
    "nesterov": [
        {"optimizer": "sgd", "optimizer_options": {"nesterov": True}},
        {"optimizer": "sgd", "optimizer_options": {"nesterov": True}, "momentum": 0.5, "weight_decay": 0.1},
    ],
    "adam": [{}, {"weight_decay": 0.1}, {"optimizer_options": {"betas": [0.8, 0.99], "eps": 1e-3}, "clip": 0.5}],
    "adamw": [{}, {"weight_decay": 0.1, "warmup": 2}, {"groups": {"trunk.0": {"weight_decay": 0.3}}}],
}
TRAINED = [("a", "b"), ("a",), ("b",)]


def flat() -> FlatModel:
    torch.manual_seed(0)
    heads = {"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}
    return FlatModel(MultitaskModel(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4)), heads))


def follows(kind: str, space: Any) -> list[Follows]:
    rows = []
    for number, options in enumerate(KINDS[kind]):
        learning = replace(avil.Learning(optimizer=options.get("optimizer", kind), learning_rate=0.02), **options)
        parts = {"trunk": space.trunk, **{f"head of {task}": space.head(task) for task in TRAINED[number % 3]}}
        rows.append(Follows(learning, parts, number, 20, {}))
    return rows


def gradient(theta: torch.Tensor, parts: Any, number: int) -> torch.Tensor:
    found = torch.zeros_like(theta)
    for where in parts.values():
        found[where] = torch.sin(theta[where] * (number + 1))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_takes_pytorchs_steps_and_its_state_continues_in_either(kind: str) -> None:
    rows = follows(kind, flat().space)
    theta = torch.stack([flat().values] * len(rows))
    singles = []
    for row in rows:
        one = flat()
        singles.append((one, FlatOptimizer(one, row.parts, row.learning, row.total_steps)))
    stacked = StackedOptimizer(flat().space, rows)
    for number in range(6):
        if number == 3:  # the states change places
            states = [stacked.state(index) for index in range(len(rows))]
            rows = [
                replace(row, first=row.first + 3, state=single.state())
                for row, (_, single) in zip(rows, singles, strict=True)
            ]
            singles = [
                (one, FlatOptimizer(one, row.parts, row.learning, row.total_steps, state))
                for row, (one, _), state in zip(rows, singles, states, strict=True)
            ]
            stacked = StackedOptimizer(flat().space, rows)
        gradients = torch.stack([gradient(one, row.parts, number) for one, row in zip(theta, rows, strict=True)])
        stacked.step(number % 3, theta, gradients)
        for row, (one, single) in zip(rows, singles, strict=True):
            one.gradient.copy_(gradient(one.values, row.parts, number))
            nn.utils.clip_grad_norm_(single.parameters, row.learning.clip)
            single.step(row.first + number % 3)
    for index, (one, single) in enumerate(singles):
        torch.testing.assert_close(theta[index], one.values, rtol=1e-5, atol=1e-6)
        assert set(stacked.state(index)) == set(single.state())
        for name, array in single.state().items():
            assert stacked.state(index)[name].shape == array.shape


def test_the_norms_are_those_before_clipping() -> None:
    rows = follows("sgd", flat().space)[:2]
    theta = torch.stack([flat().values] * 2)
    gradients = torch.stack([torch.full((theta.shape[1],), value) for value in (1.0, 2.0)])
    expected = gradients.norm(dim=1)
    assert torch.allclose(StackedOptimizer(flat().space, rows).step(0, theta, gradients), expected)
