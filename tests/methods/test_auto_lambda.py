"""Auto-Lambda against second-order autograd through the look-ahead step."""

from __future__ import annotations

import numpy as np
import pytest
import small
import torch

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.learner import Learner
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.splits import DevUse
from avil_ray.learning.step import Step
from avil_ray.learning.track import Track
from avil_ray.methods.auto_lambda import AutoLambda, LookAhead
from avil_ray.randomness import numpy_generator
from avil_ray.rounds import Round

SEED, STEPS, RATE = 1, 6, 0.05


def dev_batch(suite: avil.Suite, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The examples that the learner's step measures on: a random part of dev, from the run's seed."""
    target = suite.draw(SEED)["left"]
    order = numpy_generator(SEED, "dev batch", step, 0).permutation(len(target.dev))
    return target.dev.batch(torch.from_numpy(order[: suite.learning.batch_size]))


def test_lambda_follows_the_gradient_through_the_look_ahead() -> None:
    suite = small.small_suite()
    start = initial_model(suite, SEED)
    values = torch.ones(3, dtype=torch.float64)
    adam = torch.optim.Adam([values], lr=RATE)

    def weigh(seen: small.Seen) -> dict[str, float]:
        free = values.clone().requires_grad_()
        gradients = torch.stack([seen.gradient(task).double() for task in small.TASKS])
        ahead = seen.theta.double() - suite.learning.learning_rate * free @ gradients
        loss = seen.losses("left", ahead.float(), dev_batch(suite, seen.number)).mean()
        (values.grad,) = torch.autograd.grad(loss, free)
        adam.step()
        return dict(zip(small.TASKS, values.tolist(), strict=True))

    theta, used = small.joint_by_hand(suite, SEED, start.vector(), STEPS, weigh, hold=True)
    done: list[Round] = []
    method = AutoLambda(dev="hold", weight_rate=RATE)
    avil.train(suite, method, rounds=2, steps_per_round=STEPS // 2, seed=SEED, on_round=done.append)
    for task in small.TASKS:
        last = np.mean([each[task] for each in used[-STEPS // 2 :]])
        assert done[-1].row[f"weight/{task}"] == pytest.approx(last, abs=2e-3)
        assert abs(last - 1) > 0.02, "the test must see lambda move"
    np.testing.assert_allclose(done[-1].theta, theta, rtol=1e-2, atol=2e-4)


class Compared(LookAhead):
    """Compares each slope with the product of the two gradients that it stands for."""

    def _slopes(self, step: Step, weights: dict[str, float]) -> torch.Tensor:
        found = super()._slopes(step, weights)
        moved = sum(weight * step.gradient(task) for task, weight in weights.items())
        _, direction = step.dev(step.theta - self.learning_rate * moved)
        expected = [float(direction.double() @ step.gradient(task).double()) for task in weights]
        torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-2, atol=1e-3)
        return found


def test_a_slope_is_the_product_of_the_tasks_gradient_and_the_look_aheads() -> None:
    suite = small.small_suite()
    work = Assignment(
        name="joint",
        weights=dict.fromkeys(small.TASKS, 1.0),
        steps=STEPS,
        learning=suite.learning,
        rule=Compared(suite.learning.learning_rate, RATE),
        dev=DevUse("hold"),
    )
    update = Learner(suite, suite.draw(SEED), SEED).train(work, Track(initial_model(suite, SEED).vector()), 0)
    assert update.gradient_steps == work.gradient_steps + STEPS, "the comparison looks at dev once more"


def test_an_opposed_task_loses_its_weight_and_the_targets_own_gains() -> None:
    history = avil.train(small.opposed_suite(), AutoLambda(weight_rate=0.1), rounds=10, steps_per_round=5).history
    assert history["weight/noise"].min() == 0, "at the bound, not below"
    assert history["weight/right"].max() > 1.5


def test_the_cost_is_as_predicted_and_no_lambda_falls_below_0() -> None:
    suite = small.small_suite()
    rule = LookAhead(0.1, 0.5)
    work = Assignment(
        name="joint",
        weights=dict.fromkeys(small.TASKS, 1.0),
        steps=8,
        learning=suite.learning,
        rule=rule,
        dev=DevUse("hold"),
        continues=True,
    )
    update = Learner(suite, suite.draw(SEED), SEED).train(work, Track(initial_model(suite, SEED).vector()), 0)
    assert update.gradient_steps == work.gradient_steps == 8 * (3 + 2 * 3 + 1)
    assert update.memory["lambda"].min() >= 0


def test_it_adapts_to_examples_that_it_does_not_train_on_in_that_round() -> None:
    assert AutoLambda().dev_use == DevUse("crossfit")
    assert AutoLambda(dev="hold").dev_use == DevUse("hold")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight_rate": 0.0}, "weight_rate must be above 0, not 0.0"),
        ({"dev": "train"}, "unknown dev 'train'; available: crossfit, hold"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        AutoLambda(**options)
    assert str(caught.value) == said
