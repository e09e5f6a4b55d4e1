"""ARML against autograd through the distance, and against the closed form that it descends to."""

from __future__ import annotations

import numpy as np
import pytest
import small
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.arml import ARML
from avil_ray.rounds import Round

SEED, STEPS = 1, 9
AUXILIARIES = ("right", "noise")


@pytest.mark.parametrize("interval", [1, 2])
def test_weights_step_down_the_distance_that_autograd_differentiates(interval: int) -> None:
    suite = small.small_suite()
    start = initial_model(suite, SEED)
    alpha = torch.ones(2, dtype=torch.float64)

    def weigh(seen: small.Seen) -> dict[str, float]:
        nonlocal alpha
        own, *others = (seen.gradient(task)[start.space.trunk].double() for task in ("left", *AUXILIARIES))
        if seen.number % interval == 0:
            free = alpha.clone().requires_grad_()
            size = torch.stack([own, *others]).square().sum(1).mean()
            (slope,) = torch.autograd.grad((own - free @ torch.stack(others)).square().sum() / size, free)
            alpha = alpha - 0.3 * slope
            alpha = (alpha + (2 - alpha.sum()) / 2).clamp(min=0)
        return {"left": 1.0, **dict(zip(AUXILIARIES, alpha.tolist(), strict=True))}

    theta, used = small.joint_by_hand(suite, SEED, start.vector(), STEPS, weigh)
    done: list[Round] = []
    method = ARML(weight_rate=0.3, interval=interval)
    avil.train(suite, method, rounds=3, steps_per_round=3, seed=SEED, on_round=done.append)
    np.testing.assert_allclose(done[-1].theta, theta, rtol=1e-3, atol=1e-5)
    for task in small.TASKS:
        last = np.mean([each[task] for each in used[-3:]])
        assert done[-1].row[f"weight/{task}"] == pytest.approx(last, abs=1e-4)
    assert max(abs(each["right"] - 1) for each in used) > 0.05, "the test must see weights move"


def test_the_weights_sum_to_the_number_of_auxiliaries_until_one_is_clipped_at_0() -> None:
    history = avil.train(small.small_suite(), ARML(), rounds=4, steps_per_round=5).history
    np.testing.assert_allclose(history["weight/right"] + history["weight/noise"], 2, rtol=1e-6)
    assert (history["weight/left"] == 1).all()
    wild = avil.train(small.small_suite(), ARML(weight_rate=30.0), rounds=4, steps_per_round=5).history
    assert wild[["weight/right", "weight/noise"]].to_numpy().min() >= 0


class Linear(nn.Module):
    """Its output is the inputs' product with theta, which starts at 0: the gradient of (output - 1)^2 is -2 x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        return inputs @ self.weight


def still_weights(*auxiliaries: tuple[float, float]) -> list[float]:
    """The auxiliaries' last weights where theta stands still and every task has one input x; the target's is (1, 0)."""

    def tasks(seed: int) -> list[avil.Task]:
        kind = {"loss": "mean_squared_error", "metric": "mean_squared_error"}

        def examples(x: tuple[float, float], count: int) -> avil.Examples:
            return avil.Examples(torch.tensor([x] * count), torch.ones(count))

        splits = [examples((1.0, 0.0), count) for count in (4, 5, 6, 7)]
        named = zip(AUXILIARIES, auxiliaries, strict=True)
        return [avil.Task("left", *splits, **kind), *(avil.Task(name, examples(x, 4), **kind) for name, x in named)]

    suite = avil.Suite(name="still", target="left", task_names=small.TASKS, tasks=tasks, model=Linear)
    history = avil.train(suite, ARML(learning_rate=1e-9), rounds=10, steps_per_round=20).history
    return [float(history[f"weight/{task}"].iloc[-1]) for task in AUXILIARIES]


def test_the_weights_converge_to_the_least_distance_for_their_sum() -> None:
    target, right, noise = np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([-1.0, 0.2])
    rest, along = target - 2 * noise, right - noise  # the sum is 2, so noise has what right leaves
    share = rest @ along / (along @ along)
    assert 1.1 < share < 1.9, "the test must see the weights part, and none at its bound"
    assert still_weights((1.0, 1.0), (-1.0, 0.2)) == pytest.approx([share, 2 - share], abs=1e-4)


def test_the_weight_of_an_auxiliary_that_opposes_the_target_is_clipped_at_0() -> None:
    helpful, opposed = still_weights((0.25, 0.0), (-1.0, 0.0))
    assert opposed == 0
    assert helpful >= 2


def test_without_auxiliaries_the_target_trains_alone() -> None:
    suite = small.constant_suite()
    assert avil.train(suite, ARML(), rounds=1, steps_per_round=2).history["weight/goal"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight_rate": -1.0}, "weight_rate must be above 0, not -1.0"),
        ({"interval": 0}, "interval must be at least 1, not 0"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        ARML(**options)
    assert str(caught.value) == said
