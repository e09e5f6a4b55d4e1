"""Minimise a smooth function of a few variables inside a box, where an evaluation costs much and algebra nothing.

Every gradient seen teaches the quadratic model of the function its curvature along one more direction (the symmetric
rank-one update; Conn, Gould and Toint 1991), so on a quadratic of n variables the model is exact after n evaluations or
so, however ill-conditioned it is. The next point is the model's minimum inside the bounds and a trust region, itself a
box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear

Floats = npt.NDArray[np.float64]

GROW, SHRINK = 10.0, 0.25
"""The trust region against the last step's length, after a good step to its edge and after a step that was none."""

DEGENERATE = 1e-3
"""Updates whose denominator is this small against its factors are left out: they would magnify rounding errors."""

ENOUGH = 1e-8
"""A step that promises less than this share of the decrease so far is not worth an evaluation."""


@dataclass(frozen=True)
class Point:
    """A place x [n], the loss there, and its slope [n]."""

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
    """The best point found.

    Parameters
    ----------
    function
        x [n] -> the point there. What it raises passes through.
    known
        Points evaluated already, one or more; the search starts from the best of those inside the bounds, and the
        distance between them says how far a first step may go.
    lower, upper
        [n], the bounds; infinite where there is none.
    evaluations
        Calls of the function, at most.
    resolution
        The relative precision of the loss: the search ends where a step promises far less than that.
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
    """The curvature [n, n] that the known points show, alike in all directions but the one between them."""
    first, last = known[0], known[-1]
    step, change = last.x - first.x, last.slope - first.slope
    mean = abs(float(step @ change)) / float(step @ step or 1.0) or float(np.linalg.norm(last.slope)) / radius or 1.0
    return _learned(mean * np.eye(len(step)), step, change)


def _learned(curvature: Floats, step: Floats, change: Floats) -> Floats:
    """The curvature after the least change of rank one that makes it say `change` of the slope along `step`."""
    wrong = change - curvature @ step
    along = float(wrong @ step)
    if abs(along) <= DEGENERATE * float(np.linalg.norm(wrong) * np.linalg.norm(step)):
        return curvature
    return np.asarray(curvature + np.outer(wrong, wrong) / along)


def _model_step(curvature: Floats, slope: Floats, low: Floats, high: Floats) -> Floats:
    """The step inside a box at which slope @ step + step @ |curvature| @ step / 2 is lowest.

    With |curvature| = root.T @ root that is a least-squares problem. A direction of negative curvature counts as one of
    positive, as in a saddle-free Newton method: the box bounds the step, and the next evaluation shows what is true.
    """
    free, step = high > low, np.zeros_like(slope)
    if not free.any():
        return step
    values, vectors = np.linalg.eigh(curvature)
    sizes = np.abs(values)
    # along a line without curvature the box ends the step
    least = 1e-12 * max(float(sizes.max()), float(np.abs(slope).max() / (high - low).max()))
    scale = np.sqrt(np.maximum(sizes, least or 1.0))
    root, wanted = scale[:, None] * vectors.T, -(vectors.T @ slope) / scale
    step[free] = lsq_linear(root[:, free], wanted, (low[free], high[free]), method="bvls").x
    return np.clip(step, low, high)
