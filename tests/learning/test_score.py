"""The number that methods on deltas and methods on gradients share."""

from __future__ import annotations

import math

import pytest
import torch

from avil_ray.learning.score import cosine, score


def test_to_first_order_the_score_is_how_much_the_delta_lowers_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    theta, delta = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    step = 1e-6

    def loss(at: torch.Tensor) -> float:
        return float((at**4).sum())

    decrease = (loss(theta - step * delta) - loss(theta + step * delta)) / (2 * step)
    assert score(delta, 4 * theta**3) == pytest.approx(decrease, rel=1e-6)


def test_it_is_the_negative_slope_of_alpha_and_eta_times_the_product_of_gradients() -> None:
    gradient, other, eta = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 1.0]), 0.1
    assert score(-eta * other, gradient) == pytest.approx(eta * float(gradient @ other))


def test_cosines_stay_between_minus_one_and_one_and_are_0_where_there_is_no_direction() -> None:
    a = torch.tensor([3.0, 4.0])
    assert cosine(a, 2e-19 * a) == pytest.approx(1)
    assert cosine(a, -a) == pytest.approx(-1)
    assert cosine(a, torch.tensor([4.0, -3.0])) == 0
    assert cosine(a, torch.zeros(2)) == 0
    assert cosine(a, torch.tensor([math.inf, 1.0])) == 0
