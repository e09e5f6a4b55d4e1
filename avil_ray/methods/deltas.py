"""The deltas of a round on the driver, block by block: which are finite, what alpha scales, norms and cosines."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from avil_ray.learning.assignment import Update
from avil_ray.learning.line import Line, Row
from avil_ray.learning.parameters import SUM_BLOCK, ParameterSpace, Vector, dot, reading

log = logging.getLogger(__name__)


def sound(start: Vector, updates: Sequence[Update]) -> list[bool]:
    """Whether each update's delta is finite; one that is not counts as a step of zero, and is logged."""
    found = []
    for update in updates:
        parts = differences(start, update.theta, slice(0, len(start)))
        found.append(all(bool(torch.isfinite(part).all()) for part in parts))
        if not found[-1]:
            why = f": {update.trouble.text}" if update.trouble else ""
            log.warning("the update of task %r is not finite; it is dropped from this round%s", update.assignment, why)
    return found


def line_of(
    space: ParameterSpace, tasks: Sequence[str], used: Sequence[bool], target: str, *, full_heads: bool, layers: bool
) -> Line:
    """What alpha scales: each task's delta or, with `layers`, each task's delta of each layer, grouped by task.

    It does not scale buffers (BatchNorm's running statistics), which are taken from the target's own training, nor,
    with `full_heads`, the heads of auxiliaries, which take their full delta. The delta of a task that is not `used` is
    ignored.
    """
    whole = list(space.layers.values()) if layers else [space.parameters]
    rows, fixed = [], []
    for update, (task, uses) in enumerate(zip(tasks, used, strict=True)):
        own = space.buffers if task == target else space.head(task) if full_heads else slice(0, 0)
        if uses:
            fixed.append((own, update))
        rows += [Row(update, _without(part, own) if uses else ()) for part in whole]
    return Line(tuple(rows), tuple(fixed))


def _without(whole: slice, hole: slice) -> tuple[slice, ...]:
    """The parts of a slice outside a hole in it."""
    parts = slice(whole.start, min(whole.stop, hole.start)), slice(max(whole.start, hole.stop), whole.stop)
    return tuple(part for part in parts if part.start < part.stop)


def geometry(
    start: Vector, updates: Sequence[Update], used: Sequence[bool], parameters: slice, target: str
) -> dict[str, float]:
    """Norms of the deltas over the parameters and their cosines with the target's; 0 for a delta that is not used."""
    thetas = {update.assignment: update.theta if uses else start for update, uses in zip(updates, used, strict=True)}
    squares = dict.fromkeys(thetas, 0.0)
    products = dict.fromkeys(thetas, 0.0)
    for task, theta in thetas.items():
        own = differences(start, thetas[target], parameters)
        for delta, other in zip(differences(start, theta, parameters), own, strict=True):
            squares[task] += dot(delta, delta)
            products[task] += dot(delta, other)
    norms = {f"delta_norm/{task}": math.sqrt(square) for task, square in squares.items()}
    lengths = {task: math.sqrt(square * squares[target]) for task, square in squares.items()}
    cosines = {task: products[task] / length if length else 0.0 for task, length in lengths.items()}
    return norms | {f"cosine/{task}": cosine for task, cosine in cosines.items()}


def differences(start: Vector, end: Vector, where: slice) -> Iterator[Tensor]:
    """`end - start` over a slice of theta, block by block; each block is overwritten by the next."""
    first, last = reading(start)[where], reading(end)[where]
    room = torch.empty(min(SUM_BLOCK, len(first)))
    for one, other in zip(first.split(SUM_BLOCK), last.split(SUM_BLOCK), strict=True):
        yield torch.sub(other, one, out=room[: len(one)])
