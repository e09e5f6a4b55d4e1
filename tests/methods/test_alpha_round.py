"""A round of alphaVIL against rounds by hand: alpha through autograd, local training as an ordinary loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.optimize
import small
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

import avil_ray as avil
from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.splits import DevUse
from avil_ray.methods.alpha_round import moved_weights
from avil_ray.methods.alpha_vil import Found
from avil_ray.methods.method import Facts
from avil_ray.pools.inline import InlinePool
from avil_ray.rounds import Round
from avil_ray.tasks.order import batches

SEED, STEPS, ROUNDS = 2, 4, 3
TASKS = small.TASKS
PAPER = avil.AlphaVIL(variant="paper")
ROBUST = avil.AlphaVIL(finish="none")


def rounds_of(suite: avil.Suite, method: avil.AlphaVIL, rounds: int = ROUNDS) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    return done


@dataclass
class ByHand:
    """One suite with its data, and the two halves of a round."""

    suite: avil.Suite

    def __post_init__(self) -> None:
        self.tasks, self.learning = self.suite.draw(SEED), self.suite.learning
        self.pool = self.tasks["left"].train.join(self.tasks["left"].dev)
        self.theta = initial_model(self.suite, SEED).vector()

    def train(self, task: str, weight: float, order: object) -> Tensor:
        """The task's delta from theta: K fresh SGD steps on its weighted loss."""
        model = small.load(self.suite.model(), self.theta)
        examples = self.pool if task == "left" else self.tasks[task].train
        sgd = torch.optim.SGD(model.parameters(), self.learning.learning_rate, momentum=self.learning.momentum)
        for rows in order:
            sgd.zero_grad()
            (weight * F.cross_entropy(model(examples.inputs[rows], task), examples.labels[rows])).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.learning.clip)
            sgd.step()
        return torch.from_numpy(small.flat(model) - self.theta)

    def batches(self, rows: Tensor, first: int, *purpose: str) -> object:
        return batches(rows, self.learning.batch_size, first, STEPS, SEED, *purpose)

    def dev_loss(self, theta: Tensor, rows: Tensor) -> Tensor:
        """The target's loss as a function of theta that autograd follows."""
        model, values, named = self.suite.model().eval(), theta, {}
        parameters = dict(model.named_parameters())
        for name in sorted(parameters, key=lambda name: name.startswith("heads.")):
            named[name] = values[: parameters[name].numel()].view_as(parameters[name])
            values = values[parameters[name].numel() :]
        outputs = functional_call(model, named, (self.pool.inputs[rows], "left"))
        return F.cross_entropy(outputs, self.pool.labels[rows])


def columns(done: Round, prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in done.row.items() if name.startswith(prefix)}


def test_paper_is_exactly_the_published_form() -> None:
    suite = small.small_suite()
    hand = ByHand(suite)
    weights = dict.fromkeys(TASKS, 1.0)
    dev = torch.arange(40, 60)
    for number, done in enumerate(rounds_of(suite, PAPER)):
        assert columns(done, "weight/") == pytest.approx(weights, rel=1e-4)
        deltas = []
        for task in TASKS:
            rows = torch.arange(40 if task == "left" else 50)
            deltas.append(hand.train(task, weights[task], hand.batches(rows, number * STEPS, task)))
        alpha = torch.ones(3, requires_grad=True)
        sgd = torch.optim.SGD([alpha], lr=0.005, momentum=0.5)
        theta = torch.from_numpy(hand.theta)
        for _ in range(10):
            sgd.zero_grad()
            hand.dev_loss(theta + alpha @ torch.stack(deltas), dev).backward()
            sgd.step()
        hand.theta = (theta + alpha @ torch.stack(deltas)).detach().numpy()
        weights = {task: w + a - 1 for (task, w), a in zip(weights.items(), alpha.tolist(), strict=True)}
        np.testing.assert_allclose(done.theta, hand.theta, rtol=1e-4, atol=1e-5)
        assert list(columns(done, "alpha/").values()) == pytest.approx(alpha.tolist(), rel=1e-5)
    assert any(abs(weight - 1) > 0.001 for weight in weights.values()), "or nothing was compared"


