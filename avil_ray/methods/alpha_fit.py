"""Fit alpha: the coefficients of the deltas at which the target's dev loss is lowest.

    minimise over alpha   L(theta + sum_j alpha_j delta_j)
    dL/dalpha_i = <grad L, delta_i>                             (exact: deltas are constants)

One evaluation is one forward and backward pass of the objective and two passes over the [n, P] matrix of deltas: no
autograd graph goes through the sum. Source: arXiv 2405.07769; the derivative is elementary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.learning.evaluation import Objective
from avil_ray.learning.parameters import dot, dots
from avil_ray.methods.quasi_newton import Floats, Point, minimise

AlphaOptimizer = Literal["adam", "lbfgs", "sgd"]

ADAM_RATE = 0.4
"""Adam's usual step, in units of 1/n."""

DEFAULT_STEPS: dict[str, int] = {"adam": 10, "lbfgs": 50, "sgd": 10}


@dataclass(frozen=True)
class AlphaFit:
    """What a fit found.

    Attributes
    ----------
    alpha
        float64 [n], finite.
    loss_before, loss_start, loss_after
        The loss at alpha = 0, at the start of the fit, and at `alpha`. Not finite where the objective was not.
    evaluations
        Calls of the objective.
    converged
        False where the objective was not finite somewhere on the way: the optimizer stopped there, and `alpha` is the
        last finite point (with the safeguard the best one).
    accepted
        False where `alpha` is 0, the step not taken, although the fit did not start there: no point was as good.
    """

    alpha: Tensor
    loss_before: float
    loss_start: float
    loss_after: float
    evaluations: int
    converged: bool
    accepted: bool = True


class _NotFinite(Exception):
    """The objective, its gradient or alpha itself is not finite: the optimizer stops."""


@dataclass(frozen=True)
class _Seen:
    """A point on the line: alpha float64 [n], the loss there, and its slope float64 [n]."""

    alpha: Tensor
    loss: float
    slope: Tensor


@dataclass
class _Line:
    """The loss along the deltas as a function of alpha, remembering what it has seen."""

    objective: Objective
    theta: Tensor
    deltas: Tensor
    moved: Tensor
    evaluations: int = 0
    seen: list[_Seen] = field(default_factory=list)
    finite: bool = True

    def __call__(self, alpha: Tensor) -> _Seen:
        """The loss and its slope at alpha float64 [n]. Raises `_NotFinite`."""
        coefficients = alpha.to(self.deltas)
        finite = bool(torch.isfinite(coefficients).all())
        if finite:
            torch.addmv(self.theta, self.deltas.T, coefficients, out=self.moved)
            loss, gradient = self.objective(self.moved)
            self.evaluations += 1
            slope = dots(self.deltas, gradient)
            finite = math.isfinite(loss) and bool(torch.isfinite(slope).all())
        if not finite:
            self.finite = False
            raise _NotFinite
        self.seen.append(_Seen(alpha.clone(), loss, slope))
        return self.seen[-1]


def _best(seen: Sequence[_Seen]) -> _Seen:
    """The lowest loss; the later one of equals, as alpha = 0 comes first."""
    return min(reversed(seen), key=lambda point: point.loss)


def fit_alpha(
    objective: Objective,
    theta: Tensor,
    deltas: Tensor,
    *,
    optimizer: AlphaOptimizer = "adam",
    initial: Tensor | None = None,
    lower: float | Tensor | None = None,
    upper: float | Tensor | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    safeguard: bool = True,
) -> AlphaFit:
    """Minimise `objective(theta + sum_i alpha_i * deltas[i])` over alpha.

    Parameters
    ----------
    objective
        theta [P] -> (loss, gradient [P]). It may overwrite its gradient at the next call. If it has an attribute
        `buffer` (a tensor like theta), the trial points are written there, which saves a vector of P numbers.
    theta, deltas
        [P] and [n, P], of one type and on one device; neither is changed.
    optimizer
        `adam`: projected Adam (betas .9, .99) on b = n * alpha, so that one step size serves any number of tasks.
        `lbfgs`: a quasi-Newton method that remembers everything (`quasi_newton.minimise`), on coordinates scaled by the
        deltas' norms. `sgd`: gradient descent with momentum .5 on alpha itself, as the paper has it.
    initial
        float [n]; 1/n each where not given.
    lower, upper
        Bounds on alpha, one number or [n]; none where not given. The start is projected into them.
    steps
        Most steps of the optimizer, each one evaluation; 10 for adam and sgd, 50 for lbfgs.
    learning_rate
        Step size of adam (0.4, in units of 1/n) and of sgd (0.005, in alpha); lbfgs has none.
    safeguard
        Return the best point seen; where none is as good as alpha = 0, try ½/n and ¼/n for all, else return alpha = 0
        (also where the bounds leave it out: it is the step not taken). Without the safeguard adam and sgd return their
        last point, as in the paper, and lbfgs its best.

    Raises
    ------
    UserError
        Where shapes, types, bounds or names do not fit. A loss that is not finite raises nothing: see
        `AlphaFit.converged`.
    """
    start, bounds = _checked(theta, deltas, optimizer, initial, lower, upper)
    line = _Line(objective, theta.detach(), deltas.detach(), _room(objective, theta))
    loss_before = loss_start = math.nan
    try:
        loss_before = line(torch.zeros_like(start)).loss
        loss_start = line(start).loss
        _OPTIMIZERS[optimizer](line, bounds, DEFAULT_STEPS[optimizer] if steps is None else steps, learning_rate)
    except _NotFinite:
        pass  # the line has noted it, and remembers the points before
    if safeguard and line.seen:
        _try_smaller(line, bounds)
    found = _chosen(line, optimizer, safeguard)
    accepted = bool((found.alpha != 0).any()) or not bool((start != 0).any())
    return AlphaFit(found.alpha, loss_before, loss_start, found.loss, line.evaluations, line.finite, accepted)


