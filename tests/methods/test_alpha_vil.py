"""alphaVIL against runs written out by hand: alpha through autograd, local training as an ordinary loop."""

from __future__ import annotations

import itertools
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
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.splits import DevUse
from avil_ray.methods.method import Setting
from avil_ray.methods.race import task_sets
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


def test_paper_is_the_published_form_to_the_letter() -> None:
    suite = small.small_suite()
    hand = ByHand(suite)
    weights = dict.fromkeys(TASKS, 1.0)
    dev = torch.arange(40, 60)
    for number, done in enumerate(rounds_of(suite, PAPER)):
        assert columns(done, "weight/") == pytest.approx(weights, rel=1e-4)
        deltas = []
        for task in TASKS:
            rows = torch.arange(40 if task == "left" else 50)
            deltas.append(hand.train(task, weights[task], hand.batches(rows, number * STEPS, task, task)))
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
                order = hand.batches(training, 0, "left", f"left in round {number}")
            else:
                order = hand.batches(torch.arange(50), number * STEPS, task, task)
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
    method: avil.AlphaVIL, suite: avil.Suite, ends: Mapping[str, np.ndarray], weights: Mapping[str, float] | None = None
) -> tuple[np.ndarray, Mapping[str, object], Mapping[str, float]]:
    """One round of `method` on thetas made up: where each task's training ended, away from theta."""
    target = Target(suite, suite.draw(SEED), SEED)
    theta = target.flat.vector()
    updates = [
        Update(assignment=task, theta=np.float32(theta + ends[task]), losses={task: 1.0}, gradient_steps=1, seconds=0.0)
        for task in TASKS
    ]
    state = method.start(Setting(suite, STEPS, suite.draw(SEED)))
    return method.combine({**state, "weights": weights or state["weights"]}, theta, updates, target, 0)


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
def test_an_update_that_is_not_finite_is_dropped_counted_and_said(
    method: avil.AlphaVIL, value: float, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    suite = small.small_suite()
    ends = steps_of(suite)
    without = combined(method, suite, {**ends, task: 0 * ends[task]})
    assert not caplog.text
    ends[task][3] = value
    theta, state, facts = combined(method, suite, ends)
    assert facts["dropped"] == 1
    assert without[2]["dropped"] == 0
    assert f"the update of task '{task}' is not finite" in caplog.text
    assert theta.tobytes() == without[0].tobytes(), "as if that task had not moved"
    assert state == without[1]
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
def test_batch_norm_statistics_are_as_the_targets_own_training_left_them(method: avil.AlphaVIL) -> None:
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


def test_a_round_tells_norms_cosines_and_losses_without_each_task() -> None:
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
        assert facts[f"without/{task}"] == pytest.approx(higher, abs=2e-6)
    assert facts["without/right"] > 1e-4


def test_a_step_that_does_not_lower_the_dev_loss_is_turned_down_and_teaches_no_weight() -> None:
    suite = small.small_suite()
    uphill = {task: -1000 * end for task, end in steps_of(suite).items()}
    uphill["right"] = uphill["noise"] = uphill["left"]
    method = replace(ROBUST, auxiliary_heads="scaled", alpha_bounds=(0.5, 4.0))
    weights = {"left": 1.8, "right": 0.9, "noise": 0.3}
    theta, state, facts = combined(method, suite, uphill, weights)
    assert facts["accepted"] == 0
    assert [facts[f"alpha/{task}"] for task in TASKS] == [0, 0, 0]
    assert theta.tobytes() == initial_model(suite, SEED).vector().tobytes()
    assert state["weights"] == weights
    assert facts["dev/loss"] == facts["dev/loss_zero"]
    reckless, _, told = combined(replace(method, safeguard=False), suite, uphill)
    assert told["accepted"] == 1
    assert not np.array_equal(reckless, theta)


def test_weights_stay_where_they_are_not_learned() -> None:
    for done in rounds_of(small.small_suite(), replace(ROBUST, learn_weights=False)):
        assert columns(done, "weight/") == dict.fromkeys(TASKS, 1.0)


@pytest.mark.parametrize("bounds", [(0.05, 4.0), (0.0, 1.2), (0.9, 1.0), (-math.inf, math.inf)])
def test_robust_weights_stay_inside_their_bounds_and_sum_to_n_where_they_can(bounds: tuple[float, float]) -> None:
    for done in rounds_of(small.small_suite(), replace(ROBUST, weight_bounds=bounds), 6):
        weights = np.array(list(columns(done, "weight/").values()))
        assert np.isfinite(weights).all()
        assert ((bounds[0] <= weights) & (weights <= bounds[1])).all()
        if bounds == (0.05, 4.0):
            assert weights.sum() == pytest.approx(3, abs=0.2)


def test_weights_that_all_fall_to_nothing_do_no_harm() -> None:
    method = replace(ROBUST, weight_bounds=(0.0, 4.0))
    weights = dict.fromkeys(TASKS, 0.2)
    assert method._moved_weights(weights, torch.zeros(3, dtype=torch.float64)) == dict.fromkeys(TASKS, 0.0)


@pytest.mark.parametrize("bounds", [(0.0, 4.0), (0.0, 0.1), (-2.0, 2.0), (1.0, 1.0)])
def test_alpha_stays_inside_its_bounds_in_units_of_its_neutral_value(bounds: tuple[float, float]) -> None:
    for method, unit in ((ROBUST, 1 / 3), (PAPER, 1.0)):
        for done in rounds_of(small.small_suite(), replace(method, alpha_bounds=bounds, safeguard=False)):
            alpha = np.array(list(columns(done, "alpha/").values()))
            assert ((bounds[0] * unit - 1e-12 <= alpha) & (alpha <= bounds[1] * unit + 1e-12)).all()


OPTIONS = {
    "dev": "hold",
    "crossfit_fraction": 0.5,
    "alpha_optimizer": "lbfgs",
    "alpha_steps": 3,
    "alpha_bounds": (0.0, 1.0),
    "learn_weights": False,
    "weight_bounds": (0.95, 1.05),
    "auxiliary_heads": "scaled",
    "safeguard": False,
    "finish": "fine-tune",
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("variant", ["robust", "paper"])
def test_an_option_overrides_the_variant_and_leaves_the_rest_of_it(option: str, variant: str) -> None:
    plain = avil.AlphaVIL(variant=variant).recipe
    changed = avil.AlphaVIL(variant=variant, **{option: OPTIONS[option]}).recipe
    assert getattr(changed, option) == OPTIONS[option]
    assert replace(changed, **{option: getattr(plain, option)}) == plain


def test_every_option_is_in_force_in_a_run() -> None:
    """Each option on its own makes another run than the recipe, so none is a name without a meaning."""
    suite = small.small_suite()
    plain = rounds_of(suite, avil.AlphaVIL(finish="none", safeguard=False, alpha_steps=2))[-1].theta.tobytes()
    for option, value in OPTIONS.items():
        if option == "safeguard":
            continue  # tested above: it only acts where steps are turned down
        given = {"finish": "none", "safeguard": False, "alpha_steps": 2, option: value}
        assert rounds_of(suite, avil.AlphaVIL(**given))[-1].theta.tobytes() != plain, option


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variant": "letter"}, "unknown variant 'letter'; there are: paper, robust"),
        ({"dev": "train"}, "unknown dev 'train'; there are: crossfit, hold"),
        ({"crossfit_fraction": 1.0}, "crossfit_fraction must lie between 0 and 1, not 1.0"),
        ({"crossfit_fraction": 0.0}, "crossfit_fraction must lie between 0 and 1, not 0.0"),
        ({"alpha_optimizer": "adma"}, "unknown alpha_optimizer 'adma'; did you mean 'adam'?"),
        ({"alpha_steps": 0}, "alpha_steps must be at least 1, not 0"),
        ({"alpha_bounds": (2.0, 1.0)}, "alpha_bounds: the least must not lie above the greatest, as in [2.0, 1.0]"),
        ({"weight_bounds": (2, 1)}, "weight_bounds: the least must not lie above the greatest, as in [2, 1]"),
        ({"weight_bounds": (0, math.nan)}, "weight_bounds: the least must not lie above the greatest, as in [0, nan]"),
        ({"auxiliary_heads": "half"}, "unknown auxiliary_heads 'half'; there are: full, scaled"),
        ({"finish": "best"}, "unknown finish 'best'; there are: fine-tune, joint, none"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0, not -1.0"),
    ],
)
@pytest.mark.parametrize("variant", ["robust", "paper"])
def test_options_that_are_wrong_are_refused(options: dict[str, object], said: str, variant: str) -> None:
    with pytest.raises(UserError) as caught:
        avil.AlphaVIL(**{"variant": variant, **options})
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("method", "names", "rounds"),
    [
        (PAPER, ["AlphaVIL"], [20]),
        (replace(PAPER, finish="fine-tune"), ["AlphaVIL", "FineTune"], [20, 7]),
        (avil.AlphaVIL(finish="fine-tune"), ["AlphaVIL", "FineTune"], [20, 7]),
        (
            avil.AlphaVIL(),
            ["LearnedJoint", "AlphaVIL", "Race", "TargetAlone", "TargetLonger", "Winner", "FineTune"],
            [3, 4, 1, 7, 13, 10, 7],
        ),
    ],
)
def test_how_a_run_ends(method: avil.AlphaVIL, names: list[str], rounds: list[int]) -> None:
    phases = method.phases(20)
    assert [type(phase.method).__name__ for phase in phases] == names
    assert [phase.rounds for phase in phases] == rounds
    starts = {"TargetAlone": "initial", "Winner": "aside", "FineTune": "best"}
    assert [phase.start for phase in phases] == [starts.get(name, "last") for name in names]
    alone = {"TargetAlone", "TargetLonger", "FineTune"}
    assert {name for name, phase in zip(names, phases, strict=True) if phase.method.finishes} == alone & {*names}
    assert sum(phase.rounds for phase in method.phases(1) if phase.start == "last") == 1


