"""The dev loss along a round's deltas, without storing them as a matrix, in pieces that any process may compute.

    theta(alpha) = start + sum_i alpha_i (end_i - start)                            `Points.point`
    dL/dalpha_i  = <gradient of L at theta(alpha), end_i - start>                   `Points.slopes`

Both read start and ends once, block by block, so only one block of a delta exists at a time. The dev examples are split
into pieces. Each gives its share of the loss and of the slopes, and the shares are added in the order of the pieces, so
the bits do not depend on which process computed them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from avil_ray.learning.parameters import (
    GPU_SUM_BLOCK,
    SUM_BLOCK,
    FlatModel,
    Vector,
    backward_in_evaluation,
    dot,
    reading,
)
from avil_ray.learning.passes import Source, total_loss
from avil_ray.learning.splits import pieces
from avil_ray.randomness import reseed, seeded
from avil_ray.tasks.learning import Learning


@dataclass(frozen=True)
class Row:
    """One coefficient: it scales the delta of `ends[update]` over these slices of theta; without slices, nothing."""

    update: int
    parts: tuple[slice, ...]


@dataclass(frozen=True)
class Line:
    """Which parts of which deltas alpha scales: a small description that is cheap to send.

    Parameters
    ----------
    rows
        One for each coefficient of alpha.
    fixed
        Slices of theta taken unchanged from an update instead of from the start; rows are added to that.
    """

    rows: tuple[Row, ...]
    fixed: tuple[tuple[slice, int], ...] = ()


class _Part(NamedTuple):
    """The part of one row, or of a fixed slice (row -1), that lies in a block of theta."""

    row: int
    update: int
    where: slice


@dataclass(frozen=True)
class _Block:
    """A block of theta and the parts added to it."""

    where: slice
    fixed: list[_Part] = field(default_factory=list)
    moved: list[_Part] = field(default_factory=list)


class Points:
    """The points of a line, on one device.

    Parameters
    ----------
    line
        What alpha scales.
    start, ends
        float32 [P] each. On the CPU they are read in place, and may be read-only; a GPU gets a copy.
    device
        The device on which points are computed.
    """

    def __init__(self, line: Line, start: Vector, ends: Sequence[Vector], device: str | torch.device = "cpu") -> None:
        self._start = reading(start).to(device)
        self._ends = [reading(end).to(device) for end in ends]
        size = SUM_BLOCK if self._start.device.type == "cpu" else GPU_SUM_BLOCK
        self._blocks = _blocks(line, len(self._start), size)
        self._parts = [part for block in self._blocks for part in block.moved]
        self._room = self._start.new_empty(min(size, len(self._start)))
        self.count = len(line.rows)

    def point(self, alpha: Tensor, out: Tensor) -> None:
        """Write theta(alpha), for alpha [n], to `out` [P]. A delta with coefficient 0 is left out."""
        coefficients = alpha.to("cpu", self._start.dtype).tolist()
        for block in self._blocks:
            out[block.where].copy_(self._start[block.where])
            for _, update, where in block.fixed:
                out[where].copy_(self._ends[update][where])
            for part in block.moved:
                if coefficients[part.row]:
                    out[part.where].add_(self._delta(part), alpha=coefficients[part.row])

    def slopes(self, gradient: Tensor) -> Tensor:
        """<gradient, delta> of each row, for a gradient [P]: float64 [n], on the CPU.

        Products within a block use the vectors' own type, at memory speed, and are added in float64. Rows are
        independent of each other, so they can be distributed.
        """
        products = gradient.new_empty(len(self._parts))
        for number, part in enumerate(self._parts):
            torch.dot(self._delta(part), gradient[part.where], out=products[number])
        found = [0.0] * self.count
        for part, product in zip(self._parts, products.tolist(), strict=True):
            found[part.row] += product
        return torch.tensor(found, dtype=torch.float64)

    def lengths(self) -> Tensor:
        """The 2-norm of the delta that each coefficient scales: float64 [n], on the CPU."""
        squares = [0.0] * self.count
        for part in self._parts:
            delta = self._delta(part)
            squares[part.row] += dot(delta, delta)
        return torch.tensor(squares, dtype=torch.float64).sqrt()

    def _delta(self, part: _Part) -> Tensor:
        """The delta over a part of a block; overwritten by the next call."""
        room = self._room[: part.where.stop - part.where.start]
        return torch.sub(self._ends[part.update][part.where], self._start[part.where], out=room)


def _blocks(line: Line, size: int, step: int) -> list[_Block]:
    """Theta [size] and the parts of the line, split at multiples of `step`."""
    blocks = [_Block(where) for where in _cut(slice(0, size), step)]
    for part, update in line.fixed:
        for where in _cut(part, step):
            blocks[where.start // step].fixed.append(_Part(-1, update, where))
    for number, row in enumerate(line.rows):
        for part in row.parts:
            for where in _cut(part, step):
                blocks[where.start // step].moved.append(_Part(number, row.update, where))
    return blocks


def _cut(whole: slice, step: int) -> Iterator[slice]:
    """A slice, split at multiples of `step`."""
    edges = [whole.start, *range((whole.start // step + 1) * step, whole.stop, step), whole.stop]
    return (slice(start, stop) for start, stop in pairwise(edges) if start < stop)


@dataclass(frozen=True)
class Dev:
    """The examples on which a loss along a line is measured: rows of a source, and how to evaluate them."""

    source: Source
    rows: Tensor
    learning: Learning
    seed: int

    @cached_property
    def pieces(self) -> tuple[Tensor, ...]:
        """The rows of each piece."""
        return pieces(self.rows, self.learning)


@dataclass(frozen=True)
class Share:
    """A piece's contribution to the mean loss over all rows, and to its slopes (float64 [n]) if requested."""

    loss: float
    slopes: Tensor | None


