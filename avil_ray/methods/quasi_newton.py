"""Minimise a smooth function of a few bounded variables, where evaluations are expensive and algebra is cheap.

Each gradient updates the curvature of a quadratic model along one more direction (the symmetric rank-one update; Conn,
Gould and Toint 1991), so for a quadratic in n variables the model is exact after about n evaluations, however
ill-conditioned it is. The next point is the model's minimum within the bounds and a box-shaped trust region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear

Floats = npt.NDArray[np.float64]

GROW, SHRINK = 10.0, 0.25
"""The size of the trust region relative to the last step, after a good step to its edge and after a failed step."""

DEGENERATE = 1e-3
"""Updates are skipped if their denominator is this small relative to its factors: they would amplify rounding
errors."""

ENOUGH = 1e-8
"""A step predicted to gain less than this fraction of the decrease so far is not worth an evaluation."""


@dataclass(frozen=True)
class Point:
    """A point x [n], the loss there, and its slope [n]."""

    x: Floats
    loss: float
    slope: Floats


def minimise(
    function: Callable[[Floats], Point],
    known: Sequence[Point],
    lower: Floats,
    upper: Floats,
    evaluations: int,
    resolution: float,
) -> Point:
    """Minimise a function; returns the best point found.

    Parameters
    ----------
    function
        x [n] -> the point there. Its exceptions propagate.
    known
        One or more points already evaluated; the search starts from the best of those inside the bounds, and their
        distance limits the first step.
    lower, upper
        [n], the bounds; infinite if there is none.
    evaluations
        Maximum number of calls of the function.
    resolution
        The relative precision of the loss: the search ends when the predicted gain of a step is far below it.
    """
    best = min((p for p in known if bool(((lower <= p.x) & (p.x <= upper)).all())), key=lambda point: point.loss)
    radius = GROW * (max(float(np.abs(point.x - best.x).max()) for point in known) or 1.0)
    curvature = _first_curvature(known, radius)
    first = best.loss
    for _ in range(evaluations):
        low, high = np.maximum(lower - best.x, -radius), np.minimum(upper - best.x, radius)
        step = _model_step(curvature, best.slope, low, high)
        if -best.slope @ step <= max(ENOUGH * (first - best.loss), 1e-3 * resolution * abs(best.loss)):
            break
        tried, length = function(best.x + step), float(np.abs(step).max())
        curvature = _learned(curvature, step, tried.slope - best.slope)
        if tried.loss < best.loss:
            best = tried
            radius = GROW * length if length > 0.99 * radius else radius
        else:
            radius = SHRINK * length
    return best


def _first_curvature(known: Sequence[Point], radius: float) -> Floats:
    """The curvature [n, n] estimated from the known points, isotropic except for the direction between them."""
    first, last = known[0], known[-1]
    step, change = last.x - first.x, last.slope - first.slope
    mean = abs(float(step @ change)) / float(step @ step or 1.0) or float(np.linalg.norm(last.slope)) / radius or 1.0
    return _learned(mean * np.eye(len(step)), step, change)


def _learned(curvature: Floats, step: Floats, change: Floats) -> Floats:
    """The curvature after a rank-one update that makes it predict `change` of the slope along `step`."""
    wrong = change - curvature @ step
    along = float(wrong @ step)
    if abs(along) <= DEGENERATE * float(np.linalg.norm(wrong) * np.linalg.norm(step)):
        return curvature
    return np.asarray(curvature + np.outer(wrong, wrong) / along)


def _model_step(curvature: Floats, slope: Floats, low: Floats, high: Floats) -> Floats:
    """The step within bounds that minimises slope @ step + step @ |curvature| @ step / 2.

    With |curvature| = root.T @ root, this is a least-squares problem. Negative curvature is treated as positive, as in
    a saddle-free Newton method: the box bounds the step, and the next evaluation corrects the model.
    """
    free, step = high > low, np.zeros_like(slope)
    if not free.any():
        return step
    values, vectors = np.linalg.eigh(curvature)
    sizes = np.abs(values)
    # without curvature, only the box ends the step
    least = 1e-12 * max(float(sizes.max()), float(np.abs(slope).max() / (high - low).max()))
    scale = np.sqrt(np.maximum(sizes, least or 1.0))
    root, wanted = scale[:, None] * vectors.T, -(vectors.T @ slope) / scale
    step[free] = lsq_linear(root[:, free], wanted, (low[free], high[free]), method="bvls").x
    return np.clip(step, low, high)
