"""The optimizers of alpha. Each evaluates points through a `Walk`, which records them, from its last one on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from avil_ray.methods.quasi_newton import Floats, Point, minimise

AlphaOptimizer = Literal["adam", "lbfgs", "sgd"]

ADAM_RATE = 0.4
"""Adam's default step size, in units of 1/n."""

DEFAULT_STEPS: dict[str, int] = {"adam": 10, "lbfgs": 50, "sgd": 10}

Evaluate = Callable[[Tensor], tuple[float, Tensor]]
"""Alpha float64 [n] -> the loss there and its slope float64 [n]."""


class NotFinite(Exception):
    """The objective, its gradient or alpha itself is not finite: the optimizer stops."""


@dataclass(frozen=True)
class Seen:
    """A point on the line: alpha float64 [n], the loss there, and its slope float64 [n]."""

    alpha: Tensor
    loss: float
    slope: Tensor


@dataclass
class Walk:
    """The loss along the deltas as a function of alpha; it records every point evaluated.

    Parameters
    ----------
    evaluate
        Alpha -> the loss and its slope.
    lengths
        The deltas' norms, float64 [n]: the scales of the coordinates in which lbfgs works.
    precision
        The type in which points and their losses are computed.
    """

    evaluate: Evaluate
    lengths: Tensor
    precision: torch.dtype
    evaluations: int = 0
    seen: list[Seen] = field(default_factory=list)
    finite: bool = True

    def __call__(self, alpha: Tensor) -> Seen:
        """The loss and its slope at alpha float64 [n]. Raises `NotFinite`."""
        finite = bool(torch.isfinite(alpha.to(self.precision)).all())
        if finite:
            loss, slope = self.evaluate(alpha)
            self.evaluations += 1
            finite = math.isfinite(loss) and bool(torch.isfinite(slope).all())
        if not finite:
            self.finite = False
            raise NotFinite
        self.seen.append(Seen(alpha.clone(), loss, slope))
        return self.seen[-1]


@dataclass(frozen=True)
class Bounds:
    """Bounds on alpha: float64 [n] each, infinite if there is none."""

    lower: Tensor
    upper: Tensor

    def project(self, alpha: Tensor) -> Tensor:
        """The nearest alpha inside the bounds."""
        return torch.minimum(torch.maximum(alpha, self.lower), self.upper)


def _adam(line: Walk, bounds: Bounds, steps: int, rate: float | None) -> None:
    """Projected Adam on b = n * alpha (Kingma and Ba 2015, with the box of the recipe)."""
    point = line.seen[-1]
    scale, rate, first, second = 1 / len(point.alpha), ADAM_RATE if rate is None else rate, 0.9, 0.99
    mean, square = torch.zeros_like(point.slope), torch.zeros_like(point.slope)
    for step in range(1, steps + 1):
        gradient = point.slope * scale
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        move = (mean / (1 - first**step)) / ((square / (1 - second**step)).sqrt() + 1e-12)
        point = line(bounds.project(point.alpha - scale * rate * move))


def _sgd(line: Walk, bounds: Bounds, steps: int, rate: float | None) -> None:
    """Gradient descent with momentum on alpha, as in the paper."""
    point = line.seen[-1]
    velocity = torch.zeros_like(point.slope)
    for _ in range(steps):
        velocity = 0.5 * velocity + point.slope
        point = line(bounds.project(point.alpha - (0.005 if rate is None else rate) * velocity))


def _lbfgs(line: Walk, bounds: Bounds, steps: int, rate: float | None) -> None:
    """Quasi-Newton on beta_i = alpha_i * |delta_i|, as deltas of very different lengths would hurt the conditioning."""
    lengths = torch.where(line.lengths > 0, line.lengths, torch.ones_like(line.lengths))

    def scaled(seen: Seen) -> Point:
        return Point((seen.alpha * lengths).numpy(), seen.loss, (seen.slope / lengths).numpy())

    def evaluate(beta: Floats) -> Point:
        return scaled(line(bounds.project(torch.from_numpy(beta) / lengths)))

    lower, upper = (bounds.lower * lengths).numpy(), (bounds.upper * lengths).numpy()
    minimise(evaluate, [scaled(seen) for seen in line.seen], lower, upper, steps, torch.finfo(line.precision).eps)


Optimizer = Callable[[Walk, Bounds, int, float | None], None]
OPTIMIZERS: dict[str, Optimizer] = {"adam": _adam, "lbfgs": _lbfgs, "sgd": _sgd}
"""Name -> optimizer: a function that evaluates points through a walk, starting from its last one."""
