"""Alignment: whose matrices move and when, by hand; what they are for; and that any method's weights go with them."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from torch import nn

import avil_ray as avil
from avil_ray.catalog import build_method, settled_options
from avil_ray.errors import UserError
from avil_ray.learning.learner import Learner
from avil_ray.learning.parameters import ParameterSpace, initial_model
from avil_ray.methods.alignment import Alignment
from avil_ray.methods.alpha_vil import candidate_sets
from avil_ray.methods.method import Method
from avil_ray.rounds import Round
from avil_ray.spaces.work import work_of
from avil_ray.tasks.order import batches

SEED, STEPS = 1, 4
SUITE = small.small_suite(small.batch_norm)
SPACE = ParameterSpace(Alignment().prepare(SUITE).model())
MATRIX = small.WIDTH**2


def aligned(weighting: str = "equal", options: dict[str, Any] | None = None, **own: Any) -> Alignment:
    """The method as YAML names it."""
    method = build_method("alignment", {"weighting": weighting, "options": options or {}, **own})
    assert isinstance(method, Alignment)
    return method


def rounds_of(suite: avil.Suite, method: Method, rounds: int = 3) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    return done


def start_of(suite: avil.Suite) -> np.ndarray:
    return initial_model(Alignment().prepare(suite), SEED).vector()


def moved(before: np.ndarray, after: np.ndarray) -> dict[str, tuple[bool, bool] | bool]:
    """Whether the trunk moved, and for each task whether its matrix and its head did."""
    parts: dict[str, Any] = {"trunk": bool((before != after)[SPACE.trunk].any())}
    for task in small.TASKS:
        own = (before != after)[SPACE.head(task)]
        parts[task] = bool(own[:MATRIX].any()), bool(own[MATRIX:].any())
    return parts


NOTHING, ALL = (False, False), (True, True)


def by_hand(suite: avil.Suite, weights: dict[str, float], steps: int) -> tuple[dict[str, torch.Tensor], nn.Module]:
    """SGD on sum_t w_t L_t(head_t(trunk(x R_t))), R_t whole and from the identity: R and the model at the end."""
    torch.manual_seed(0)
    model = suite.model()
    start = start_of(suite)  # trunk, then (S_t, head_t) for each task
    with torch.no_grad():
        values = torch.from_numpy(start[: SPACE.parameters.stop])
        for part in model.trunk.parameters():
            part.copy_(values[: part.numel()].view(part.shape))
            values = values[part.numel() :]
        for head in model.heads.values():
            values = values[MATRIX:]
            for part in head.parameters():
                part.copy_(values[: part.numel()].view(part.shape))
                values = values[part.numel() :]
    matrices = {task: torch.eye(small.WIDTH, requires_grad=True) for task in small.TASKS}
    parameters, learning, tasks = [*model.parameters(), *matrices.values()], suite.learning, suite.draw(SEED)
    optimizer = torch.optim.SGD(parameters, lr=learning.learning_rate, momentum=learning.momentum)
    data = {task: tasks[task].train for task in weights}
    data["left"] = tasks["left"].train.join(tasks["left"].dev)
    orders = {
        task: batches(torch.arange(len(data[task])), learning.batch_size, 0, steps, SEED, task) for task in weights
    }
    for _ in range(steps):
        optimizer.zero_grad()
        for task, weight in weights.items():
            inputs, labels = data[task].batch(next(orders[task]))
            (weight * F.cross_entropy(model(inputs @ matrices[task], task), labels)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, learning.clip)
        optimizer.step()
    return matrices, model


def test_static_weights_and_matrices_train_as_a_loop_written_by_hand_would() -> None:
    weights = {"left": 1.0, "right": 0.5}
    done = rounds_of(SUITE, aligned(weighting="static", options={"weights": {"right": 0.5}}))[-1]
    matrices, model = by_hand(SUITE, weights, 3 * STEPS)
    for task in small.TASKS:
        shift = torch.from_numpy(done.theta[SPACE.head(task)][:MATRIX]).view(small.WIDTH, small.WIDTH)
        torch.testing.assert_close(torch.eye(small.WIDTH) + shift, matrices[task].detach(), rtol=1e-4, atol=2e-6)
    trunk = torch.cat([part.detach().flatten() for part in model.trunk.parameters()]).numpy()
    np.testing.assert_allclose(done.theta[SPACE.trunk], trunk, rtol=1e-4, atol=2e-6)
    assert {task: done.row[f"weight/{task}"] for task in small.TASKS} == {"left": 1.0, "right": 0.5, "noise": 0.0}


def test_only_a_task_itself_trains_its_matrix() -> None:
    start = start_of(SUITE)
    (done,) = rounds_of(SUITE, aligned(weighting="target-only"), 1)
    assert moved(start, done.theta) == {"trunk": True, "left": ALL, "right": NOTHING, "noise": NOTHING}
    (done,) = rounds_of(SUITE, aligned(weighting="static", options={"weights.noise": 1}), 1)
    assert moved(start, done.theta) == {"trunk": True, "left": ALL, "right": NOTHING, "noise": ALL}


@pytest.mark.parametrize("weighting", ["equal", "alpha-vil", "equal-finetune"])
def test_a_frozen_trunk_stays_bit_identical(weighting: str) -> None:
    start, done = start_of(SUITE), rounds_of(SUITE, aligned(weighting=weighting, train_shared="frozen"), 4)
    assert all(not moved(start, each.theta)["trunk"] for each in done)
    assert moved(start, done[2].theta) == {"trunk": False, "left": ALL, "right": ALL, "noise": ALL}


def test_alternating_matrices_and_heads_train_first_and_the_trunk_next() -> None:
    before = start_of(SUITE)
    heads = {"trunk": False, "left": ALL, "right": ALL, "noise": ALL}
    trunk = {"trunk": True, "left": NOTHING, "right": NOTHING, "noise": NOTHING}
    for done in rounds_of(SUITE, Alignment(train_shared="alternate"), 4):
        assert moved(before, done.theta) == (trunk if done.number % 2 else heads)
        before = done.theta


def test_weight_decay_pulls_a_matrix_towards_the_identity() -> None:
    suite = small.small_suite(weight_decay=1.0, learning_rate=0.1)
    norms = []
    for decayed in (suite, small.small_suite(learning_rate=0.1)):
        theta = rounds_of(decayed, Alignment())[-1].theta
        space = ParameterSpace(Alignment().prepare(decayed).model())
        norms.append(float(np.linalg.norm(theta[space.head("noise")][:MATRIX])))
    assert norms[0] < 0.5 * norms[1]


def rotated(seed: int, turn: torch.Tensor, theta: torch.Tensor) -> list[avil.Task]:
    """The target's labels are x theta; the auxiliary has x Q for inputs and the same labels."""
    generator = torch.Generator().manual_seed(seed)

    def examples(matrix: torch.Tensor) -> avil.Examples:
        inputs = torch.randn(200, 4, generator=generator)
        return avil.Examples(inputs @ matrix, inputs @ theta)

    kind = {"loss": "mean_squared_error", "metric": "mean_squared_error"}
    splits = [examples(torch.eye(4)) for _ in range(4)]
    return [avil.Task("goal", *splits, **kind), avil.Task("turned", examples(turn), **kind)]


