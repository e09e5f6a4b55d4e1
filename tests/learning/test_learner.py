"""One assignment on one device, against ordinary PyTorch loops written out by hand."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.learner import Learner, cpu_threads
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import Track
from avil_ray.tasks.order import batches

SEED = 3
JOINT = {"left": 1.0, "right": 0.5, "noise": 2.0}


def learner(suite: avil.Suite) -> Learner:
    return Learner(suite, suite.draw(SEED), SEED)


def start(suite: avil.Suite) -> Track:
    return Track(initial_model(suite, SEED).vector())


def assignment(suite: avil.Suite, **options: object) -> Assignment:
    given = {"name": "joint", "weights": JOINT, "steps": 5, "learning": suite.learning, **options}
    return Assignment(**given)


def in_rounds(suite: avil.Suite, rounds: int, weights: Mapping[str, float] = JOINT) -> list[Update]:
    """A static run: each round on a learner of its own, as if every worker had died after one."""
    updates: list[Update] = []
    track = start(suite)
    for number in range(rounds):
        updates.append(learner(suite).train(assignment(suite, weights=weights, continues=True), track, number))
        track = track.advanced(updates[-1])
    return updates


def ordinary_loop(suite: avil.Suite, steps: int, weights: Mapping[str, float]) -> tuple[np.ndarray, dict[str, float]]:
    """Joint training as anyone would write it; theta at the end and each task's mean loss.

    BatchNorm's statistics are those of the target's batches, or of the first task's where the target does not train.
    """
    model, tasks, learning = initial_model(suite, SEED).model, suite.draw(SEED), suite.learning
    trained = [p for n, p in model.named_parameters() if not n.startswith("heads.") or n.split(".")[1] in weights]
    if learning.optimizer == "adamw":
        optimizer = torch.optim.AdamW(trained, lr=learning.learning_rate, weight_decay=learning.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            trained, learning.learning_rate, momentum=learning.momentum, weight_decay=learning.weight_decay
        )
    data = {name: tasks[name].train for name in weights}
    if "left" in data:
        data["left"] = tasks["left"].train.join(tasks["left"].dev)
    orders = {
        name: batches(torch.arange(len(examples)), learning.batch_size, 0, steps, SEED, name)
        for name, examples in data.items()
    }
    losses: dict[str, list[float]] = {name: [] for name in weights}
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        total = torch.zeros(())
        for name, weight in weights.items():
            rows = next(orders[name])
            before = copy.deepcopy(list(model.buffers()))
            loss = F.cross_entropy(model(data[name].inputs[rows], name), data[name].labels[rows])
            if name != ("left" if "left" in weights else next(iter(weights))):
                for buffer, value in zip(model.buffers(), before, strict=True):
                    buffer.data.copy_(value)
            losses[name].append(loss.item())
            total = total + weight * loss
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained, learning.clip)
        optimizer.step()
    return small.flat(model), {name: float(np.mean(values)) for name, values in losses.items()}


@pytest.mark.parametrize(
    "learning",
    [
        {"momentum": 0.0},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"clip": 0.05},
        {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
        {"optimizer": "adamw", "learning_rate": 0.01, "clip": 0.05},
    ],
)
@pytest.mark.parametrize("weights", [JOINT, {"left": 1.0}, {"right": 0.3, "noise": 1.0}])
def test_rounds_equal_an_ordinary_loop(learning: dict[str, object], weights: dict[str, float]) -> None:
    suite = small.small_suite(**learning)
    expected, losses = ordinary_loop(suite, 15, weights)
    updates = in_rounds(suite, 3, weights)
    np.testing.assert_allclose(updates[-1].theta, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - start(suite).theta).max() > 0.01, "or nothing was compared"
    found = {task: np.mean([update.losses[task] for update in updates]) for task in weights}
    assert found == pytest.approx(losses, rel=1e-5)


def test_a_single_task_equals_the_loop_to_the_last_bit() -> None:
    suite = small.small_suite()
    expected, _ = ordinary_loop(suite, 10, {"left": 1.0})
    assert in_rounds(suite, 2, {"left": 1.0})[-1].theta.tobytes() == expected.tobytes()


def averaging() -> nn.Module:
    """BatchNorm whose statistics are plain means over all batches so far: it needs its count of them."""
    return nn.Sequential(nn.Linear(small.WIDTH, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU())


@pytest.mark.parametrize("trunk", [small.batch_norm, averaging])
def test_batch_norm_statistics_continue_across_rounds_and_workers(trunk: object) -> None:
    suite = small.small_suite(trunk)
    for weights in (JOINT, {"right": 1.0, "noise": 0.5}):
        expected, _ = ordinary_loop(suite, 15, weights)
        found = in_rounds(suite, 3, weights)[-1].theta
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert expected[-1] == 15, "batches tracked: one task's of three"


def test_heads_of_other_tasks_stay_unchanged_even_with_weight_decay() -> None:
    suite = small.small_suite(weight_decay=0.5)
    track, space = start(suite), initial_model(suite, SEED).space
    moved = learner(suite).train(assignment(suite, weights={"right": 1.0}), track, 0).theta != track.theta
    assert not moved[space.head("left")].any()
    assert not moved[space.head("noise")].any()
    assert moved[space.trunk].all()
    assert moved[space.head("right")].all()


def test_the_result_does_not_depend_on_what_the_learner_did_before() -> None:
    suite = small.small_suite(small.dropout)
    track, work = start(suite), assignment(suite, name="left", weights={"left": 1.0})
    expected = learner(suite).train(work, track, 1)
    used = learner(suite)
    torch.manual_seed(99)
    used.train(assignment(suite, continues=True), Track(track.theta + 1), 0)
    used.train(assignment(suite, name="noise", weights={"noise": 1.0}, steps=2), Track(track.theta * 0, 7), 1)
    found = used.train(work, track, 1)
    assert found.theta.tobytes() == expected.theta.tobytes()
    assert found.losses == expected.losses


def test_dropout_is_on_and_derives_from_seed_round_and_the_tracks_steps() -> None:
    suite = small.small_suite(small.dropout)
    worker = learner(suite)

    def trained(name: str = "left", number: int = 1, steps: int = 0) -> np.ndarray:
        """After one step; the order of a cross-fitted target's examples depends on the round alone."""
        work = assignment(suite, name=name, weights={"left": 1.0}, steps=1, dev=DevUse("crossfit", 0.5))
        return worker.train(work, Track(start(suite).theta, steps), number).theta

    assert np.array_equal(trained(), trained())
    assert np.array_equal(trained(), trained("other")), "assignments differ by what they learn, not by the draw"
    assert not np.allclose(trained(), trained(number=2), atol=1e-4)
    assert not np.allclose(trained(), trained(steps=1), atol=1e-4)
    still = small.small_suite(lambda: nn.Sequential(nn.Linear(small.WIDTH, 8), nn.ReLU()))
    work = assignment(still, weights={"left": 1.0}, steps=1, dev=DevUse("crossfit", 0.5))
    assert not np.allclose(learner(still).train(work, start(still), 1).theta, trained(), atol=1e-4)


