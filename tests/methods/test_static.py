"""The baselines: an ordinary loop, their weights, and how they end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.splits import batches
from avil_ray.methods.joint import FineTune, LearnedJoint
from avil_ray.methods.method import Method, Setting
from avil_ray.pools.inline import InlinePool
from avil_ray.rounds import Round

SEED, STEPS = 1, 4


def rounds_of(suite: avil.Suite, method: Method, rounds: int = 3) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    return done


def ordinary(
    suite: avil.Suite,
    start: np.ndarray,
    weights: dict[str, float],
    steps: int,
    *,
    name: str = "joint",
    rate: float = 1.0,
    hold: bool = False,
) -> np.ndarray:
    """Training on the weighted sum of losses as anyone would write it."""
    model, tasks, learning = small.load(suite.model(), start), suite.draw(SEED), suite.learning
    data = {task: tasks[task].train for task in weights}
    if "left" in data and not hold:
        data["left"] = tasks["left"].train.join(tasks["left"].dev)
    orders = {
        task: batches(torch.arange(len(examples)), learning.batch_size, 0, steps, SEED, name, task)
        for task, examples in data.items()
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=rate * learning.learning_rate, momentum=learning.momentum)
    for _ in range(steps):
        optimizer.zero_grad()
        batch = {task: data[task].batch(next(orders[task])) for task in weights}
        sum(
            weights[task] * F.cross_entropy(model(inputs, task), labels) for task, (inputs, labels) in batch.items()
        ).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), learning.clip)
        optimizer.step()
    return small.flat(model)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        (avil.TargetOnly(), {"left": 1.0}),
        (avil.Equal(), {"left": 1.0, "right": 1.0, "noise": 1.0}),
        (avil.Static(), {"left": 1.0}),
        (avil.Static(weights={"right": 0.25}), {"left": 1.0, "right": 0.25}),
        (avil.Static(weights={"left": 0.0, "noise": 2.0}), {"noise": 2.0}),
    ],
)
def test_every_round_ends_where_an_ordinary_loop_would_be(method: Method, weights: dict[str, float]) -> None:
    suite = small.small_suite()
    start = initial_model(suite, SEED).vector()
    for done in rounds_of(suite, method):
        expected = ordinary(suite, start, weights, STEPS * (done.number + 1))
        close(done.theta, expected)
        logged = {name.removeprefix("weight/"): v for name, v in done.row.items() if name.startswith("weight/")}
        assert logged == {task: weights.get(task, 0.0) for task in small.TASKS}
        assert done.row["cost/gradient_steps"] == STEPS * len(weights)
        assert done.row["phase"] == 0


def test_the_length_of_a_round_changes_nothing_but_where_it_is_looked_at() -> None:
    suite = small.small_suite()
    options = {"method": avil.Equal(), "seed": SEED}
    whole = avil.train(suite, rounds=1, steps_per_round=12, **options)
    parts: list[Round] = []
    avil.train(suite, rounds=6, steps_per_round=2, on_round=parts.append, **options)
    assert parts[-1].theta.tobytes() == whole.theta.tobytes()


def test_the_delta_norm_is_the_length_of_the_rounds_step() -> None:
    suite = small.small_suite(small.batch_norm)
    first, second = rounds_of(suite, avil.TargetOnly(), 2)
    parameters = initial_model(suite, SEED).space.parameters
    step = (second.theta - first.theta)[parameters]
    assert second.row["delta_norm/joint"] == pytest.approx(np.linalg.norm(step), rel=1e-5)


def test_held_dev_examples_are_not_trained_on() -> None:
    suite = small.small_suite()
    start = initial_model(suite, SEED).vector()
    close(rounds_of(suite, avil.TargetOnly(dev="hold"))[-1].theta, ordinary(suite, start, {"left": 1.0}, 12, hold=True))


@pytest.mark.parametrize("dev", ["train", "hold"])
@pytest.mark.parametrize("kind", ["static", "equal-finetune"])
def test_the_finish_trains_the_best_theta_on_the_target_alone_at_a_lower_rate(dev: str, kind: str) -> None:
    suite = small.small_suite(learning_rate=0.3)
    weights = {"left": 1.0, "right": 1.0, "noise": 1.0}
    method = (
        avil.Static(weights=weights, finish="fine-tune", dev=dev) if kind == "static" else avil.EqualFineTune(dev=dev)
    )
    done = rounds_of(suite, method, 10)
    assert [int(each.row["phase"]) for each in done] == [0] * 10 + [1] * 4
    best = max(done[:10], key=lambda each: (each.score, -each.number))
    assert best.number < 9, "or the best would be the last"
    expected = ordinary(suite, best.theta, {"left": 1.0}, 4 * STEPS, name="fine-tune", rate=0.3, hold=dev == "hold")
    close(done[-1].theta, expected)
    assert done[-1].row["weight/left"] == 1
    assert done[-1].row["weight/right"] == 0


@pytest.mark.parametrize(("rounds", "finish"), [(1, 1), (2, 1), (3, 2), (20, 7), (40, 14), (100, 35)])
def test_the_finish_takes_a_third_of_the_rounds(rounds: int, finish: int) -> None:
    for method in (avil.EqualFineTune(), avil.Static(finish="fine-tune")):
        assert [phase.rounds for phase in method.phases(rounds)] == [rounds, finish]
        assert [phase.from_best for phase in method.phases(rounds)] == [False, True]
    assert [phase.rounds for phase in avil.Static().phases(rounds)] == [rounds]


def test_a_methods_learning_rate_holds_for_all_its_phases() -> None:
    suite = small.small_suite(learning_rate=0.5)
    main, tuning = (phase.method.learning(suite) for phase in avil.EqualFineTune(learning_rate=0.2).phases(4))
    assert (main.learning_rate, tuning.learning_rate) == (0.2, pytest.approx(0.06))
    assert dataclasses.replace(main, learning_rate=0.5) == suite.learning
    assert avil.Equal().learning(suite) is suite.learning


def test_the_weights_that_were_learned_are_trained_on() -> None:
    suite = small.small_suite()
    learned = {"left": 1.0, "right": 0.4, "noise": 0.0}
    method = LearnedJoint()
    state = method.start(Setting(suite, STEPS), {"weights": {}, "learned": learned, "rounds": 2})
    (work,) = method.assign(Setting(suite, STEPS), state, 0)
    assert work.weights == {"left": 1.0, "right": 0.4}
    (work,) = method.assign(Setting(suite, STEPS), method.start(Setting(suite, STEPS)), 0)
    assert work.weights == dict.fromkeys(small.TASKS, 1.0), "equal, where nothing was learned"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": {"right": -0.1}}, "weights: right: a weight must be a number of at least 0, not -0.1"),
        ({"weights": {"right": float("nan")}}, "weights: right: a weight must be a number of at least 0, not nan"),
        ({"weights": {"right": float("inf")}}, "weights: right: a weight must be a number of at least 0, not inf"),
        ({"finish": "joint"}, "unknown finish 'joint'; there are: fine-tune, none"),
        ({"dev": "crossfit"}, "unknown dev 'crossfit'; there are: hold, train"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, not 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, not nan"),
    ],
)
def test_options_that_are_wrong_in_themselves_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        avil.Static(**options)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"rihgt": 1.0}, "weights: unknown task 'rihgt'; did you mean 'right'?"),
        ({"left": 0.0}, "weights: all are 0, so nothing would train; give one task a weight above 0"),
        ({"left": 0.0, "right": 0.0}, "weights: all are 0, so nothing would train; give one task a weight above 0"),
    ],
)
def test_weights_that_do_not_fit_the_suite_are_refused_before_anything_trains(
    weights: dict[str, float], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        avil.train(small.small_suite(), avil.Static(weights=weights), rounds=1)
    assert str(caught.value) == said


def test_a_finish_that_diverges_leaves_the_best_theta(caplog: pytest.LogCaptureFixture) -> None:
    suite = small.small_suite(regression=True)
    best = rounds_of(suite, avil.TargetOnly(), 1)[0]
    wild, theta = FineTune(learning_rate=1e30), best.theta
    setting = Setting(suite, STEPS)
    (work,) = wild.assign(setting, wild.start(setting), 0)
    tasks = suite.draw(SEED)
    updates = InlinePool(suite, tasks, SEED).run([work], theta, 5)
    assert not np.isfinite(updates[0].theta).all()
    found, state, facts = wild.combine(wild.start(setting), theta, updates, Target(suite, tasks, SEED), 5)
    assert found.tobytes() == theta.tobytes()
    assert state == wild.start(setting)
    assert facts["dropped"] == 1
    assert "round 5: the update of 'fine-tune' is not finite" in caplog.text