@pytest.mark.parametrize(("dev", "spent"), [("hold", "hold"), ("crossfit", "train")])
def test_examples_held_for_alpha_are_never_trained_on(dev: str, spent: str) -> None:
    for finish in ("joint", "fine-tune"):
        phases = avil.AlphaVIL(dev=dev, finish=finish).phases(20)
        others = [phase.method for phase in phases if not isinstance(phase.method, avil.AlphaVIL)]
        assert {method.dev for method in others} == {spent}


def test_the_cosines_that_a_run_measured_decide_what_races_and_the_winner_trains_on() -> None:
    done = rounds_of(small.small_suite(), avil.AlphaVIL(), 20)
    parts = [[d for d in done if d.row["phase"] == phase] for phase in range(7)]
    assert [len(part) for part in parts if part is not parts[4]] == [3, 4, 1, 7, 10, 7]
    fits, (race,), joint = parts[1], parts[2], parts[5]
    cosines = {task: np.mean([each.row[f"cosine/{task}"] for each in fits]) for task in TASKS[1:]}
    assert set(columns(race, "race/")) == {str(len(one)) for one in task_sets(cosines)}
    assert race.row["cost/gradient_steps"] == sum(3 * STEPS * (1 + len(one)) for one in task_sets(cosines))
    for each in joint:
        assert columns(each, "weight/") == columns(race, "weight/")
        assert not any(name.startswith(("alpha/", "dev/")) for name in each.row)


