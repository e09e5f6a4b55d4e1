"""Figures from pieces: the same bits whoever computes which, and metrics that cannot be divided are not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
import torchmetrics
from sharing import Sharing, Worker
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.evaluation import Target
from avil_ray.learning.judging import Piece, Question, divided, figures, joined, judge, judge_all
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.passes import Source
from avil_ray.randomness import seeded

SEED, BATCH = 3, 7


class Noise(nn.Module):
    """Adds what it draws, in evaluation too."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + torch.randn(inputs.shape)


def noisy() -> nn.Module:
    return nn.Sequential(nn.Linear(small.WIDTH, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Tanh(), Noise())


class Widest:
    """The largest output; it cannot be divided, and remembers the batches that it has seen."""

    def __init__(self) -> None:
        self.reset()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.value = max(self.value, float(outputs.max()))
        self.seen.append(targets)

    def compute(self) -> float:
        return self.value

    def reset(self) -> None:
        self.value, self.seen = -math.inf, []


class Broken(Widest):
    """Claims that it can be divided."""

    def merge(self, other: object) -> None:
        raise ZeroDivisionError


def suite_of(trunk: object = noisy, *, regression: bool = False, also: Sequence[object] = ()) -> avil.Suite:
    """The small suite; the target is judged by further metrics."""
    suite = small.small_suite(trunk, regression=regression, evaluation_batch=BATCH)

    def tasks(seed: int) -> list[avil.Task]:
        goal, *others = suite.tasks(seed)
        return [dataclasses.replace(goal, also=list(also)), *others]

    return dataclasses.replace(suite, tasks=tasks)


def correlation(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([outputs.flatten(), targets.flatten()]))[0, 1]


def by_classes() -> avil.Suite:
    return suite_of(also=["f1_macro", "mcc", lambda outputs, targets: (outputs.logsumexp(1) - targets).mean()])


def by_numbers() -> avil.Suite:
    return suite_of(regression=True, also=["rmse", "mae", "r2", "pearson_and_spearman", correlation])


def parts_of(suite: avil.Suite, theta: np.ndarray, split: str = "select") -> tuple[Worker, list[Piece]]:
    worker = Worker(suite, SEED)
    return worker, divided(Question((split,), None, theta), Source(worker.task, split), suite.learning)


@pytest.mark.parametrize("make", [by_classes, by_numbers])
@pytest.mark.parametrize(("workers", "order"), [(1, 0), (2, 1), (3, 2), (9, 3)])
def test_figures_have_the_same_bits_however_pieces_are_distributed(make: object, workers: int, order: int) -> None:
    suite = make()
    alone, shared = (Target(suite, suite.draw(SEED), SEED) for _ in range(2))
    shared.evaluator = Sharing(suite, SEED, workers, order)
    theta = alone.flat.vector()
    questions = [
        Question(("select",), None, theta),
        Question(("train", "dev"), torch.arange(3, 60, 2), theta * np.float32(1.5)),
        Question(("select",), None, theta * np.float32(0.5)),
    ]
    expected = alone.answer(questions)
    assert shared.answer(questions) == expected
    assert [alone.answer([one])[0] for one in reversed(questions)] == expected[::-1]
    assert len({found["loss"] for found in expected}) == 3
    assert all(math.isfinite(value) for found in expected for value in found.values())


def test_random_numbers_of_a_piece_depend_only_on_seed_splits_and_number() -> None:
    """The loss against a model whose noise is drawn by hand."""
    suite, theta = by_classes(), initial_model(by_classes(), SEED).vector()
    worker, parts = parts_of(suite, theta)
    before = torch.get_rng_state()
    found = joined(worker.task, [worker.judge(part) for part in reversed(parts)][::-1])
    assert torch.equal(torch.get_rng_state(), before)
    model, select = small.load(suite.model(), theta).eval(), worker.task.select
    losses = []
    for number, rows in enumerate(torch.arange(len(select)).tensor_split(len(parts))):
        with seeded(SEED, "evaluation", "select", number), torch.no_grad():
            losses.append(F.cross_entropy(model(select.inputs[rows], "left"), select.labels[rows], reduction="none"))
    assert found["loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-6)
    assert found == figures(worker.flat, Source(worker.task, "select"), torch.arange(30), suite.learning, SEED)


def test_each_piece_is_one_numbered_batch() -> None:
    _, parts = parts_of(by_classes(), np.zeros(1, np.float32))
    assert [[len(rows) for rows in part.batches] for part in parts] == [[6]] * 5
    assert [part.first for part in parts] == list(range(5))
    assert torch.equal(torch.cat([part.batches[0] for part in parts]), torch.arange(30))


@pytest.mark.parametrize(
    "metric",
    [Widest(), torchmetrics.classification.MulticlassAccuracy(3, average="micro")],
    ids=["own", "torchmetrics"],
)
def test_a_metric_that_cannot_be_merged_sees_all_batches_in_order(metric: object) -> None:
    suite = suite_of(also=[metric])
    theta = initial_model(suite, SEED).vector()
    worker, (part,) = parts_of(suite, theta)
    assert [len(rows) for rows in part.batches] == [6] * 5
    assert part.first == 0
    judged = worker.judge(part)
    found = joined(worker.task, [judged])
    cut = Target(suite_of(), suite_of().draw(SEED), SEED).evaluate("select", theta)
    assert (found["accuracy"], found["loss"]) == (cut["accuracy"], pytest.approx(cut["loss"], rel=1e-12))
    if isinstance(metric, Widest):
        assert torch.equal(torch.cat(judged.metrics["Widest"].seen), worker.task.select.labels)
    else:
        assert found["MulticlassAccuracy"] == pytest.approx(found["accuracy"])
    shared = Target(suite, suite.draw(SEED), SEED)
    shared.evaluator = Sharing(suite, SEED)
    assert shared.evaluate("select", theta) == found


def test_pieces_are_not_changed_when_joined() -> None:
    suite = by_numbers()
    worker, parts = parts_of(suite, initial_model(suite, SEED).vector())
    judged = judge_all(worker.flat, Source(worker.task, "select"), parts, suite.learning, SEED)
    assert joined(worker.task, judged) == joined(worker.task, judged)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_output_that_is_not_finite_makes_all_figures_nan(place: int) -> None:
    suite = by_classes()
    worker, parts = parts_of(suite, initial_model(suite, SEED).vector())
    broken = dataclasses.replace(parts[place], theta=np.full_like(parts[place].theta, np.nan))
    judged = [worker.judge(broken if number == place else part) for number, part in enumerate(parts)]
    assert [one.finite for one in judged] == [number != place for number in range(5)]
    found = joined(worker.task, judged)
    assert set(found) == {"accuracy", "f1_macro", "mcc", "_lambda_", "loss"}
    assert all(math.isnan(value) for value in found.values())


def test_a_metric_whose_merge_fails_is_one_line() -> None:
    suite = suite_of(also=[Broken()])
    worker, parts = parts_of(suite, initial_model(suite, SEED).vector())
    with pytest.raises(UserError, match=r"^task 'left': the metric Broken failed: ZeroDivisionError:"):
        joined(worker.task, [worker.judge(part) for part in parts])


def test_the_model_is_reloaded_for_each_question() -> None:
    suite = suite_of(small.plain)
    worker, parts = parts_of(suite, initial_model(suite, SEED).vector())
    first = judge(worker.flat, Source(worker.task, "select"), parts[0], suite.learning, SEED)
    worker.flat.load(np.zeros_like(parts[0].theta))
    assert judge(worker.flat, Source(worker.task, "select"), parts[0], suite.learning, SEED).loss == first.loss
