"""Fit alpha: the coefficients of the deltas at which the target's dev loss is lowest.

    minimise over alpha   L(theta + sum_j alpha_j delta_j)          dL/dalpha_i = <grad L, delta_i>   (exact: deltas are constants)

One evaluation is one forward and backward pass of the objective and two passes over the [n, P] matrix of deltas: no
autograd graph goes through the sum. Source: arXiv 2405.07769; the derivative is elementary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from scipy.optimize import minimize
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.learning.evaluation import Objective
from avil_ray.learning.parameters import dot, dots

AlphaOptimizer = Literal["adam", "lbfgs", "sgd"]

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
        False where the objective was not finite somewhere on the way; `alpha` is then the best finite point before that.
    accepted
        False where no point was as good as alpha = 0 and the safeguard therefore turned the whole step down.
    """

    alpha: Tensor
    loss_before: float
    loss_start: float
    loss_after: float
    evaluations: int
    converged: bool
    accepted: bool = True


class _NotFinite(Exception):
    """The objective or its gradient is not finite: the fit stops at the best point so far."""


@dataclass
class _Line:
    """The loss along the deltas as a function of alpha, remembering what it has seen."""

    objective: Objective
    theta: Tensor
    deltas: Tensor
    moved: Tensor
    evaluations: int = 0
    seen: list[tuple[float, Tensor]] = field(default_factory=list)

    def __call__(self, alpha: Tensor) -> tuple[float, Tensor]:
        """Alpha float64 [n] -> (loss, gradient float64 [n]). Raises `_NotFinite`."""
        coefficients = alpha.to(self.deltas)
        torch.addmv(self.theta, self.deltas.T, coefficients, out=self.moved)
        loss, gradient = self.objective(self.moved)
        self.evaluations += 1
        slope = dots(self.deltas, gradient)
        if not (math.isfinite(loss) and bool(torch.isfinite(slope).all())):
            raise _NotFinite
        self.seen.append((loss, alpha.clone()))
        return loss, slope


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
        theta [P] -> (loss, gradient [P]). It may overwrite its gradient at the next call. If it has an attribute `buffer`
        (a tensor like theta), the trial points are written there, which saves a vector of P numbers.
    theta, deltas
        [P] and [n, P], of one type and on one device; neither is changed.
    optimizer
        `adam`: projected Adam (betas .9, .99) on b = n * alpha, so that one step size serves any number of tasks.
        `lbfgs`: L-BFGS-B (SciPy) on coordinates scaled by the deltas' norms. `sgd`: gradient descent with momentum .5 on
        alpha itself, as the paper has it.
    initial
        float [n]; 1/n each where not given.
    lower, upper
        Bounds on alpha, one number or [n]; none where not given.
    steps
        Most steps of the optimizer (of `lbfgs`: evaluations); 10 for adam and sgd, 50 for lbfgs.
    learning_rate
        Step size of adam (0.4, in units of 1/n) and of sgd (0.005, in alpha).
    safeguard
        Return the best point seen; where none is as good as alpha = 0, try ½/n and ¼/n for all, else alpha = 0. Without
        it the last point is returned, as in the paper.

    Raises
    ------
    UserError
        Where shapes, bounds or names do not fit. A loss that is not finite raises nothing: see `AlphaFit.converged`.
    """
    start, bounds = _checked(theta, deltas, optimizer, initial, lower, upper)
    moved = getattr(objective, "buffer", None)
    line = _Line(objective, theta, deltas, torch.empty_like(theta) if moved is None else moved)
    zero = torch.zeros_like(start)
    loss_before = loss_start = math.nan
    alpha, converged = zero, True
    try:
        loss_before, _ = line(zero)
        loss_start, slope = line(start)
        budget = DEFAULT_STEPS[optimizer] if steps is None else steps
        alpha = _OPTIMIZERS[optimizer](line, start, slope, bounds, budget, learning_rate)
    except _NotFinite:
        converged = False
        alpha = _best(line)[1] if line.seen else zero
    if safeguard and line.seen:
        alpha = _safeguarded(line, bounds, loss_before)
    losses = [loss for loss, point in line.seen if torch.equal(point, alpha)]
    accepted = bool((alpha != 0).any()) or not bool((start != 0).any())
    return AlphaFit(
        alpha, loss_before, loss_start, losses[-1] if losses else math.nan, line.evaluations, converged, accepted
    )


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
    if optimizer not in _OPTIMIZERS:
        raise UserError(f"fit_alpha: optimizer must be one of {', '.join(_OPTIMIZERS)}, not {optimizer!r}")
    if theta.ndim != 1 or deltas.ndim != 2 or deltas.shape[1] != len(theta) or len(deltas) == 0:
        shapes = f"{tuple(theta.shape)} and {tuple(deltas.shape)}"
        raise UserError(f"fit_alpha: theta must be [P] and deltas [n, P] with n at least 1, not {shapes}")
    count = len(deltas)

    def vector(value: float | Tensor | None, default: float) -> Tensor:
        filled = torch.as_tensor(default if value is None else value, dtype=torch.float64)
        return filled.cpu().expand(count).clone()

    bounds = _Bounds(vector(lower, -math.inf), vector(upper, math.inf))
    if bool((bounds.lower > bounds.upper).any()):
        raise UserError("fit_alpha: a lower bound lies above its upper bound")
    return bounds.project(vector(initial, 1 / count)), bounds


def _adam(line: _Line, alpha: Tensor, slope: Tensor, bounds: _Bounds, steps: int, rate: float | None) -> Tensor:
    """Projected Adam on b = n * alpha (Kingma and Ba 2015, with the box of the recipe)."""
    scale, rate, first, second = 1 / len(alpha), 0.4 if rate is None else rate, 0.9, 0.99
    mean, square = torch.zeros_like(alpha), torch.zeros_like(alpha)
    for step in range(1, steps + 1):
        gradient = slope * scale
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        move = (mean / (1 - first**step)) / ((square / (1 - second**step)).sqrt() + 1e-12)
        alpha = bounds.project(alpha - scale * rate * move)
        _, slope = line(alpha)
    return alpha


def _sgd(line: _Line, alpha: Tensor, slope: Tensor, bounds: _Bounds, steps: int, rate: float | None) -> Tensor:
    """Gradient descent with momentum on alpha, as in the paper."""
    velocity = torch.zeros_like(alpha)
    for _ in range(steps):
        velocity = 0.5 * velocity + slope
        alpha = bounds.project(alpha - (0.005 if rate is None else rate) * velocity)
        _, slope = line(alpha)
    return alpha


def _lbfgs(line: _Line, alpha: Tensor, slope: Tensor, bounds: _Bounds, steps: int, rate: float | None) -> Tensor:
    """L-BFGS-B on beta_i = alpha_i * |delta_i|, with the loss scaled so that the first slope has length 1.

    Deltas of very different lengths would otherwise make the problem ill-conditioned before it starts.
    """
    norms = torch.tensor([math.sqrt(dot(delta, delta)) for delta in line.deltas], dtype=torch.float64)
    lengths = torch.where(norms > 0, norms, torch.ones_like(norms))
    steepness = float((slope / lengths).norm()) or 1.0

    def scaled(beta: object) -> tuple[float, object]:
        loss, gradient = line(torch.as_tensor(beta, dtype=torch.float64) / lengths)
        return loss / steepness, (gradient / lengths / steepness).numpy()

    box = list(zip((bounds.lower * lengths).tolist(), (bounds.upper * lengths).tolist(), strict=True))
    options = {"maxfun": steps, "maxcor": max(10, len(alpha)), "ftol": 1e-10, "gtol": 1e-10}
    start = (alpha * lengths).numpy()
    minimize(scaled, start, jac=True, method="L-BFGS-B", bounds=box, options=options)
    return _best(line)[1]


_Step = Callable[[_Line, Tensor, Tensor, _Bounds, int, float | None], Tensor]
_OPTIMIZERS: dict[str, _Step] = {"adam": _adam, "lbfgs": _lbfgs, "sgd": _sgd}


def _best(line: _Line) -> tuple[float, Tensor]:
    """The lowest loss seen and its alpha; the later one of equals, as alpha = 0 comes first."""
    return min(reversed(line.seen), key=lambda seen: seen[0])


def _safeguarded(line: _Line, bounds: _Bounds, loss_before: float) -> Tensor:
    """The best point seen, or a smaller common step, or none: never a higher loss than at alpha = 0."""
    loss, alpha = _best(line)
    for share in (0.5, 0.25):
        if loss < loss_before or not math.isfinite(loss_before):
            break
        candidate = bounds.project(torch.full_like(alpha, share / len(alpha)))
        try:
            loss, _ = line(candidate)
        except _NotFinite:
            continue
        alpha = candidate if loss < loss_before else alpha
    return alpha
