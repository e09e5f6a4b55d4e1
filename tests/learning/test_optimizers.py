"""Every optimizer on slices of the flat vector takes the steps that PyTorch's takes on the model's own parameters."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from avil_ray.errors import UserError
from avil_ray.learning.optimizers import FlatOptimizer, check_groups, pieces, rate_share
from avil_ray.learning.parameters import FlatModel
from avil_ray.models.multitask import MultitaskModel
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.optimizer_names import BY_ELEMENT

PARTS = ("trunk", "head of a")


def model() -> MultitaskModel:
    torch.manual_seed(0)
    return MultitaskModel(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4)), {"a": nn.Linear(4, 2)})


def flat_steps(learning: Learning, steps: int, *, resumed_at: int | None = None, total: int | None = None) -> FlatModel:
    flat = FlatModel(model())
    parts = {"trunk": flat.space.trunk, "head of a": flat.space.head("a")}
    optimizer = FlatOptimizer(flat, parts, learning, total)
    for number in range(steps):
        if number == resumed_at:
            optimizer = FlatOptimizer(flat, parts, learning, total, optimizer.state())
        flat.gradient.copy_(torch.sin(flat.values * (number + 1)))
        optimizer.step(number)
    return flat


def plain_steps(optimizer: str, steps: int, **options: object) -> FlatModel:
    """The same on a model of its own, whose parameters PyTorch's optimizer takes one by one."""
    flat = FlatModel(model())
    plain = getattr(torch.optim, optimizer)(flat.model.parameters(), **options)
    for number in range(steps):
        flat.gradient.copy_(torch.sin(flat.values * (number + 1)))
        plain.step()
    return flat


@pytest.mark.parametrize("name", BY_ELEMENT)
def test_an_elementwise_optimizer_takes_pytorchs_steps(name: str) -> None:
    learning = Learning(optimizer=name.lower(), learning_rate=0.01, momentum=0.9)
    options = {"momentum": 0.9} if name == "SGD" else {"weight_decay": 0.0} if name != "Rprop" else {}
    expected = plain_steps(name, 6, lr=0.01, **options)
    assert torch.equal(flat_steps(learning, 6).values, expected.values)


def test_an_optimizer_that_depends_on_shapes_sees_them() -> None:
    learning = Learning(optimizer="Adafactor", learning_rate=0.01)
    assert torch.equal(flat_steps(learning, 6).values, plain_steps("Adafactor", 6, lr=0.01, weight_decay=0.0).values)


@pytest.mark.parametrize("name", [*BY_ELEMENT, "Adafactor", "Muon"])
def test_the_state_is_sent_as_arrays(name: str) -> None:
    learning = Learning(optimizer=name, learning_rate=0.01)
    whole, resumed = flat_steps(learning, 6), flat_steps(learning, 6, resumed_at=3)
    assert torch.equal(whole.values, resumed.values)
    assert not torch.equal(whole.values, FlatModel(model()).values)


def test_one_piece_for_each_part_unless_groups_or_shapes_split_it() -> None:
    space = FlatModel(model()).space
    parts = {"trunk": space.trunk, "head of a": space.head("a"), "head of b": slice(0, 0)}
    assert [piece.name for piece in pieces(space, parts, Learning())] == list(PARTS)
    grouped = Learning(groups={"trunk.2": {"learning_rate": 0.001}})
    assert [(piece.name, piece.group) for piece in pieces(space, parts, grouped)] == [
        ("trunk 0", ""),
        ("trunk 1", "trunk.2"),
        ("head of a", ""),
    ]
    shaped = pieces(space, parts, Learning(optimizer="Muon"))
    assert [piece.shape for piece in shaped] == [(4, 3), (1, 4), (4, 4), (1, 4), (2, 4), (1, 2)]


def test_a_group_has_its_own_rate() -> None:
    learning = Learning(learning_rate=0.1, momentum=0.0, groups={"trunk": {"learning_rate": 0.001}})
    start, flat = FlatModel(model()), flat_steps(learning, 1)
    gradient = torch.sin(start.values)
    moved = start.values - flat.values
    assert torch.allclose(moved[flat.space.trunk], 0.001 * gradient[flat.space.trunk], rtol=1e-3)
    assert torch.allclose(moved[flat.space.head("a")], 0.1 * gradient[flat.space.head("a")], rtol=1e-4)


def test_a_group_without_parameters_is_refused() -> None:
    with pytest.raises(UserError, match=r"groups.trnk: no parameter name starts with it; available: heads.a, trunk"):
        check_groups(FlatModel(model()).space, Learning(groups={"trnk": {"learning_rate": 0.1}}))


def test_schedules_follow_their_formulas() -> None:
    linear, cosine = Learning(schedule="linear", warmup=2), Learning(schedule="cosine")
    assert [rate_share(linear, step, 6) for step in range(7)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    assert [rate_share(cosine, step, 4) for step in range(4)] == [
        0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)
    ]
    assert rate_share(Learning(), 10**6, 4) == rate_share(cosine, 3, None) == 1.0


def test_cosine_with_adamw_is_pytorchs() -> None:
    flat = FlatModel(model())
    plain = torch.optim.AdamW(flat.model.parameters(), lr=0.01, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(plain, 8)
    for number in range(8):
        flat.gradient.copy_(torch.sin(flat.values * (number + 1)))
        plain.step()
        scheduler.step()
    learning = Learning(optimizer="AdamW", learning_rate=0.01, weight_decay=0.1, schedule="cosine")
    assert torch.allclose(flat_steps(learning, 8, total=8).values, flat.values, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "Lion"}, "learning: torch.optim has no optimizer 'Lion'; available: ASGD,"),
        ({"optimizer": "LBFGS"}, "it evaluates the loss several times in a step; choose another"),
        ({"optimizer": "SparseAdam"}, "it takes sparse gradients only"),
        ({"optimizer": "AdamW", "optimizer_options": {"beta": 1}}, "unknown option 'beta'; did you mean 'betas'?"),
        ({"optimizer": "AdamW", "optimizer_options": {"betas": [2, 3]}}, "Invalid beta parameter"),
        ({"optimizer_options": {"lr": 1}}, "optimizer_options.lr: set learning.learning_rate instead"),
        ({"groups": {"trunk": {"lr": 1}}}, "groups.trunk: unknown option 'lr'"),
        ({"groups": {"trunk": {"learning_rate": -1}}}, "groups.trunk.learning_rate must be a number above 0"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"micro_batch": 0}, "micro_batch must be a whole number, 1 or more"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        Learning(**options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