def line() -> nn.Module:
    return avil.MultitaskModel(nn.Sequential(nn.Linear(4, 1, bias=False), nn.Flatten(0)), {})


def test_it_learns_from_rotated_inputs_what_equal_weights_cannot() -> None:
    """One shared vector b fits theta or Q^T theta, not both: the least squares of both tell the least loss there is."""
    theta = torch.tensor([1.0, -2.0, 0.5, 1.5])
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(5))).Q
    suite = avil.Suite(
        name="rotated",
        target="goal",
        task_names=("goal", "turned"),
        tasks=partial(rotated, turn=turn, theta=theta),
        model=line,
        learning=avil.Learning(learning_rate=0.02),
    )
    tasks = suite.draw(SEED)
    data = [tasks["goal"].train.join(tasks["goal"].dev), tasks["turned"].train]
    scaled = [(one.inputs / len(one) ** 0.5, one.labels / len(one) ** 0.5) for one in data]
    inputs, labels = (torch.cat(parts) for parts in zip(*scaled, strict=True))
    shared = torch.linalg.lstsq(inputs, labels[:, None]).solution[:, 0]
    floor = float((tasks["goal"].test.inputs @ (shared - theta)).square().mean())
    assert floor > 0.5

    run = {"rounds": 10, "steps_per_round": 40, "seed": SEED}
    equal = avil.train(suite, avil.Equal(), **run)
    assert equal.history["select/loss"].iloc[-1] > 0.7 * floor
    result = avil.train(suite, Alignment(), **run)
    assert result.test["loss"] < 1e-6
    model = result.model().model
    for task, wanted in (("goal", theta), ("turned", turn.T @ theta)):  # R_t b is what each task needs
        matrix = torch.eye(4) + model.heads[task].alignment.shift
        torch.testing.assert_close((matrix @ model.trunk[0].weight[0]).detach(), wanted, atol=1e-3, rtol=0)