@pytest.mark.parametrize("own_heads", [True, False])
def test_robust_is_its_recipe(own_heads: bool) -> None:
    suite = small.small_suite(own_heads=own_heads)
    hand, space = ByHand(suite), initial_model(suite, SEED).space
    weights = torch.ones(3, dtype=torch.float64)
    seen_bounds = set()
    for number, done in enumerate(rounds_of(suite, ROBUST, 6)):
        assert list(columns(done, "weight/").values()) == pytest.approx(weights.tolist(), rel=1e-3)
        training, adapting = DevUse("crossfit", 0.7).rows(40, 20, SEED, number)
        deltas, base = [], torch.from_numpy(hand.theta.copy())
        for task, weight in zip(TASKS, weights.tolist(), strict=True):
            if task == "left":
                order = hand.batches(training, 0, f"left in round {number}")
            else:
                order = hand.batches(torch.arange(50), number * STEPS, task)
            deltas.append(hand.train(task, weight, order))
            if task != "left":
                head = space.head(task)
                base[head] += deltas[-1][head]
                deltas[-1][head] = 0
        b = torch.ones(3, requires_grad=True)
        adam = torch.optim.Adam([b], lr=0.4, betas=(0.9, 0.99), eps=1e-12)
        tried = {}
        for _ in range(11):
            adam.zero_grad()
            loss = hand.dev_loss(base + (b / 3) @ torch.stack(deltas), adapting)
            loss.backward()
            tried[loss.item()] = b.detach().clone()
            adam.step()
            with torch.no_grad():
                b.clamp_(0, 4)
        before = hand.dev_loss(base, adapting).item()
        assert min(tried) < before, "turning down a step has a test of its own"
        best = tried[min(tried)]
        assert list(columns(done, "alpha/").values()) == pytest.approx((best / 3).tolist(), rel=2e-3, abs=1e-4)
        assert (done.row["dev/loss"], done.row["dev/loss_zero"]) == pytest.approx((min(tried), before), rel=1e-3)
        assert done.row["evaluations"] == 12
        hand.theta = (base + (best / 3) @ torch.stack(deltas)).detach().numpy()
        np.testing.assert_allclose(done.theta, hand.theta, rtol=1e-2, atol=1e-3)
        hand.theta = done.theta  # so that rounding does not add up over the rounds
        weights = (weights + 0.5 * (best.double() - 1)).clamp(0.05, 4)
        weights = (weights * 3 / weights.sum()).clamp(0.05, 4)
        seen_bounds |= {round(value, 3) for value in best.tolist()} & {0.0, 4.0}
    assert seen_bounds, "the box was felt"


def combined(
    method: avil.AlphaVIL, suite: avil.Suite, ends: Mapping[str, np.ndarray], weights: dict[str, float] | None = None
) -> tuple[np.ndarray, Found, Facts]:
    """One round of `method` on thetas made up: where each task's training ended, away from theta."""
    run = small.new_run(suite, method, SEED, steps=STEPS)
    run = replace(run, memory=replace(run.memory, weights=weights or run.memory.weights))
    theta = run.main.theta
    updates = [
        Update(assignment=task, theta=np.float32(theta + ends[task]), losses={task: 1.0}, steps=STEPS) for task in TASKS
    ]
    after, facts = method.combine(run, updates, Target(suite, run.setting.tasks, SEED), 0)
    assert (after.main.steps, after.main.optimizer) == (STEPS, {})
    return after.main.theta, after.memory, facts


def steps_of(suite: avil.Suite, scale: float = 0.1) -> dict[str, np.ndarray]:
    """A step along the target's own gradient, and two at random."""
    target = Target(suite, suite.draw(SEED), SEED)
    _, gradient = target.objective(DevUse("train"), 0)(target.flat.values)
    generator = np.random.default_rng(0)
    noise = {task: scale * generator.standard_normal(target.space.size) for task in TASKS[1:]}
    ends = {"left": -scale * gradient.numpy(), **noise}
    for end in ends.values():
        end[target.space.buffers] = 0
    return ends


