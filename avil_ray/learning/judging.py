"""A task's figures at a given theta, computed in pieces by any process.

A question is split by rows into pieces. Each piece gives a small result, and `joined` adds the results in the order of
the pieces, so the bits do not depend on which process computed them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avil_ray.errors import one_line
from avil_ray.learning.parameters import FlatModel, Vector
from avil_ray.learning.passes import Source, forward
from avil_ray.learning.splits import pieces
from avil_ray.randomness import reseed, seeded
from avil_ray.tasks.checks import tensors_of
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.metrics import Measure, Mergeable, figure
from avil_ray.tasks.task import Task

Figures = dict[str, float]
"""A task's metrics and mean loss: {"accuracy": …, "loss": …}."""


@dataclass(frozen=True)
class Question:
    """A request for the target's figures at `theta` [P] on examples of its splits.

    Parameters
    ----------
    splits
        The splits, concatenated in this order.
    rows
        Which of their examples to use; all if not given.
    """

    splits: tuple[str, ...]
    rows: Tensor | None
    theta: Vector


@dataclass(frozen=True)
class Piece:
    """A part of a question that one worker answers.

    Parameters
    ----------
    splits, theta
        The question's.
    batches
        The rows of each batch.
    first
        The number of the first batch within the whole question; random numbers derive from it.
    """

    splits: tuple[str, ...]
    batches: tuple[Tensor, ...]
    first: int
    theta: Vector


@dataclass(frozen=True)
class Judged:
    """The result of a piece; it can be pickled whatever function a metric uses.

    Attributes
    ----------
    metrics
        Measure -> a metric updated with this piece.
    loss, count
        The sum of the losses, and the number of examples.
    finite
        Whether all outputs were finite; the metrics include only those before the first that was not.
    """

    metrics: Mapping[str, Any]
    loss: float
    count: int
    finite: bool


def divided(question: Question, source: Source, learning: Learning) -> list[Piece]:
    """The pieces of a question: one per batch, or a single one if a metric of the task cannot be merged."""
    rows = torch.arange(len(source)) if question.rows is None else question.rows
    batches = pieces(rows, learning)
    if not all(isinstance(measure.make(), Mergeable) for measure in source.task.measures):
        return [Piece(question.splits, batches, 0, question.theta)]
    return [Piece(question.splits, (batch,), number, question.theta) for number, batch in enumerate(batches)]


def judge(flat: FlatModel, source: Source, piece: Piece, learning: Learning, seed: int) -> Judged:
    """Evaluate the model at the piece's theta on its examples."""
    return judge_all(flat, source, [piece], learning, seed)[0]


def judge_all(flat: FlatModel, source: Source, asked: Sequence[Piece], learning: Learning, seed: int) -> list[Judged]:
    """The results of pieces of one question, as by `judge`; the model is loaded once."""
    flat.load(asked[0].theta)
    with seeded(seed, "evaluation"):  # saving and restoring the generators takes ten times as long as seeding them
        return [_judged(flat, source, piece, learning, seed) for piece in asked]


def _judged(flat: FlatModel, source: Source, piece: Piece, learning: Learning, seed: int) -> Judged:
    """The result of a piece at the model's current parameters."""
    where, loss, count = f"task {source.task.name!r}", 0.0, sum(map(len, piece.batches))
    made = {measure.name: measure.make() for measure in source.task.measures}
    for _, outputs, targets, part in evaluated(flat, source, piece.batches, learning, seed, piece.first):
        if not all(bool(torch.isfinite(values).all()) for _, values in tensors_of("", outputs)):
            return Judged(made, math.nan, count, False)
        loss += part
        for name, metric in made.items():
            with one_line(f"{where}: the metric {name} failed"):
                metric.update(outputs, targets)
    return Judged(made, loss, count, True)


def joined(task: Task, judged: Sequence[Judged]) -> Figures:
    """The figures of a question from its pieces, in their order.

    All are NaN if an output is not finite: such a theta ranks below any other.
    """
    if not all(one.finite for one in judged):
        return dict.fromkeys([*(measure.name for measure in task.measures), "loss"], math.nan)
    where, found = f"task {task.name!r}", {}
    for measure in task.measures:
        name = measure.name
        with one_line(f"{where}: the metric {name} failed"):
            metric = _together(measure, [one.metrics[name] for one in judged])
        found[name] = figure(metric, f"{where}: {name}")
    return {**found, "loss": sum(one.loss for one in judged) / sum(one.count for one in judged)}


def _together(measure: Measure, parts: Sequence[Any]) -> Any:
    """A metric merged from parts, which are left unchanged."""
    whole = measure.make()
    if not isinstance(whole, Mergeable):
        (only,) = parts
        return only
    for part in parts:
        whole.merge(part)
    return whole


def figures(flat: FlatModel, source: Source, rows: Tensor, learning: Learning, seed: int) -> Figures:
    """The task's metrics and mean loss on some examples at the current parameters: {"accuracy": …, "loss": …}."""
    parts = divided(Question(source.splits, rows, flat.vector()), source, learning)
    return joined(source.task, judge_all(flat, source, parts, learning, seed))


def evaluated(
    flat: FlatModel, source: Source, batches: Sequence[Tensor], learning: Learning, seed: int, first: int = 0
) -> Iterator[tuple[Tensor, Any, Any, float]]:
    """Evaluate batch by batch: yields rows, outputs and targets on the CPU, and the sum of the losses.

    It seeds the global generators for each batch without restoring them: call it inside a `seeded` block.
    """
    flat.model.eval()
    for number, part in enumerate(batches, first):
        reseed(seed, "evaluation", *source.splits, number)
        with torch.no_grad():
            batch = source.batch(part)
            outputs, targets = forward(flat, batch, learning)
            loss = float(source.task.total_loss(outputs, targets, batch.count))
        yield part, _on_cpu(outputs), batch.targets, loss


def _on_cpu(values: Any) -> Any:
    """Outputs on the CPU; floating-point outputs of another precision are converted to float32."""
    if isinstance(values, Mapping):
        return {name: _on_cpu(value) for name, value in values.items()}
    found = values.detach().cpu()
    return found.float() if found.is_floating_point() else found