@pytest.mark.parametrize(("seed", "longer"), [(0, True), (6, True), (4, False)])
def test_a_run_holds_a_target_only_run_whole_unless_the_race_is_ahead_of_it(seed: int, longer: bool) -> None:
    suite = small.small_suite()
    done: list[Round] = []
    result = avil.train(suite, avil.AlphaVIL(), rounds=20, steps_per_round=STEPS, seed=seed, on_round=done.append)
    joint, alone = (max(d.score for d in done if d.row["phase"] in part) for part in ({0, 1, 2}, {3}))
    assert (joint - alone > 0.2 / len(suite.draw(seed)["left"].select) ** 0.5) == (not longer)
    reference: list[Round] = []
    avil.train(suite, avil.TargetOnly(), rounds=20, steps_per_round=STEPS, seed=seed, on_round=reference.append)
    reference = reference[: 20 if longer else 7]
    found = [each.theta.tobytes() for each in done if each.row["phase"] in (3, 4)]
    assert found == [each.theta.tobytes() for each in reference]
    assert result.select >= max(each.score for each in reference)
    assert [each.number for each in done] == [number for number in range(45) if longer or not 15 <= number < 28]


def test_without_rounds_for_a_race_the_aligned_tasks_train_on() -> None:
    done = rounds_of(small.small_suite(), avil.AlphaVIL(), 3)
    assert [each.row["phase"] for each in done] == [1, 3, 3, 4, 5, 5, 6, 6]
    fit, joint = done[0], done[4]
    aligned = {task: float(value > 0) for task, value in columns(fit, "cosine/").items()}
    assert columns(joint, "weight/") == {**aligned, "left": 1.0}