def _room(objective: Objective, theta: Tensor) -> Tensor:
    """Where trial points are written: the objective's own buffer, unless it has none or theta stands in it."""
    buffer = getattr(objective, "buffer", None)
    if isinstance(buffer, Tensor) and buffer.data_ptr() != theta.data_ptr():
        return buffer
    return torch.empty_like(theta)


def _chosen(line: _Line, optimizer: str, safeguard: bool) -> _Seen:
    """The best point with the safeguard; else the optimizer's own: its last, of lbfgs its best."""
    zero = torch.zeros(len(line.deltas), dtype=torch.float64)
    seen = line.seen or [_Seen(zero, math.nan, zero)]
    if safeguard:
        return _best(seen)
    own = seen[1:] or seen
    return _best(own) if optimizer == "lbfgs" else own[-1]


def _try_smaller(line: _Line, bounds: _Bounds) -> None:
    """Where no point is as good as alpha = 0: a smaller common step, and then a smaller one still."""
    before = line.seen[0]
    for share in (0.5, 0.25):
        if any(point.loss <= before.loss for point in line.seen[1:]):
            break
        with suppress(_NotFinite):
            line(bounds.project(torch.full_like(before.alpha, share / len(before.alpha))))


@dataclass(frozen=True)
class _Bounds:
    """A box for alpha: float64 [n] each, infinite where there is none."""

    lower: Tensor
    upper: Tensor

    def project(self, alpha: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(alpha, self.lower), self.upper)


def _checked(
    theta: Tensor,
    deltas: Tensor,
    optimizer: str,
    initial: Tensor | None,
    lower: float | Tensor | None,
    upper: float | Tensor | None,
) -> tuple[Tensor, _Bounds]:
    """The start, inside the bounds, and the bounds."""
    if optimizer not in _OPTIMIZERS:
        raise UserError(f"fit_alpha: optimizer must be one of {', '.join(_OPTIMIZERS)}, not {optimizer!r}")
    if theta.ndim != 1 or deltas.ndim != 2 or deltas.shape[1] != len(theta) or len(deltas) == 0:
        shapes = f"{tuple(theta.shape)} and {tuple(deltas.shape)}"
        raise UserError(f"fit_alpha: theta must be [P] and deltas [n, P] with n at least 1, not {shapes}")
    if theta.dtype != deltas.dtype or theta.device != deltas.device:
        kinds = f"{theta.dtype} on {theta.device} and {deltas.dtype} on {deltas.device}"
        raise UserError(f"fit_alpha: theta and deltas must be of one type and on one device, not {kinds}")
    count = len(deltas)

    def vector(name: str, value: float | Tensor | None, default: float) -> Tensor:
        given = torch.as_tensor(default if value is None else value, dtype=torch.float64, device="cpu").detach()
        if given.shape not in ((), (count,)):
            raise UserError(f"fit_alpha: {name} must be one number or [{count}], not {tuple(given.shape)}")
        return given.expand(count).clone()

    bounds = _Bounds(vector("lower", lower, -math.inf), vector("upper", upper, math.inf))
    if not bool((bounds.lower <= bounds.upper).all()):
        raise UserError("fit_alpha: a lower bound lies above its upper bound, or is not a number")
    start = bounds.project(vector("initial", initial, 1 / count))
    if not bool(torch.isfinite(start).all()):
        raise UserError("fit_alpha: initial must be finite")
    return start, bounds


def _adam(line: _Line, bounds: _Bounds, steps: int, rate: float | None) -> None:
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


def _sgd(line: _Line, bounds: _Bounds, steps: int, rate: float | None) -> None:
    """Gradient descent with momentum on alpha, as in the paper."""
    point = line.seen[-1]
    velocity = torch.zeros_like(point.slope)
    for _ in range(steps):
        velocity = 0.5 * velocity + point.slope
        point = line(bounds.project(point.alpha - (0.005 if rate is None else rate) * velocity))


def _lbfgs(line: _Line, bounds: _Bounds, steps: int, rate: float | None) -> None:
    """Quasi-Newton on beta_i = alpha_i * |delta_i|: deltas of very different lengths would make the problem worse."""
    norms = torch.tensor([math.sqrt(dot(delta, delta)) for delta in line.deltas], dtype=torch.float64)
    lengths = torch.where(norms > 0, norms, torch.ones_like(norms))

    def scaled(seen: _Seen) -> Point:
        return Point((seen.alpha * lengths).numpy(), seen.loss, (seen.slope / lengths).numpy())

    def evaluate(beta: Floats) -> Point:
        return scaled(line(bounds.project(torch.from_numpy(beta) / lengths)))

    lower, upper = (bounds.lower * lengths).numpy(), (bounds.upper * lengths).numpy()
    minimise(evaluate, [scaled(seen) for seen in line.seen], lower, upper, steps, torch.finfo(line.theta.dtype).eps)


_Optimizer = Callable[[_Line, _Bounds, int, float | None], None]
_OPTIMIZERS: dict[str, _Optimizer] = {"adam": _adam, "lbfgs": _lbfgs, "sgd": _sgd}
"""name -> a function that evaluates points of the line, from the last one seen on; the line remembers them all."""
