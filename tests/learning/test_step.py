"""One step as a weighting rule sees it, against plain autograd; and what the learner makes of a rule's answer."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.learner import Learner
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.splits import DevUse
from avil_ray.learning.step import Step
from avil_ray.learning.track import Track
from avil_ray.learning.weighting import Fixed, Rule

SEED, NUMBER = 3, 2
WEIGHTS = {"left": 1.0, "right": 0.5, "noise": 2.0}


@dataclass(frozen=True)
class Asks(Rule):
    """Looks at all that there is to see, and then answers with the assignment's weights."""

    per_example: bool = False

    def weigh(self, step: Step) -> Mapping[str, float | Tensor]:
        gradients = {task: step.gradient(task) for task in step.weights}
        _, dev = step.dev(step.theta)
        moved = step.theta - 0.1 * dev
        step.losses_at("right", moved)
        step.dev(moved, draw=1)
        step.memory["seen"] = np.append(step.memory.get("seen", []), step.number)
        assert all(bool(gradient.any()) for gradient in gradients.values())
        if self.per_example:
            return {task: torch.full((8,), weight) for task, weight in step.weights.items()}
        return step.weights

    def passes(self, tasks: int) -> float:
        return 3.0


def assignment(rule: Rule, steps: int = 3, **changes: object) -> Assignment:
    options = {"learning": avil.Learning(batch_size=8, learning_rate=0.1), "dev": DevUse("hold"), "rule": rule}
    return Assignment(name="joint", weights=WEIGHTS, steps=steps, **{**options, **changes})


def at_start(suite: avil.Suite) -> Track:
    return Track(initial_model(suite, SEED).vector())


def trained(suite: avil.Suite, work: Assignment) -> Update:
    return Learner(suite, suite.draw(SEED), SEED).train(work, at_start(suite), NUMBER)


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("trunk", [small.plain, small.batch_norm, small.dropout])
def test_measuring_has_no_effect_on_training(trunk: object, per_example: bool) -> None:
    suite = small.small_suite(trunk)
    plain, measured = (trained(suite, assignment(rule)) for rule in (Fixed(), Asks(per_example)))
    np.testing.assert_allclose(measured.theta, plain.theta, rtol=1e-5, atol=1e-6)
    assert measured.losses == pytest.approx(plain.losses, rel=1e-5)
    assert measured.weights == plain.weights == WEIGHTS


def test_every_pass_over_a_batch_is_counted_as_predicted() -> None:
    suite = small.small_suite()
    for rule in (Fixed(), Asks()):
        assert trained(suite, assignment(rule)).gradient_steps == assignment(rule).gradient_steps
    assert assignment(Asks()).gradient_steps == 3 * (3 + 3)


def test_a_rules_memory_is_restored_and_continued() -> None:
    suite = small.small_suite()
    whole = trained(suite, assignment(Asks(), steps=4, continues=True))
    learner, work = Learner(suite, suite.draw(SEED), SEED), assignment(Asks(), steps=2, continues=True)
    first = learner.train(work, at_start(suite), NUMBER)
    track = pickle.loads(pickle.dumps(at_start(suite).advanced(first)))
    second = learner.train(work, track, NUMBER)
    assert second.memory["seen"].tolist() == whole.memory["seen"].tolist() == [0, 1, 2, 3]
    assert first.memory["seen"].tolist() == [0, 1], "what has come back is not changed later"
    assert second.theta.tobytes() == whole.theta.tobytes()


@dataclass(frozen=True)
class Reads(Rule):
    """Compares what it sees with plain autograd on the same examples."""

    def weigh(self, step: Step) -> Mapping[str, float | Tensor]:
        suite = small.small_suite()
        model = small.load(suite.model(), step.theta.numpy())
        theta, target = step.theta, suite.draw(SEED)["left"]
        pool = target.train.join(target.dev)
        _, rows = DevUse("hold").rows(len(target.train), len(target.dev), SEED, NUMBER)
        held = {tuple(pool.batch(rows[i : i + 1])[0].flatten().tolist()) for i in range(len(rows))}
        drawn = step._bench.dev_batch(step.number, 0).rows
        assert {tuple(x.tolist()) for x in pool.batch(drawn)[0]} <= held
        inputs, labels = pool.batch(drawn)
        loss = F.cross_entropy(model(inputs, "left"), labels)
        loss.backward()
        found, gradient = step.dev(theta)
        assert found == pytest.approx(loss.item(), rel=1e-6)
        torch.testing.assert_close(gradient, _gradient(model))
        shifted = theta + 0.01
        other = small.load(suite.model(), shifted.numpy())
        inputs, labels = suite.draw(SEED)["right"].train.batch(step.batch("right").rows)
        expected = F.cross_entropy(other(inputs, "right"), labels, reduction="none")
        torch.testing.assert_close(step.losses_at("right", shifted), expected.detach())
        return step.weights

    def passes(self, tasks: int) -> float:
        return 2.0