def asleep() -> nn.Module:
    """In evaluation mode, as pretrained models come."""
    return small.dropout().eval()


def test_a_model_in_evaluation_mode_is_trained_in_training_mode() -> None:
    found = []
    for trunk in (small.dropout, asleep):
        suite = small.small_suite(trunk)
        found.append(learner(suite).train(assignment(suite), start(suite), 0).theta.tobytes())
    assert found[0] == found[1]


def test_theta_and_the_process_are_unchanged() -> None:
    suite = small.small_suite(small.dropout)
    track = start(suite)
    track.theta.flags.writeable = False
    before, state, threads = track.theta.tobytes(), torch.get_rng_state(), torch.get_num_threads()
    update = learner(suite).train(assignment(suite), track, 0)
    assert track.theta.tobytes() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not np.shares_memory(update.theta, track.theta)


def test_updates_do_not_share_memory_with_the_next_ones() -> None:
    suite = small.small_suite()
    worker, track = learner(suite), start(suite)
    first = worker.train(assignment(suite, continues=True), track, 0)
    kept = first.theta.copy(), {name: value.copy() for name, value in first.optimizer.items()}
    worker.train(assignment(suite, continues=True), track.advanced(first), 1)
    assert np.array_equal(first.theta, kept[0])
    assert all(np.array_equal(first.optimizer[name], value) for name, value in kept[1].items())


