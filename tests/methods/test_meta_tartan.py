"""META-TARTAN against plain autograd: the dev head, the cosines, the logits, the step; and what it costs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.meta_tartan import MetaTartan
from avil_ray.methods.method import Method
from avil_ray.randomness import numpy_generator
from avil_ray.rounds import Round
from avil_ray.tasks.order import batches

SEED, STEPS = 1, 4


def rounds_of(suite: avil.Suite, method: Method, rounds: int = 3, steps: int = STEPS) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=steps, seed=SEED, on_round=done.append)
    return done


def work_of(suite: avil.Suite, method: Method) -> Assignment:
    (work,) = method.assign(small.new_run(suite, method, SEED, steps=STEPS), 0)
    return work


def dev_batch(target: avil.Task, size: int, step: int, draw: int) -> tuple[Tensor, Tensor]:
    order = numpy_generator(SEED, "dev batch", step, draw).permutation(len(target.dev))
    return target.dev.batch(torch.from_numpy(order[:size]))


def fitted_head(head: nn.Module, seen: Tensor, labels: Tensor, rate: float, most: int) -> int:
    """Fit the head in place to what the frozen trunk makes of a batch; the number of steps that it took."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.1)
    losses: list[float] = []
    while len(losses) < most and (len(losses) < 2 or abs(losses[-1] - losses[-2]) >= 1e-3):
        optimizer.zero_grad()
        loss = F.cross_entropy(head(seen), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return len(losses)


def by_hand(suite: avil.Suite, method: MetaTartan, steps: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Theta, the logits and the passes after so many steps, from the equations alone; dev is held."""
    model = small.load(suite.model(), initial_model(suite, SEED).vector())
    tasks, size = suite.draw(SEED), suite.learning.batch_size
    orders = {task: batches(torch.arange(len(each.train)), size, 0, steps, SEED, task) for task, each in tasks.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=suite.learning.learning_rate, momentum=0.9)
    body, logits, passes = list(model.trunk.parameters()), torch.zeros(3, dtype=torch.float64), 0
    for step in range(steps):
        losses = []
        for task, each in tasks.items():
            inputs, labels = each.train.batch(next(orders[task]))
            losses.append(F.cross_entropy(model(inputs, task), labels))
        head = copy.deepcopy(model.heads["left"]) if "left" in model.heads else nn.Identity()
        if "left" in model.heads:
            inputs, labels = dev_batch(tasks["left"], size, step, 0)
            passes += fitted_head(head, model.trunk(inputs).detach(), labels, method.head_rate, method.head_steps)
        inputs, labels = dev_batch(tasks["left"], size, step, 1)
        u = torch.autograd.grad(F.cross_entropy(head(model.trunk(inputs)), labels), body)
        weights = logits.softmax(0)
        for index, loss in enumerate(losses):
            gradient = torch.autograd.grad(loss, body, retain_graph=True)
            pairs = [(a.flatten().double(), b.flatten().double()) for a, b in zip(u, gradient, strict=True)]
            logits[index] += method.weight_rate * torch.cosine_similarity(*map(torch.cat, zip(*pairs, strict=True)), 0)
        optimizer.zero_grad()
        sum(float(weight) * loss for weight, loss in zip(weights, losses, strict=True)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), suite.learning.clip)
        optimizer.step()
        passes += 3 + 1
    return small.flat(model), logits.numpy(), passes


@pytest.mark.parametrize("own_heads", [True, False])
@pytest.mark.parametrize("head_rate", [1e-4, 0.1])
def test_every_step_is_that_of_the_equations(own_heads: bool, head_rate: float) -> None:
    suite = small.small_suite(own_heads=own_heads)
    method = MetaTartan(dev="hold", weight_rate=1.0, head_rate=head_rate)
    done = rounds_of(suite, method)
    theta, logits, passes = by_hand(suite, method, 3 * STEPS)
    np.testing.assert_allclose(done[-1].run.main.memory["logits"], logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(done[-1].theta, theta, rtol=1e-3, atol=1e-5)
    assert sum(each.row["cost/gradient_steps"] for each in done) == passes
    foretold = 3 * work_of(suite, method).gradient_steps
    assert foretold == 3 * STEPS * (3 + 1 + 10)
    fits_in_full = own_heads and head_rate == 0.1
    assert (passes == foretold) is fits_in_full
    assert passes <= foretold


def test_a_dev_head_of_one_step_costs_as_predicted() -> None:
    suite, method = small.small_suite(), MetaTartan(head_steps=1)
    work = work_of(suite, method)
    assert {each.row["cost/gradient_steps"] for each in rounds_of(suite, method)} == {work.gradient_steps}
    assert work.gradient_steps == STEPS * (3 + 1 + 1)
    assert work.dev.kind == "crossfit"


def test_the_first_step_has_equal_weights_that_sum_to_one() -> None:
    done = rounds_of(small.small_suite(), MetaTartan(weight_rate=2.0), 4, steps=1)
    weights = [[each.row[f"weight/{task}"] for task in small.TASKS] for each in done]
    assert weights[0] == pytest.approx([1 / 3] * 3)
    assert [sum(each) for each in weights] == pytest.approx([1.0] * 4)
    assert max(weights[-1]) > 0.5


def test_the_length_of_a_round_changes_nothing_if_dev_is_held() -> None:
    suite, method = small.small_suite(small.dropout), MetaTartan(dev="hold")
    (whole,), parts = (rounds_of(small.small_suite(), method, 1, 12), rounds_of(small.small_suite(), method, 6, 2))
    assert parts[-1].theta.tobytes() == whole.theta.tobytes()
    assert parts[-1].run.main.memory["logits"].tobytes() == whole.run.main.memory["logits"].tobytes()
    assert [each.theta.tobytes() for each in rounds_of(suite, method)] == [
        each.theta.tobytes() for each in rounds_of(suite, method)
    ]


def test_an_auxiliary_that_opposes_the_target_loses_its_weight() -> None:
    suite = avil.suites.synthetic(head="shared", helpful=1, neutral=0, harmful=1, noise=0)
    last = rounds_of(suite, MetaTartan(), 10, 20)[-1].row
    assert last["weight/harmful_1"] < 0.1
    assert last["weight/target"] > last["weight/helpful_1"] > 2 * last["weight/harmful_1"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight_rate": 0.0}, "weight_rate must be above 0, not 0.0"),
        ({"head_rate": float("nan")}, "head_rate must be a finite number, not nan"),
        ({"head_rate": float("inf")}, "head_rate must be a finite number, not inf"),
        ({"head_steps": 0}, "head_steps must be at least 1, not 0"),
        ({"dev": "train"}, "unknown dev 'train'; available: crossfit, hold"),
    ],
)
def test_wrong_options_are_rejected(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        MetaTartan(**options)
    assert str(caught.value) == said