@pytest.mark.parametrize("method", [PAPER, ROBUST])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task", ["noise", "left"])
def test_an_update_that_is_not_finite_is_dropped_counted_and_logged(
    method: avil.AlphaVIL, value: float, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    suite = small.small_suite()
    ends = steps_of(suite)
    without = combined(method, suite, {**ends, task: 0 * ends[task]})
    assert not caplog.text
    ends[task][3] = value
    theta, memory, facts = combined(method, suite, ends)
    assert facts["dropped"] == 1
    assert without[2]["dropped"] == 0
    assert f"the update of task '{task}' is not finite" in caplog.text
    assert theta.tobytes() == without[0].tobytes(), "as if that task had not moved"
    assert memory.weights == without[1].weights
    assert np.isfinite(theta).all()
    assert all(math.isfinite(value) for value in facts.values())


@pytest.mark.parametrize("heads", ["full", "scaled"])
def test_auxiliary_heads_move_in_full_or_with_alpha_and_the_targets_head_with_alpha(heads: str) -> None:
    suite = small.small_suite()
    ends, space = steps_of(suite), initial_model(suite, SEED).space
    start = initial_model(suite, SEED).vector()
    theta, _, facts = combined(replace(ROBUST, auxiliary_heads=heads), suite, ends)
    for task in TASKS:
        share = 1.0 if heads == "full" and task != "left" else facts[f"alpha/{task}"]
        expected = start[space.head(task)] + share * ends[task][space.head(task)]
        np.testing.assert_allclose(theta[space.head(task)], expected, rtol=1e-5, atol=1e-6)
    expected = start[space.trunk] + sum(facts[f"alpha/{task}"] * ends[task][space.trunk] for task in TASKS)
    np.testing.assert_allclose(theta[space.trunk], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", [PAPER, ROBUST])
def test_batch_norm_statistics_are_those_of_the_targets_own_training(method: avil.AlphaVIL) -> None:
    suite = small.small_suite(small.batch_norm)
    ends, space = steps_of(suite), initial_model(suite, SEED).space
    start = initial_model(suite, SEED).vector()
    for end, change in zip(ends.values(), (0.25, 7.0, np.nan), strict=True):
        end[space.buffers] = change
    ends["noise"][space.buffers] = -7.0
    theta, _, facts = combined(method, suite, ends)
    np.testing.assert_allclose(theta[space.buffers], start[space.buffers] + 0.25, rtol=1e-6)
    for task in TASKS:
        norm = np.linalg.norm(ends[task][space.parameters])
        assert facts[f"delta_norm/{task}"] == pytest.approx(norm, rel=1e-4), "statistics are no parameters"


def test_a_run_with_batch_norm_counts_the_targets_batches() -> None:
    done = rounds_of(small.small_suite(small.batch_norm), ROBUST, 2)
    assert done[-1].theta[-1] == 2 * STEPS


def test_a_round_reports_norms_cosines_and_losses_without_each_task() -> None:
    suite = small.small_suite()
    ends, hand = steps_of(suite), ByHand(suite)
    ends["right"] = 2 * ends["left"]
    ends["noise"] = -ends["left"] + 0 * ends["noise"]
    _, _, facts = combined(replace(ROBUST, auxiliary_heads="scaled", dev="hold"), suite, ends)
    norm = np.linalg.norm(ends["left"])
    assert [facts[f"delta_norm/{task}"] for task in TASKS] == pytest.approx([norm, 2 * norm, norm], rel=1e-4)
    assert [facts[f"cosine/{task}"] for task in TASKS] == pytest.approx([1, 1, -1], rel=1e-5)
    theta, deltas = torch.from_numpy(hand.theta), torch.tensor(np.stack([ends[task] for task in TASKS])).float()
    alpha = torch.tensor([facts[f"alpha/{task}"] for task in TASKS]).float()
    rows = torch.arange(40, 60)
    fitted = hand.dev_loss(theta + alpha @ deltas, rows).item()
    assert facts["dev/loss"] == pytest.approx(fitted, rel=1e-5)
    assert facts["dev/loss_zero"] == pytest.approx(hand.dev_loss(theta, rows).item(), rel=1e-5)
    assert facts["dev/loss_start"] == pytest.approx(hand.dev_loss(theta + deltas.mean(0), rows).item(), rel=1e-5)
    for row, task in enumerate(TASKS):
        without = alpha.clone()
        without[row] = 0
        higher = hand.dev_loss(theta + without @ deltas, rows).item() - fitted
        assert facts[f"dev/loss_rise_without/{task}"] == pytest.approx(higher, abs=2e-6)
    assert facts["dev/loss_rise_without/right"] > 1e-4


def test_a_step_that_does_not_lower_the_dev_loss_is_rejected_and_updates_no_weight() -> None:
    suite = small.small_suite()
    uphill = {task: -1000 * end for task, end in steps_of(suite).items()}
    uphill["right"] = uphill["noise"] = uphill["left"]
    method = replace(ROBUST, auxiliary_heads="scaled", alpha_bounds=(0.5, 4.0))
    weights = {"left": 1.8, "right": 0.9, "noise": 0.3}
    theta, memory, facts = combined(method, suite, uphill, weights)
    assert facts["accepted"] == 0
    assert [facts[f"alpha/{task}"] for task in TASKS] == [0, 0, 0]
    assert theta.tobytes() == initial_model(suite, SEED).vector().tobytes()
    assert memory.weights == weights
    assert facts["dev/loss"] == facts["dev/loss_zero"]
    reckless, _, told = combined(replace(method, safeguard=False), suite, uphill)
    assert told["accepted"] == 1
    assert not np.array_equal(reckless, theta)


def test_weights_that_all_fall_to_zero_do_no_harm() -> None:
    recipe = replace(ROBUST, weight_bounds=(0.0, 4.0)).recipe
    weights = dict.fromkeys(TASKS, 0.2)
    assert moved_weights(recipe, weights, torch.zeros(3, dtype=torch.float64)) == dict.fromkeys(TASKS, 0.0)


@pytest.mark.parametrize("granularity", ["task", "layer"])
def test_alpha_for_each_layer_is_fitted_as_by_scipy_on_the_same_deltas(granularity: str) -> None:
    """One round by hand: theta + sum alpha_il delta_il, alpha at the minimum of the dev loss inside the bounds."""
    suite = small.small_suite()
    method = replace(
        ROBUST, granularity=granularity, alpha_optimizer="lbfgs", alpha_steps=200, auxiliary_heads="scaled"
    )
    first = rounds_of(suite, method, 1)[0]
    run = small.new_run(suite, method, SEED, rounds=1, steps=STEPS)
    start, target = run.main.theta, Target(suite, run.setting.tasks, SEED)
    updates = InlinePool(suite, run.setting.tasks, SEED).run(method.assign(run, 0), run.tracks, 0)
    deltas = np.stack([update.delta(start) for update in updates])
    layers = list(target.space.layers.values()) if granularity == "layer" else [slice(None)]
    rows = np.zeros((len(deltas), len(layers), len(start)))
    for index, layer in enumerate(layers):
        rows[:, index, layer] = deltas[:, layer]
    rows = rows.reshape(-1, len(start))
    objective = target.objective(method.recipe.dev_use, 0)

    def loss(alpha: np.ndarray) -> tuple[float, np.ndarray]:
        found, gradient = objective(torch.from_numpy((start + alpha @ rows).astype(np.float32)))
        return found, rows.astype(np.float64) @ gradient.double().numpy()

    bounds = [(0, 4 / 3)] * len(rows)
    best = scipy.optimize.minimize(loss, np.full(len(rows), 1 / 3), jac=True, bounds=bounds, method="L-BFGS-B")
    assert first.row["dev/loss"] == pytest.approx(best.fun, abs=2e-4)
    assert first.row["dev/loss"] == pytest.approx(loss_at(target, method, first), abs=1e-5)


def loss_at(target: Target, method: avil.AlphaVIL, done: Round) -> float:
    return target.objective(method.recipe.dev_use, 0)(torch.from_numpy(done.theta.copy()))[0]


def test_the_cost_counts_every_pass_over_dev_in_steps() -> None:
    """Twelve evaluations and one for each task with a part in the step, on 18 examples, at 8 examples a step."""
    for done in rounds_of(small.small_suite(), ROBUST):
        passes = done.row["evaluations"] + sum(value != 0 for value in columns(done, "alpha/").values())
        assert done.row["cost/gradient_steps"] == 3 * STEPS + math.ceil(passes * 18 / 8)
