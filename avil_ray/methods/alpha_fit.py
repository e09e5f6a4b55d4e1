"""Fit alpha, the coefficients of the deltas that minimise the target's dev loss.

    minimise over alpha   L(theta + sum_j alpha_j delta_j)
    dL/dalpha_i = <grad L, delta_i>                             (exact: deltas are constants)

One evaluation takes one forward and backward pass of the objective and two passes over the deltas; no autograd graph is
built through the sum. `fit_alpha` takes the deltas as one matrix [n, P]. The underlying `fit_along` only needs the loss
and its slope at a given alpha, wherever the deltas are stored. Source: arXiv 2405.07769; the derivative is elementary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.learning.evaluation import Objective
from avil_ray.learning.parameters import dot, dots
from avil_ray.methods.alpha_optimizers import (
    DEFAULT_STEPS,
    OPTIMIZERS,
    AlphaOptimizer,
    Bounds,
    Evaluate,
    NotFinite,
    Seen,
    Walk,
)


@dataclass(frozen=True)
class AlphaFit:
    """The result of a fit.

    Attributes
    ----------
    alpha
        float64 [n], finite.
    loss_before, loss_start, loss_after
        The loss at alpha = 0, at the start of the fit, and at `alpha`. Not finite if the objective was not.
    evaluations
        Number of calls of the objective.
    converged
        False if the objective was not finite at some point: the optimizer stopped there, and `alpha` is the last finite
        point (with the safeguard, the best one).
    accepted
        False if no point was better than alpha = 0: `alpha` is then 0 (no step is taken), although the fit did not
        start there.

    Examples
    --------
    >>> import torch
    >>> theta, deltas = torch.zeros(2), torch.eye(2)
    >>> fit = fit_alpha(lambda point: (float((point - 1).square().sum()), 2 * (point - 1)), theta, deltas)
    >>> fit.loss_after < fit.loss_before
    True
    >>> fit.converged
    True
    """

    alpha: Tensor
    loss_before: float
    loss_start: float
    loss_after: float
    evaluations: int
    converged: bool
    accepted: bool = True


def _best(seen: Sequence[Seen]) -> Seen:
    """The point with the lowest loss; the latest among equals, as alpha = 0 comes first."""
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
        theta [P] -> (loss, gradient [P]). It may overwrite its gradient in the next call. If it has an attribute
        `buffer` (a tensor like theta), trial points are written there, which saves a vector of P numbers.
    theta, deltas
        [P] and [n, P], with the same type and device; neither is changed.
    optimizer
        `adam`: projected Adam (betas .9, .99) on b = n * alpha, so that one step size serves any number of tasks.
        `lbfgs`: a quasi-Newton method with unlimited memory (`quasi_newton.minimise`), on coordinates scaled by the
        deltas' norms. `sgd`: gradient descent with momentum .5 on alpha itself, as in the paper.
    initial
        float [n]; 1/n each if not given.
    lower, upper
        Bounds on alpha, one number or [n]; none if not given. The start is projected into them.
    steps
        Maximum number of optimizer steps, one evaluation each; default 10 for adam and sgd, 50 for lbfgs.
    learning_rate
        Step size of adam (0.4, in units of 1/n) and of sgd (0.005, in alpha); lbfgs has none.
    safeguard
        Return the best point seen. If none is as good as alpha = 0, try ½/n and ¼/n for all, and otherwise return alpha
        = 0 (even if the bounds exclude it, as it means that no step is taken). Without the safeguard adam and sgd
        return their last point, as in the paper, and lbfgs its best.

    Raises
    ------
    UserError
        Shapes, types, bounds or names do not fit. A loss that is not finite raises nothing: see `AlphaFit.converged`.

    Examples
    --------
    >>> import torch
    >>> theta, deltas = torch.zeros(2), torch.eye(2)
    >>> goal = torch.tensor([1.0, -1.0])
    >>> def objective(point):
    ...     return float((point - goal).square().sum()), 2 * (point - goal)
    >>> fit = fit_alpha(objective, theta, deltas, optimizer="lbfgs", lower=0.0)
    >>> fit.alpha.round(decimals=3).tolist()
    [1.0, 0.0]
    """
    _check_vectors(theta, deltas)
    theta, deltas, moved = theta.detach(), deltas.detach(), _room(objective, theta)

    def evaluate(alpha: Tensor) -> tuple[float, Tensor]:
        torch.addmv(theta, deltas.T, alpha.to(deltas), out=moved)
        loss, gradient = objective(moved)
        return loss, dots(deltas, gradient)

    norms = [math.sqrt(dot(delta, delta)) for delta in deltas] if optimizer == "lbfgs" else [1.0] * len(deltas)
    return fit_along(
        evaluate,
        torch.tensor(norms, dtype=torch.float64),
        optimizer=optimizer,
        initial=initial,
        lower=lower,
        upper=upper,
        steps=steps,
        learning_rate=learning_rate,
        safeguard=safeguard,
        precision=theta.dtype,
    )


