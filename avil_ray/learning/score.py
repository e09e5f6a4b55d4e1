"""How well a delta and a gradient agree: the quantity shared by methods on weights and methods on gradients.

    score(delta, gradient) = -<gradient, delta>

To first order, it is the amount by which the delta lowers the loss with this gradient. It is also the negative
derivative of that loss with respect to the delta's alpha. As one SGD step is delta = -eta g, it is eta <gradient, g>
for a task with gradient g, which αVIL, META-TARTAN, OL-AUX and Auto-Lambda all use to update their weights.
"""

from __future__ import annotations

import math

from torch import Tensor

from avil_ray.learning.parameters import dot


def score(delta: Tensor, gradient: Tensor) -> float:
    """-<gradient, delta> for two vectors [P], in float64: above 0 where the delta lowers the loss."""
    return -dot(gradient, delta)


def cosine(a: Tensor, b: Tensor) -> float:
    """The cosine of two vectors [P]; 0 if either is 0 or not finite."""
    length = (dot(a, a) * dot(b, b)) ** 0.5
    found = dot(a, b) / length if length else 0.0
    return found if math.isfinite(found) else 0.0