def test_assignments_that_do_not_continue_start_with_a_fresh_optimizer_and_return_none() -> None:
    suite = small.small_suite()
    first, with_momentum = in_rounds(suite, 2)
    track = start(suite).advanced(first)
    assert track.optimizer
    found = learner(suite).train(assignment(suite), track, 1)
    assert (found.optimizer, found.memory) == ({}, {})
    assert not np.allclose(found.theta, with_momentum.theta)
    afresh = learner(suite).train(assignment(suite, continues=True), Track(track.theta, steps=5), 1)
    assert found.theta.tobytes() == afresh.theta.tobytes()


def test_tracks_see_a_tasks_examples_in_the_same_order_whatever_else_is_trained() -> None:
    """Training moves only the rows that it saw: of one task the same ones on both tracks, beside others or alone."""
    suite, learning = row_suite(), avil.Learning(batch_size=4, momentum=0.0, learning_rate=0.01)

    def goal(weights: Mapping[str, float], track: str, steps: int = 0) -> list[float]:
        work = Assignment(name=track, track=track, weights=weights, steps=1, learning=learning, dev=DevUse("hold"))
        return learner(suite).train(work, Track(np.zeros(30, np.float32), steps), 0).theta[:10].tolist()

    assert goal({"goal": 1.0}, "one") == goal({"goal": 1.0, "other": 1.0}, "two")
    assert goal({"goal": 1.0}, "one") != goal({"goal": 1.0}, "one", steps=1), "the order goes on with the track"


def test_cost_name_and_track_are_reported() -> None:
    suite = small.small_suite()
    update = learner(suite).train(assignment(suite, steps=4, track="other"), start(suite), 0)
    assert (update.assignment, update.track, update.steps, update.gradient_steps) == ("joint", "other", 4, 12)
    assert 0 < update.seconds < 60


def test_no_steps_change_nothing() -> None:
    suite = small.small_suite()
    update = learner(suite).train(assignment(suite, steps=0), start(suite), 0)
    assert update.theta.tobytes() == start(suite).theta.tobytes()
    assert update.losses == dict.fromkeys(JOINT, 0.0)


@pytest.mark.parametrize(("weight", "clip", "length"), [(1.0, 1e-3, 1e-3), (5.0, 1e-3, 1e-3), (1.0, 1e9, None)])
def test_a_step_is_clipped_after_weighting(weight: float, clip: float, length: float | None) -> None:
    suite = small.small_suite(learning_rate=1.0, momentum=0.0, clip=clip)
    track = start(suite)

    def moved(weight: float) -> np.ndarray:
        work = assignment(suite, weights={"left": weight}, steps=1)
        return learner(suite).train(work, track, 0).delta(track.theta)

    delta = moved(weight)
    if length is None:
        double = moved(2.0)
        np.testing.assert_allclose(double, 2 * delta, rtol=1e-3, atol=1e-6)
    else:
        assert np.linalg.norm(delta) == pytest.approx(length, rel=1e-3)


