"""What cannot be a row of a stack is refused with its reason, and what can is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from small import batch_norm, draw, dropout, plain, small_suite
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.learning.stack.stackable import LARGEST, alike, pays, why_not
from avil_ray.tasks.augmentation import batched


class Branching(nn.Module):
    """Its way depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layer(inputs)
        return found if found.sum() > 0 else -found


class OfTheBatch(nn.Module):
    """What it makes of an example depends on the others of its batch, and so on the tasks that share a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layer(inputs)
        return found - found.mean(0) if self.training else found


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 8)
        self.layer.bias.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layer(inputs)
        return found


def convolution() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 8, 5), nn.Flatten(1))


def refused(trunk: Callable[[], nn.Module] = plain, **learning: Any) -> str | None:
    suite = small_suite(trunk, **learning)
    return why_not(suite, suite.draw(0))


@pytest.mark.parametrize("own_heads", [True, False])
@pytest.mark.parametrize("regression", [True, False])
def test_an_mlp_can(own_heads: bool, regression: bool) -> None:
    suite = small_suite(regression=regression, own_heads=own_heads)
    assert why_not(suite, suite.draw(0)) is None
    assert pays(suite) is None


def test_a_convolution_can_but_it_does_not_pay() -> None:
    assert refused(convolution) is None
    assert "layer of kind Conv1d (trunk.1)" in str(pays(small_suite(convolution)))


def test_a_large_model_can_but_it_does_not_pay() -> None:
    def large() -> nn.Module:
        return nn.Sequential(nn.Linear(5, LARGEST // 10), nn.Linear(LARGEST // 10, 8))

    assert refused(large) is None
    assert f"{LARGEST:,} at most" in str(pays(small_suite(large)))


@pytest.mark.parametrize(
    ("trunk", "reason"),
    [
        (batch_norm, "has buffers (trunk.1.running_mean)"),
        (dropout, "draw random numbers"),
        (Branching, "cannot be vectorised"),
        (OfTheBatch, "gradients in a stack differ"),
        (Frozen, "trunk.layer.bias is frozen"),
    ],
)
def test_a_model_that_cannot_says_why(trunk: Callable[[], nn.Module], reason: str) -> None:
    assert reason in str(refused(trunk))


@pytest.mark.parametrize(
    ("learning", "reason"),
    [
        ({"optimizer": "rmsprop"}, "learning.optimizer is RMSprop; a stack has SGD, Adam, AdamW"),
        ({"optimizer": "adam", "optimizer_options": {"amsgrad": True}}, "has amsgrad; of Adam, a stack has betas and"),
        ({"precision": "bf16"}, "learning.precision is bf16"),
        ({"micro_batch": 4}, "learning.micro_batch is set"),
    ],
)
def test_a_way_of_learning_that_cannot_says_why(learning: dict[str, Any], reason: str) -> None:
    assert reason in str(refused(**learning))


def test_a_loss_that_gives_the_mean_can() -> None:
    suite = replace(small_suite(), tasks=partial(changed, loss=lambda outputs, targets: outputs.square().mean()))
    assert why_not(suite, suite.draw(0)) is None


def test_data_that_are_augmented_or_read_item_by_item_cannot() -> None:
    @batched
    def flip(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return -inputs, targets

    suite = replace(small_suite(), tasks=partial(changed, augment=flip))
    assert why_not(suite, suite.draw(0)) == "task 'left' augments its examples"
    suite = replace(small_suite(), tasks=in_rows)
    assert why_not(suite, suite.draw(0)) == "task 'left': its train split is not avil_ray.Examples of tensors"


def changed(seed: int, **options: Any) -> list[avil.Task]:
    return [replace(task, mode=None, **options) for task in draw(seed)]


def in_rows(seed: int) -> list[avil.Task]:
    first, *others = draw(seed)
    rows = torch.utils.data.TensorDataset(first.train.inputs, first.train.labels)
    dev = torch.utils.data.TensorDataset(first.dev.inputs, first.dev.labels)
    return [replace(first, train=rows, dev=dev), *others]


def test_what_rows_must_have_in_common() -> None:
    first = avil.Learning()
    for change in ({"learning_rate": 0.1}, {"momentum": 0.0}, {"clip": 1.0}, {"warmup": 3}, {"schedule": "cosine"}):
        assert alike(first) == alike(replace(first, **change))
    for change in ({"batch_size": 8}, {"optimizer": "adam"}, {"optimizer_options": {"nesterov": True}}):
        assert alike(first) != alike(replace(first, **change))