def fit_along(
    evaluate: Evaluate,
    lengths: Tensor,
    *,
    optimizer: AlphaOptimizer = "adam",
    initial: Tensor | None = None,
    lower: float | Tensor | None = None,
    upper: float | Tensor | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    safeguard: bool = True,
    precision: torch.dtype = torch.float32,
) -> AlphaFit:
    """Minimise `evaluate` over alpha: `fit_alpha` for deltas that need not be in one matrix or in one process.

    Parameters
    ----------
    evaluate
        Alpha float64 [n] -> (loss, slope float64 [n]).
    lengths
        float64 [n], the deltas' norms; only lbfgs uses their values.
    precision
        The type that `evaluate` computes in.
    optimizer, initial, lower, upper, steps, learning_rate, safeguard
        As in `fit_alpha`.

    Raises
    ------
    UserError
        Shapes, bounds or names do not fit.
    """
    start, bounds = _checked(len(lengths), optimizer, initial, lower, upper)
    line = Walk(evaluate, lengths, precision)
    loss_before = loss_start = math.nan
    try:
        loss_before = line(torch.zeros_like(start)).loss
        loss_start = line(start).loss
        OPTIMIZERS[optimizer](line, bounds, DEFAULT_STEPS[optimizer] if steps is None else steps, learning_rate)
    except NotFinite:
        pass  # the walk has recorded it, and keeps the points before it
    if safeguard and line.seen:
        _try_smaller(line, bounds)
    found = _chosen(line, optimizer, safeguard)
    accepted = bool((found.alpha != 0).any()) or not bool((start != 0).any())
    return AlphaFit(found.alpha, loss_before, loss_start, found.loss, line.evaluations, line.finite, accepted)


def _room(objective: Objective, theta: Tensor) -> Tensor:
    """The tensor for trial points: the objective's own buffer, unless it has none or theta lies in it."""
    buffer = getattr(objective, "buffer", None)
    if isinstance(buffer, Tensor) and buffer.data_ptr() != theta.data_ptr():
        return buffer
    return torch.empty_like(theta)


def _chosen(line: Walk, optimizer: str, safeguard: bool) -> Seen:
    """The best point, with the safeguard; otherwise the optimizer's result: its last point, or its best for lbfgs."""
    zero = torch.zeros(len(line.lengths), dtype=torch.float64)
    seen = line.seen or [Seen(zero, math.nan, zero)]
    if safeguard:
        return _best(seen)
    own = seen[1:] or seen
    return _best(own) if optimizer == "lbfgs" else own[-1]


def _try_smaller(line: Walk, bounds: Bounds) -> None:
    """If no point is as good as alpha = 0, try two ever smaller common steps."""
    before = line.seen[0]
    for share in (0.5, 0.25):
        if any(point.loss <= before.loss for point in line.seen[1:]):
            break
        with suppress(NotFinite):
            line(bounds.project(torch.full_like(before.alpha, share / len(before.alpha))))


def _check_vectors(theta: Tensor, deltas: Tensor) -> None:
    """Reject vectors that do not fit together."""
    if theta.ndim != 1 or deltas.ndim != 2 or deltas.shape[1] != len(theta) or len(deltas) == 0:
        shapes = f"{tuple(theta.shape)} and {tuple(deltas.shape)}"
        raise UserError(f"fit_alpha: theta must be [P] and deltas [n, P] with n at least 1, not {shapes}")
    if theta.dtype != deltas.dtype or theta.device != deltas.device:
        kinds = f"{theta.dtype} on {theta.device} and {deltas.dtype} on {deltas.device}"
        raise UserError(f"fit_alpha: theta and deltas must have the same dtype and device, not {kinds}")


def _checked(
    count: int,
    optimizer: str,
    initial: Tensor | None,
    lower: float | Tensor | None,
    upper: float | Tensor | None,
) -> tuple[Tensor, Bounds]:
    """The start [count], projected into the bounds, and the bounds."""
    if optimizer not in OPTIMIZERS:
        raise UserError(f"fit_alpha: optimizer must be one of {', '.join(OPTIMIZERS)}, not {optimizer!r}")

    def vector(name: str, value: float | Tensor | None, default: float) -> Tensor:
        given = torch.as_tensor(default if value is None else value, dtype=torch.float64, device="cpu").detach()
        if given.shape not in ((), (count,)):
            raise UserError(f"fit_alpha: {name} must be one number or [{count}], not {tuple(given.shape)}")
        return given.expand(count).clone()

    bounds = Bounds(vector("lower", lower, -math.inf), vector("upper", upper, math.inf))
    if not bool((bounds.lower <= bounds.upper).all()):
        raise UserError("fit_alpha: a lower bound lies above its upper bound, or is not a number")
    start = bounds.project(vector("initial", initial, 1 / count))
    if not bool(torch.isfinite(start).all()):
        raise UserError("fit_alpha: initial must be finite")
    return start, bounds