def test_alpha_does_not_scale_an_auxiliarys_matrix_if_its_head_moves_in_full() -> None:
    method = aligned(weighting="alpha-vil", options={"alpha_bounds": [0, 0.1], "finish": "none"})
    first = rounds_of(SUITE, method, 4)[0]
    run = small.new_run(SUITE, method, SEED, rounds=4, steps=STEPS)
    learner, start = Learner(run.setting.suite, run.setting.tasks, SEED), run.main.theta
    for assignment in method.assign(run, 0):
        task = assignment.name
        delta = (learner.train(assignment, run.main, 0).theta - start)[SPACE.head(task)]
        alpha = first.row[f"alpha/{task}"]
        assert alpha < 0.1
        share = alpha if task == "left" else 1.0
        found = (first.theta - start)[SPACE.head(task)]
        assert delta[:MATRIX].any()
        np.testing.assert_allclose(found, share * delta, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("shared", "parts"), [("alternate", ("heads", "trunk")), ("frozen", ("heads", "heads"))])
def test_the_run_equals_the_inner_methods_except_for_what_is_trained(shared: str, parts: tuple[str, str]) -> None:
    method, plain = aligned(weighting="alpha-vil", train_shared=shared), avil.AlphaVIL()
    assert method.plans_ahead
    run, other = (small.new_run(SUITE, one, SEED, rounds=8) for one in (method, plain))
    assert method.rounds(run.setting) == plain.rounds(other.setting) == 8 + 3
    assert method.start(run.setting) == plain.start(other.setting)
    for number in range(11):
        run, other = method.begin(run, number), plain.begin(other, number)
        assert method.dev_passes(run, number) == plain.dev_passes(other, number)
        work = [dataclasses.replace(one, trains=parts[number % 2]) for one in plain.assign(other, number)]
        assert method.assign(run, number) == work
    done = rounds_of(SUITE, method, 8)
    assert [each.row.get("fine_tuning", 0) for each in done] == [0] * 8 + [1] * 3
    assert set(done[-1].run.tracks) == {"main"}
    assert done[4].run.memory.kept in candidate_sets(done[3].run.memory.cosines)


@pytest.mark.parametrize("options", [{}, {"weighting": "alpha-vil", "options": {"variant": "paper", "alpha_steps": 3}}])
@pytest.mark.parametrize("shared", ["joint", "alternate"])
def test_a_run_costs_what_was_predicted(options: dict[str, Any], shared: str) -> None:
    method = aligned(train_shared=shared, **options)
    told = work_of(method, SUITE, SUITE.draw(SEED), 3, STEPS)
    spent = sum(each.row["cost/gradient_steps"] for each in rounds_of(SUITE, method))
    assert spent == told.gradient_steps + told.dev_steps