class Rows(nn.Module):
    """Inputs are row numbers, each with a weight of its own: training moves the weights of the rows it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(30))

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        return self.weights[inputs]


def row_suite() -> avil.Suite:
    def task(name: str, rows: range) -> avil.Task:
        parts = {"train": rows[:7], "dev": rows[7:10], "select": rows, "test": rows[::-1]}
        splits = {split: avil.Examples(torch.tensor(part), torch.ones(len(part))) for split, part in parts.items()}
        return avil.Task(name, **splits, loss="mean_squared_error", metric="mean_squared_error")

    def tasks(seed: int) -> list[avil.Task]:
        return [task("goal", range(10)), task("other", range(10, 20))]

    return avil.Suite(name="rows", target="goal", task_names=("goal", "other"), tasks=tasks, model=Rows)


@pytest.mark.parametrize("dev", [DevUse("train"), DevUse("hold"), DevUse("crossfit", 0.5)])
@pytest.mark.parametrize("number", [0, 1])
def test_the_training_rows_are_those_given_by_dev(dev: DevUse, number: int) -> None:
    suite = row_suite()
    learning = avil.Learning(batch_size=4)

    def seen(task: str) -> set[int]:
        work = Assignment(name="x", weights={task: 1.0}, steps=10, learning=learning, dev=dev)
        track = Track(np.zeros(30, np.float32), steps=7)
        return set(np.flatnonzero(learner(suite).train(work, track, number).theta))

    assert seen("goal") == set(dev.rows(7, 3, SEED, number)[0].tolist())
    assert seen("other") == set(range(10, 17)), "an auxiliary's dev split is nobody's"


class HalfFrozen(nn.Module):
    """A random projection that stays as it is, and one number that is trained through it."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(small.WIDTH, small.CLASSES)
        self.projection.requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        return self.scale * self.projection(inputs)


def test_frozen_parameters_are_the_same_for_every_learner() -> None:
    suite = avil.Suite(name="x", target="left", task_names=small.TASKS, tasks=small.draw, model=HalfFrozen)
    found = []
    for before in (1, 2):
        torch.manual_seed(before)
        found.append(learner(suite).train(assignment(suite), Track(np.ones(1, np.float32)), 0).theta)
    assert found[0] != 1
    assert found[0] == found[1]


class Half(nn.Module):
    """Its one number is stored in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        return self.value.expand(len(inputs))


def half(rate: float, steps: int) -> float:
    """The number after so many steps of gradient descent on its square, from 1."""

    def tasks(seed: int) -> list[avil.Task]:
        splits = small.apart(avil.Examples(torch.arange(4.0)[:, None], torch.zeros(4)))
        return [avil.Task("goal", *splits, loss="mean_squared_error", metric="mean_squared_error")]

    learning = avil.Learning(learning_rate=rate, momentum=0.0, batch_size=4)
    suite = avil.Suite(name="x", target="goal", task_names=("goal",), tasks=tasks, model=Half, learning=learning)
    work = Assignment(name="x", weights={"goal": 1.0}, steps=steps, learning=learning)
    return float(learner(suite).train(work, Track(np.ones(1, np.float32)), 0).theta[0])


def test_steps_too_small_for_half_precision_accumulate() -> None:
    assert half(1e-4, 10) == pytest.approx(1 - 10 * 2e-4, rel=1e-5), "bfloat16 knows 1 and 0.996, nothing between"


def test_each_step_in_half_precision_sees_the_last_update() -> None:
    assert half(0.05, 20) == pytest.approx(0.9**20, rel=0.02)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_divergence_comes_back_as_losses_that_are_not_finite(optimizer: str) -> None:
    suite = small.small_suite(regression=True, learning_rate=1e30, optimizer=optimizer)
    update = learner(suite).train(assignment(suite, weights={"left": 1.0}), start(suite), 0)
    assert not np.isfinite(update.theta).all()
    assert not np.isfinite(update.losses["left"])


def test_the_number_of_threads_is_set_inside_the_block_and_restored_after_it() -> None:
    before = torch.get_num_threads()
    with cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