def shares(
    flat: FlatModel, points: Points, alpha: Tensor, dev: Dev, numbers: Iterable[int], *, slope: bool
) -> list[Share]:
    """The shares of some pieces, by number, at theta(alpha); leaves the model at theta(alpha), in evaluation mode.

    Random numbers from global generators derive from the seed and the piece's number.
    """
    points.point(alpha, flat.values)
    flat.push()
    flat.model.eval()
    with seeded(dev.seed, "dev objective"), backward_in_evaluation(flat.model), torch.set_grad_enabled(slope):
        return [_share(flat, points, dev, number, slope=slope) for number in numbers]


def _share(flat: FlatModel, points: Points, dev: Dev, number: int, *, slope: bool) -> Share:
    """The share of one piece at the model's current parameters."""
    rows = dev.pieces[number]
    if slope:
        flat.zero_gradient()
    reseed(dev.seed, "dev objective", number)
    loss = total_loss(flat, dev.source.batch(rows), dev.learning) / len(dev.rows)
    if not slope:
        return Share(loss.item(), None)
    loss.backward()
    flat.pull()
    return Share(loss.item(), points.slopes(flat.gradient))


class LineLoss(AbstractContextManager["LineLoss", None]):
    """The dev loss as a function of alpha; adds the pieces in their order, whichever process computes them.

    Leaving the context releases the resources that compute them.

    Parameters
    ----------
    rows
        The number of dev examples.

    Attributes
    ----------
    examples_seen
        Number of examples passed through the model so far, including forward-only passes: the cost.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.examples_seen = 0

    @abstractmethod
    def shares(self, alpha: Tensor, *, slope: bool) -> Sequence[Share]:
        """What each piece gives at theta(alpha), in the order of the pieces."""

    def evaluate(self, alpha: Tensor) -> tuple[float, Tensor]:
        """The loss at theta(alpha), for alpha [n], and its slope float64 [n]."""
        self.examples_seen += self._rows
        loss, slope = 0.0, torch.zeros(len(alpha), dtype=torch.float64)
        for share in self.shares(alpha, slope=True):
            assert share.slopes is not None
            loss, slope = loss + share.loss, slope + share.slopes
        return loss, slope

    def loss(self, alpha: Tensor) -> float:
        """The loss at theta(alpha) alone: forward only, but counted in full."""
        self.examples_seen += self._rows
        loss = 0.0
        for share in self.shares(alpha, slope=False):
            loss += share.loss
        return loss


class LocalLine(LineLoss):
    """Computed in this process, a piece after another, by one model."""

    def __init__(self, flat: FlatModel, points: Points, dev: Dev) -> None:
        super().__init__(len(dev.rows))
        self._flat, self._points, self._dev = flat, points, dev

    def shares(self, alpha: Tensor, *, slope: bool) -> list[Share]:
        """What each piece gives at theta(alpha), in the order of the pieces."""
        return shares(self._flat, self._points, alpha, self._dev, range(len(self._dev.pieces)), slope=slope)

    def __exit__(self, *_: object) -> None:
        """Nothing is held but the model, which is the caller's."""
