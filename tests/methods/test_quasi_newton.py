"""The quasi-Newton search itself, beyond what the fit of alpha asks of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize

from avil_ray.methods.quasi_newton import Floats, Point, minimise

EPS = 2.0**-52
Function = Callable[[Floats], tuple[float, Floats]]


class Counted:
    def __init__(self, function: Function) -> None:
        self.function, self.calls = function, 0

    def __call__(self, x: Floats) -> Point:
        self.calls += 1
        loss, slope = self.function(x)
        return Point(x.copy(), loss, np.asarray(slope))


def search(
    function: Function,
    start: list[float],
    *,
    lower: float | Floats = -np.inf,
    upper: float | Floats = np.inf,
    evaluations: int = 100,
    known: list[list[float]] | None = None,
) -> tuple[Point, int]:
    n, counted = len(start), Counted(function)
    points = [counted(np.array(x, float)) for x in [*(known or []), start]]
    counted.calls = 0
    low, high = np.broadcast_to(np.asarray(lower, float), n), np.broadcast_to(np.asarray(upper, float), n)
    return minimise(counted, points, low, high, evaluations, EPS), counted.calls


def rosenbrock(x: Floats) -> tuple[float, Floats]:
    a, b = 1 - x[0], x[1] - x[0] ** 2
    return a**2 + 100 * b**2, np.array([-2 * a - 400 * x[0] * b, 200 * b])


def test_a_quadratic_is_solved_after_about_n_evaluations() -> None:
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((20, 20))).Q
    hessian = basis @ np.diag(np.geomspace(1e-3, 1e3, 20)) @ basis.T
    goal = generator.standard_normal(20)

    def bowl(x: Floats) -> tuple[float, Floats]:
        return float((x - goal) @ hessian @ (x - goal)), 2 * hessian @ (x - goal)

    found, calls = search(bowl, [0.0] * 20, known=[[1.0] * 20], evaluations=30)
    assert calls <= 30
    # it stops by itself after 22, at 3e-5: what is left lies along the flattest directions, where steps promise little
    assert found.loss < 1e-4 * bowl(np.zeros(20))[0]


def test_a_curved_valley_is_followed() -> None:
    found, calls = search(rosenbrock, [-1.2, 1.0], known=[[0.0, 0.0]], evaluations=80)
    np.testing.assert_allclose(found.x, [1, 1], atol=1e-4)
    assert calls < 80


@pytest.mark.parametrize("seed", range(5))
def test_a_convex_loss_is_minimised_as_well_as_by_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((60, 8)) * np.geomspace(0.1, 10, 8)
    labels = generator.choice([-1.0, 1.0], 60)

    def logistic(x: Floats) -> tuple[float, Floats]:
        margins = labels * (inputs @ x)
        shares = 1 / (1 + np.exp(np.clip(margins, -50, 50)))
        return float(np.logaddexp(0, -margins).mean()), -(inputs * (labels * shares)[:, None]).mean(0)

    for lower, upper in ((-np.inf, np.inf), (0.0, 0.05)):
        box = [(lower, upper)] * 8
        reference = minimize(logistic, np.zeros(8), jac=True, bounds=box, options={"maxfun": 5000, "ftol": 1e-14})
        found, _ = search(logistic, [0.01] * 8, known=[[0.0] * 8], lower=lower, upper=upper)
        assert found.loss <= reference.fun + 1e-4 * (np.log(2) - reference.fun)
        assert ((lower <= found.x) & (found.x <= upper)).all()


def test_a_monotone_loss_is_minimised_at_a_corner() -> None:
    found, calls = search(lambda x: (-x.sum(), -np.ones(3)), [0.0, 0.5, 1.0], upper=np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found.x, [1, 2, 3])
    assert calls < 20


@pytest.mark.parametrize("steepness", [1e-8, 1.0, 1e8])
def test_without_bounds_steps_grow_as_long_as_the_loss_falls_linearly(steepness: float) -> None:
    found, _ = search(lambda x: (-steepness * x.sum(), np.full(1, -steepness)), [0.5], known=[[0.0]], evaluations=20)
    assert found.x[0] > 1e15


def test_variables_with_equal_bounds_stay_fixed_and_others_move() -> None:
    lower, upper = np.array([0.3, -9.0]), np.array([0.3, 9.0])
    found, _ = search(lambda x: (float(x @ x), 2 * x), [0.3, 1.0], lower=lower, upper=upper)
    np.testing.assert_allclose(found.x, [0.3, 0.0], atol=1e-6)
    found, calls = search(lambda x: (float(x @ x), 2 * x), [0.3, 1.0], lower=[0.3, 1.0], upper=[0.3, 1.0])  # type: ignore[arg-type]
    assert (found.x.tolist(), calls) == ([0.3, 1.0], 0)


def test_points_outside_the_bounds_inform_the_model_but_are_not_a_start() -> None:
    found, _ = search(lambda x: (float(x @ x), 2 * x), [3.0], known=[[0.0]], lower=1.0, upper=4.0)
    np.testing.assert_allclose(found.x, [1.0])


def test_a_saddle_point_is_left() -> None:
    """x^2 - y^2 + y^4: from the ridge beside the saddle into one of the two valleys, where the loss is -1/4."""
    found, _ = search(
        lambda x: (x[0] ** 2 - x[1] ** 2 + x[1] ** 4, np.array([2 * x[0], -2 * x[1] + 4 * x[1] ** 3])),
        [1.0, 1e-3],
        known=[[2.0, 0.0]],
    )
    assert found.loss == pytest.approx(-0.25, abs=1e-6)


@pytest.mark.parametrize("evaluations", [0, 1, 5])
def test_the_budget_holds(evaluations: int) -> None:
    _, calls = search(rosenbrock, [-1.2, 1.0], known=[[0.0, 0.0]], evaluations=evaluations)
    assert calls == evaluations


def test_the_best_point_seen_is_returned() -> None:
    """Whatever the slopes claim: here they point uphill."""
    found, _ = search(lambda x: (float(x @ x), -2 * x), [0.2, 0.1], evaluations=20)
    assert found.x.tolist() == [0.2, 0.1]
