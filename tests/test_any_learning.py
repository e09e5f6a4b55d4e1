"""Every way of learning, in whole runs: against ordinary PyTorch loops, and stopped and resumed."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import own_tasks
import pytest
import small
import torch
import torch.nn.functional as F
from test_any_task import same, stopped_and_resumed
from torch import nn

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.learner import Learner
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.track import Track
from avil_ray.tasks.optimizer_names import REFUSED
from avil_ray.tasks.order import batches

OPTIMIZERS = sorted(
    name
    for name, found in vars(torch.optim).items()
    if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer) and name not in ("Optimizer", *REFUSED)
)
ROUNDS, STEPS, SEED = 4, 5, 3


def plainly(suite: avil.Suite, schedule: str) -> np.ndarray:
    """AdamW under PyTorch's own schedule, on the library's order of examples and nothing else of it."""
    learning, tasks, total = suite.learning, suite.draw(SEED), ROUNDS * STEPS
    start = initial_model(suite, SEED).vector()
    model = small.load(suite.model(), start)
    data = {name: task.train for name, task in tasks.items()}
    data["left"] = data["left"].join(tasks["left"].dev)
    orders = {
        name: batches(torch.arange(len(examples)), learning.batch_size, 0, total, SEED, name)
        for name, examples in data.items()
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning.learning_rate, weight_decay=learning.weight_decay)
    ending = {
        "cosine": lambda rest: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rest),
        "linear": lambda rest: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, rest),
        "constant": lambda rest: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0, rest),
    }[schedule](total - learning.warmup)
    rate = ending
    if learning.warmup:
        rising = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / learning.warmup)
        rate = torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, ending], [learning.warmup])
    for _ in range(total):
        optimizer.zero_grad()
        losses = []
        for name, examples in data.items():
            inputs, labels = examples.batch(next(orders[name]))
            losses.append(F.cross_entropy(model(inputs, name), labels))
        sum(losses).backward()
        nn.utils.clip_grad_norm_(model.parameters(), learning.clip)
        optimizer.step()
        rate.step()
    return small.flat(model)


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # PyTorch's own, of its SequentialLR
@pytest.mark.parametrize(("schedule", "warmup"), [("cosine", 0), ("linear", 0), ("cosine", 4), ("constant", 4)])
def test_adamw_under_a_schedule_equals_a_plain_loop(schedule: str, warmup: int, tmp_path: Path) -> None:
    def suite() -> avil.Suite:
        options = {"optimizer": "AdamW", "learning_rate": 0.02, "weight_decay": 0.1}
        return small.small_suite(schedule=schedule, warmup=warmup, **options)

    run = {"rounds": ROUNDS, "steps_per_round": STEPS, "seed": SEED}
    thetas: list[Any] = []
    result = avil.train(suite(), avil.Equal(), **run, on_round=lambda done: thetas.append(done.theta))
    np.testing.assert_allclose(thetas[-1], plainly(suite(), schedule), rtol=0, atol=2e-6)
    same(stopped_and_resumed(suite, avil.Equal(), tmp_path, **run), result)


@pytest.mark.parametrize("micro_batch", [1, 3, 8, 40])
def test_an_accumulated_step_has_the_gradient_of_the_whole_batch(micro_batch: int) -> None:
    gradients = []
    for size in (None, micro_batch):
        suite = own_tasks.reading(batch_size=16, micro_batch=size, learning_rate=1.0, momentum=0.0, clip=math.inf)
        learner = Learner(suite, suite.draw(SEED), SEED)
        work = Assignment(name="joint", weights=dict.fromkeys(suite.task_names, 1.0), steps=1, learning=suite.learning)
        learner.train(work, Track(learner.flat.vector()), 0)
        gradients.append(learner.flat.gradient.double().clone())
    whole, accumulated = gradients
    assert float((accumulated - whole).norm() / whole.norm()) < 1e-6
    assert float(whole.norm()) > 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_and_resumes_with_equal_bits(name: str, tmp_path: Path) -> None:
    def suite() -> avil.Suite:
        return own_tasks.dense(optimizer=name, learning_rate=0.01, groups={"trunk": {"learning_rate": 0.003}})

    run = {"rounds": 4, "steps_per_round": 3, "seed": SEED}
    whole = avil.train(suite(), avil.Equal(), **run)
    assert not np.array_equal(whole.theta, initial_model(suite(), SEED).vector())
    same(stopped_and_resumed(suite, avil.Equal(), tmp_path, **run), whole)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "svd-reweighting"])
def test_every_method_accumulates_and_computes_in_bfloat16(name: str) -> None:
    method = build_method(name, {"weights": {"aux": 0.5}} if name == "static" else {})
    suite = own_tasks.classes("stream", micro_batch=3, precision="bf16", schedule="cosine", warmup=2)
    assert math.isfinite(avil.train(suite, method, rounds=4, steps_per_round=2).test["loss"])


def test_a_group_that_no_parameter_is_in_is_refused() -> None:
    suite = own_tasks.classes(groups={"trunc": {"learning_rate": 0.1}})
    with pytest.raises(avil.UserError, match=r"groups\.trunc: no parameter name starts with it; available: .*trunk"):
        avil.train(suite, avil.Equal())


def test_a_groups_rate_is_its_own() -> None:
    found = {}
    for rate in (0.05, 1e-12):
        suite = own_tasks.classes(groups={"trunk": {"learning_rate": rate}})
        start = initial_model(suite, SEED)
        result = avil.train(suite, avil.Equal(), rounds=1, steps_per_round=4, seed=SEED)
        found[rate] = [np.abs(result.theta - start.vector())[part].max() for part in (start.space.trunk, slice(None))]
    assert found[0.05][0] > 1e-3
    assert found[1e-12][0] < 1e-9 < 1e-3 < found[1e-12][1]


def test_patience_ends_a_run_early_and_is_refused_where_there_is_a_plan() -> None:
    suite = own_tasks.classes(patience=1, learning_rate=1e-9)
    assert len(avil.train(suite, avil.Equal(), rounds=9, steps_per_round=1).history) == 2
    with pytest.raises(avil.UserError, match="patience: AlphaVIL plans its rounds ahead; leave patience out"):
        avil.train(suite, avil.AlphaVIL(), rounds=9, steps_per_round=1)


def test_class_weights_and_smoothing_are_pytorchs() -> None:
    from avil_ray.tasks.losses import CrossEntropy

    def tasks(seed: int) -> list[avil.Task]:
        goal, other = own_tasks.pair(seed, auxiliary="dataset")
        data = {split: getattr(goal, split) for split in own_tasks.PARTS}
        return [avil.Task("goal", **data, loss=CrossEntropy(weights=(1.0, 2.0, 0.5), smoothing=0.1)), other]

    suite = own_tasks.suite(tasks, own_tasks.classifier)
    result = avil.train(suite, avil.Equal(), rounds=1, steps_per_round=4)
    inputs, labels = (torch.stack(column) for column in zip(*suite.draw(0)["goal"].test, strict=True))
    weights = torch.tensor([1.0, 2.0, 0.5])
    with torch.no_grad():
        outputs = result.model()(inputs)
    expected = F.cross_entropy(outputs, labels, weights, label_smoothing=0.1, reduction="none").mean()
    assert result.test["loss"] == pytest.approx(float(expected), rel=1e-5)