@pytest.mark.parametrize("granularity", ["task", "layer"])
def test_alpha_for_each_layer_is_fitted_as_by_scipy_on_the_same_deltas(granularity: str) -> None:
    """One round by hand: theta + sum alpha_il delta_il, alpha at the minimum of the dev loss inside the bounds."""
    suite = small.small_suite()
    method = replace(
        ROBUST, granularity=granularity, alpha_optimizer="lbfgs", alpha_steps=200, auxiliary_heads="scaled"
    )
    first = rounds_of(suite, method, 1)[0]
    tasks, start = suite.draw(SEED), initial_model(suite, SEED).vector()
    work = method.assign(Setting(suite, STEPS, tasks), method.start(Setting(suite, STEPS, tasks)), 0)
    deltas = np.stack([update.delta(start) for update in InlinePool(suite, tasks, SEED).run(work, start, 0)])
    target = Target(suite, tasks, SEED)
    layers = list(target.space.layers.values()) if granularity == "layer" else [slice(None)]
    rows = np.zeros((len(deltas), len(layers), len(start)))
    for index, layer in enumerate(layers):
        rows[:, index, layer] = deltas[:, layer]
    rows = rows.reshape(-1, len(start))
    objective = target.objective(method.dev_use, 0)

    def loss(alpha: np.ndarray) -> tuple[float, np.ndarray]:
        found, gradient = objective(torch.from_numpy((start + alpha @ rows).astype(np.float32)))
        return found, rows.astype(np.float64) @ gradient.double().numpy()

    bounds = [(0, 4 / 3)] * len(rows)
    best = scipy.optimize.minimize(loss, np.full(len(rows), 1 / 3), jac=True, bounds=bounds, method="L-BFGS-B")
    assert first.row["dev/loss"] == pytest.approx(best.fun, abs=2e-4)
    assert first.row["dev/loss"] == pytest.approx(loss_at(target, method, first), abs=1e-5)


def loss_at(target: Target, method: avil.AlphaVIL, done: Round) -> float:
    return target.objective(method.dev_use, 0)(torch.from_numpy(done.theta.copy()))[0]


def test_the_cost_counts_every_pass_over_dev_in_steps() -> None:
    """Twelve evaluations and one for each task with a part in the step, on 18 examples, at 8 examples a step."""
    for done in rounds_of(small.small_suite(), ROBUST):
        passes = done.row["evaluations"] + sum(value != 0 for value in columns(done, "alpha/").values())
        assert done.row["cost/gradient_steps"] == 3 * STEPS + math.ceil(passes * 18 / 8)


WILD = [
    avil.AlphaVIL(variant=variant, alpha_optimizer=optimizer, safeguard=safeguard, finish=finish, learning_rate=rate)
    for (variant, optimizer), safeguard, finish, rate in itertools.product(
        [("robust", "adam"), ("robust", "lbfgs"), ("paper", "sgd")], [True, False], ["joint", "none"], [5.0, 1e4, 1e30]
    )
]


@pytest.mark.parametrize("method", WILD)
def test_whatever_the_options_theta_alpha_and_weights_stay_finite(method: avil.AlphaVIL) -> None:
    suite, done = small.small_suite(regression=True), []
    run = {"rounds": 4, "steps_per_round": STEPS, "seed": SEED, "on_round": done.append}
    if method.learning_rate == 1e30:
        with pytest.raises(avil.WorkFailed, match="what the target 'left' learned was dropped in every round so far"):
            avil.train(suite, method, **run)
    else:
        avil.train(suite, method, **run)
    for each in done:
        assert np.isfinite(each.theta).all()
        for kind in ("alpha/", "weight/"):
            assert all(math.isfinite(value) for value in columns(each, kind).values())
    if method.learning_rate == 1e30:
        assert [each.row["dropped/left"] for each in done] == [1.0] * 3