@pytest.mark.parametrize("shared", ["joint", "alternate", "frozen"])
def test_an_interrupted_run_ends_with_the_same_result(shared: str, tmp_path: Path) -> None:
    method = aligned(weighting="alpha-vil", train_shared=shared)
    run: dict[str, Any] = {"rounds": 4, "steps_per_round": 2, "seed": SEED}
    whole = avil.train(SUITE, method, **run)

    def stop(done: Round) -> None:
        raise InterruptedError

    for _ in range(len(whole.rows) - 1):
        with pytest.raises(InterruptedError):
            avil.train(SUITE, method, **run, output=tmp_path, resume=True, on_round=stop)
    assert avil.train(SUITE, method, **run, output=tmp_path, resume=True).theta.tobytes() == whole.theta.tobytes()


@pytest.mark.parametrize(
    "method",
    [
        Alignment(),
        Alignment(learning_rate=0.1, train_shared="frozen"),
        aligned(options={"learning_rate": 0.1}),
        aligned(weighting="static", options={"weights": {"right": 0.5}}),
        aligned(weighting="static", options={"weights.right": 0.5, "finish": "fine-tune"}),
        aligned(weighting="alpha-vil", options={"alpha_bounds": (0, 2), "learn_weights": None}),
        aligned(weighting="svd-reweighting", options={"rank": 2}),
    ],
)
def test_settled_options_build_the_same_method(method: Alignment) -> None:
    settled = settled_options(method)
    assert settled_options(build_method("alignment", settled)) == settled
    assert dataclasses.replace(method, learning_rate=method.learning_rate) == method


def test_options_are_the_effective_ones() -> None:
    assert aligned(options={"dev": "train"}) == Alignment() == Alignment(weighting=avil.Equal())
    assert Alignment(learning_rate=0.1) == Alignment(learning_rate=0.1, weighting=avil.Equal(learning_rate=0.1))
    found = settled_options(aligned(weighting="static", options={"weights": {"right": 0.5}}))
    assert found == {
        "train_shared": "joint",
        "weighting": "static",
        "options.dev": "train",
        "options.weights.right": 0.5,
        "options.finish": "none",
    }
    assert Alignment(learning_rate=0.1).inner == avil.Equal(learning_rate=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weighting": "equall"}, "weighting: unknown method 'equall'; did you mean 'equal'?"),
        ({"weighting": 3}, "weighting: unknown method '3'; available: "),
        (
            {"weighting": "alignment"},
            "weighting: alignment cannot weight the tasks; choose another, such as equal",
        ),
        ({"options": 3}, "options should be a mapping such as {name: value}, not 3"),
        (
            {"weighting": "static", "options": {"wieghts": {}}},
            "weighting: method static: unknown option 'wieghts'; did you mean 'weights'?",
        ),
        (
            {"weighting": "alpha-vil", "options": {"alpha_steps": 0}},
            "weighting: method alpha-vil: alpha_steps must be at least 1, not 0",
        ),
        ({"train_shared": "freeze"}, "train_shared should be 'joint', 'alternate' or 'frozen', not 'freeze'"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0, not -1.0"),
        (
            {"learning_rate": 0.1, "options": {"learning_rate": 0.2}},
            "learning_rate is 0.1, but that of the weighting 0.2; give one",
        ),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        build_method("alignment", options)
    assert str(caught.value).startswith(f"method alignment: {said}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weighting": "equal"}, "weighting must be a method such as Equal(), not 'equal'"),
        (
            {"weighting": Alignment()},
            "weighting: alignment cannot weight the tasks; choose another, such as equal",
        ),
        ({"train_shared": "freeze"}, "unknown train_shared 'freeze'; did you mean 'frozen'?"),
    ],
)
def test_wrong_options_in_python(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        Alignment(**options)
    assert str(caught.value) == said


def test_options_that_do_not_fit_the_suite_are_rejected_before_training() -> None:
    with pytest.raises(UserError, match=r"^weights: unknown task 'x'"):
        aligned(weighting="static", options={"weights": {"x": 1.0}}).check(SUITE)
    images = dataclasses.replace(SUITE, model=partial(avil.MultitaskModel, nn.Conv2d(1, 2, 3), {}))
    state = torch.get_rng_state()
    with pytest.raises(UserError, match=r"^alignment: the suite's trunk begins with Conv2d"):
        avil.train(images, Alignment())
    Alignment().check(SUITE)
    assert torch.equal(torch.get_rng_state(), state)