def _gradient(model: torch.nn.Module) -> Tensor:
    named = dict(model.named_parameters())
    order = [n for n in named if not n.startswith("heads.")] + [n for n in named if n.startswith("heads.")]
    return torch.cat(
        [torch.zeros_like(named[n]).flatten() if named[n].grad is None else named[n].grad.flatten() for n in order]
    )


def test_losses_and_gradients_are_those_of_plain_autograd_on_the_same_examples() -> None:
    assert trained(small.small_suite(), assignment(Reads(), steps=1)).gradient_steps == 5


@dataclass(frozen=True)
class LooksElsewhere(Rule):
    """Compares a weighted gradient at another theta with plain autograd on the same examples."""

    trunk: Callable[[], nn.Module] = small.plain

    def weigh(self, step: Step) -> Mapping[str, float | Tensor]:
        suite = small.small_suite(self.trunk)
        each = torch.tensor([0.0, 0.0, 0.0, 2.0, 0.5, 1.0, 1.0, 3.0])
        shifted = step.theta + 0.01
        found = step.gradient_at(shifted, {"left": each, "noise": 0.3})
        model = small.load(initial_model(suite, SEED).model, shifted.numpy()).eval()
        data = {task: suite.draw(SEED)[task].train.batch(step.batch(task).rows) for task in ("left", "noise")}
        losses = {task: F.cross_entropy(model(x, task), y, reduction="none") for task, (x, y) in data.items()}
        ((each * losses["left"]).mean() + 0.3 * losses["noise"].mean()).backward()
        torch.testing.assert_close(found[step.space.parameters], _gradient(model), rtol=1e-4, atol=1e-6)
        assert not found[step.space.buffers].any()
        return step.weights

    def passes(self, tasks: int) -> float:
        return 2.0


@pytest.mark.parametrize("trunk", [small.plain, small.batch_norm, small.dropout])
def test_a_weighted_gradient_at_another_theta_equals_plain_autograd_and_has_no_side_effects(trunk: object) -> None:
    suite = small.small_suite(trunk)
    plain, looked = (trained(suite, assignment(rule)) for rule in (Fixed(), LooksElsewhere(trunk)))
    assert looked.theta.tobytes() == plain.theta.tobytes()
    assert looked.gradient_steps == assignment(LooksElsewhere()).gradient_steps == 3 * (3 + 2)


@pytest.mark.parametrize(("trains", "still"), [("heads", "trunk"), ("trunk", "heads")])
def test_only_parameters_that_an_assignment_trains_change(trains: str, still: str) -> None:
    suite = small.small_suite()
    start = initial_model(suite, SEED)
    moved = trained(suite, assignment(Fixed(), trains=trains)).theta != start.vector()
    trunk, heads = moved[start.space.trunk], moved[start.space.trunk.stop : start.space.parameters.stop]
    parts = {"trunk": trunk, "heads": heads}
    assert parts[trains].any()
    assert not parts[still].any()


@dataclass(frozen=True)
class TurnsDown(Rule):
    """Gives one task no weight, having looked at its gradient or not."""

    looks: bool

    def weigh(self, step: Step) -> Mapping[str, float | Tensor]:
        if self.looks:
            step.gradient("noise")
        return {"left": 1.0, "right": 1.0, "noise": 0.0}

    def passes(self, tasks: int) -> float:
        return 0.0


@pytest.mark.parametrize("looks", [True, False])
def test_a_task_with_weight_0_contributes_nothing_even_if_its_loss_is_not_finite(looks: bool) -> None:
    suite = small.small_suite(regression=True)
    tasks = suite.draw(SEED)
    tasks["noise"].train.labels.fill_(float("nan"))
    update = Learner(suite, tasks, SEED).train(assignment(TurnsDown(looks)), at_start(suite), NUMBER)
    assert np.isfinite(update.theta).all()
    assert np.isnan(update.losses["noise"])
    assert update.gradient_steps == 9
