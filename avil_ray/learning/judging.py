"""A task's figures at some theta, in pieces that any process may compute.

A question is cut into pieces of its rows; each comes to a small result, and `joined` adds those in the order of the
pieces: the bits do not depend on who computed them.
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
    """What the target's figures are at `theta` [P], on examples of its splits.

    Parameters
    ----------
    splits
        The splits, one after the other.
    rows
        Which of their examples; all of them where not given.
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
        The number of the first batch in the whole question: random numbers derive from it.
    """

    splits: tuple[str, ...]
    batches: tuple[Tensor, ...]
    first: int
    theta: Vector


@dataclass(frozen=True)
class Judged:
    """What a piece has come to; `pickle` takes it, whatever function a metric is of.

    Attributes
    ----------
    metrics
        Measure -> a metric that has seen this piece.
    loss, count
        The sum of the losses, and of how many examples.
    finite
        Whether all outputs were; the metrics have seen only those before the first that was not.
    """

    metrics: Mapping[str, Any]
    loss: float
    count: int
    finite: bool


def divided(question: Question, source: Source, learning: Learning) -> list[Piece]:
    """The pieces of a question, one a batch; a single one where a metric of the task cannot be merged."""
    rows = torch.arange(len(source)) if question.rows is None else question.rows
    batches = pieces(rows, learning)
    if not all(isinstance(measure.make(), Mergeable) for measure in source.task.measures):
        return [Piece(question.splits, batches, 0, question.theta)]
    return [Piece(question.splits, (batch,), number, question.theta) for number, batch in enumerate(batches)]


def judge(flat: FlatModel, source: Source, piece: Piece, learning: Learning, seed: int) -> Judged:
    """Evaluate the model at the piece's theta on its examples."""
    return judge_all(flat, source, [piece], learning, seed)[0]


def judge_all(flat: FlatModel, source: Source, asked: Sequence[Piece], learning: Learning, seed: int) -> list[Judged]:
    """What pieces of one question come to, as of `judge`; the model is loaded once."""
    flat.load(asked[0].theta)
    with seeded(seed, "evaluation"):  # to save and restore the generators takes ten times as long as to seed them
        return [_judged(flat, source, piece, learning, seed) for piece in asked]


def _judged(flat: FlatModel, source: Source, piece: Piece, learning: Learning, seed: int) -> Judged:
    """What a piece comes to, where the model stands."""
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

    All are NaN where an output is not finite: such a theta is worse than any other.
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
    """A metric that has seen what its parts have, which stay as they are."""
    whole = measure.make()
    if not isinstance(whole, Mergeable):
        (only,) = parts
        return only
    for part in parts:
        whole.merge(part)
    return whole


def figures(flat: FlatModel, source: Source, rows: Tensor, learning: Learning, seed: int) -> Figures:
    """The task's metrics and mean loss on some examples, at the model's parameters: {"accuracy": …, "loss": …}."""
    parts = divided(Question(source.splits, rows, flat.vector()), source, learning)
    return joined(source.task, judge_all(flat, source, parts, learning, seed))


def evaluated(
    flat: FlatModel, source: Source, batches: Sequence[Tensor], learning: Learning, seed: int, first: int = 0
) -> Iterator[tuple[Tensor, Any, Any, float]]:
    """Batch by batch, in evaluation mode: rows, outputs and targets on the CPU, and the sum of the losses.

    It seeds the global generators for each batch, for good: inside a `seeded` block.
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
    """Outputs on the CPU, in float32 where they are floating-point numbers of another precision."""
    if isinstance(values, Mapping):
        return {name: _on_cpu(value) for name, value in values.items()}
    found = values.detach().cpu()
    return found.float() if found.is_floating_point() else found
