"""The fit of alpha, on problems whose best alpha is known in closed form and on objectives that break."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.methods.alpha_fit import AlphaFit, AlphaOptimizer, fit_alpha

OPTIMIZERS: tuple[AlphaOptimizer, ...] = ("adam", "lbfgs", "sgd")
SIZES = (1, 2, 5, 12, 24)
SCALES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "1": lambda _, n: np.ones(n),
    "1e-4": lambda _, n: np.full(n, 1e-4),
    "1e3": lambda _, n: np.full(n, 1e3),
    "mixed": lambda generator, n: 10 ** generator.uniform(-4, 3, n),
}


@dataclass
class Quadratic:
    """(x - c) H (x - c) / 2 along deltas [n, P] from theta; it counts its calls."""

    curvature: np.ndarray
    deltas: np.ndarray
    theta: np.ndarray
    centre: np.ndarray
    dtype: torch.dtype = torch.float64
    calls: int = 0

    def __call__(self, theta: Tensor) -> tuple[float, Tensor]:
        self.calls += 1
        away = theta - self.tensor(self.centre)
        gradient = self.tensor(self.curvature) @ away
        return 0.5 * float(away @ gradient), gradient

    def tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, dtype=self.dtype)

    def fit(self, **options: object) -> AlphaFit:
        return fit_alpha(self, self.tensor(self.theta), self.tensor(self.deltas), **options)

    def loss(self, alpha: np.ndarray) -> float:
        away = self.theta + alpha @ self.deltas - self.centre
        return float(0.5 * away @ self.curvature @ away)

    def best(self, lower: np.ndarray | float = -np.inf, upper: np.ndarray | float = np.inf) -> np.ndarray:
        """The best alpha: least squares, as the loss is |root (theta + alpha deltas - c)|^2 / 2."""
        lengths = np.linalg.norm(self.deltas, axis=1)
        lengths[lengths == 0] = 1
        root = np.linalg.cholesky(self.curvature).T
        matrix, goal = root @ (self.deltas / lengths[:, None]).T, root @ (self.centre - self.theta)
        if np.isinf(lower).all() and np.isinf(upper).all():
            return np.linalg.lstsq(matrix, goal, rcond=1e-12)[0] / lengths
        box = (np.broadcast_to(lower, lengths.shape) * lengths, np.broadcast_to(upper, lengths.shape) * lengths)
        return lsq_linear(matrix, goal, box, method="bvls", tol=1e-14, max_iter=1000).x / lengths


def rotation(generator: np.random.Generator, size: int) -> np.ndarray:
    return np.linalg.qr(generator.standard_normal((size, size))).Q


def quadratic(family: str, n: int, condition: float, scale: str, dtype: torch.dtype = torch.float64) -> Quadratic:
    generator, size = np.random.default_rng([n, int(condition)]), 40
    curvature = np.diag(np.geomspace(1, condition, size))
    deltas = generator.standard_normal((n, size))
    if family == "rotated curvature":
        basis = rotation(generator, size)
        curvature = basis @ curvature @ basis.T / math.sqrt(condition)
    elif family == "curved in alpha":  # the Hessian in alpha itself has this condition
        basis = rotation(generator, n)
        deltas, curvature = np.eye(n, size), np.eye(size)
        curvature[:n, :n] = basis @ np.diag(np.geomspace(1, 1 / condition, n)) @ basis.T
    elif family == "nearly dependent":
        singular = np.diag(np.geomspace(1, 1 / math.sqrt(condition), n))
        deltas, curvature = rotation(generator, n) @ singular @ rotation(generator, size)[:n], np.eye(size)
    elif family == "collinear":
        deltas[n // 2 :] = deltas[: n - n // 2] * generator.choice([-1, 0.5, 2], (n - n // 2, 1))
    elif family == "mostly common":
        deltas = generator.standard_normal(size) + 0.1 * deltas
    elif family == "some zero":
        deltas[1::2] = 0
    deltas = deltas * SCALES[scale](generator, n)[:, None]
    theta = generator.standard_normal(size)
    return Quadratic(curvature, deltas, theta, theta + generator.standard_normal(size), dtype)


FAMILIES = (
    "straight",
    "rotated curvature",
    "curved in alpha",
    "nearly dependent",
    "collinear",
    "mostly common",
    "some zero",
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("family", FAMILIES)
def test_lbfgs_reaches_nearly_all_of_the_possible_decrease(family: str, dtype: torch.dtype) -> None:
    shares = {}
    for n, condition, scale in itertools.product(SIZES, (1.0, 1e6), SCALES):
        problem = quadratic(family, n, condition, scale, dtype)
        zero, best = problem.loss(np.zeros(n)), problem.loss(problem.best())
        if (zero - best) < 1e-5 * zero and dtype == torch.float32:
            continue  # too little for float32 to see
        reached = zero - problem.loss(problem.fit(optimizer="lbfgs").alpha.numpy())
        shares[n, condition, scale] = reached / (zero - best)
    assert len(shares) > 30
    assert min(shares.values()) > 0.95, min(shares, key=lambda key: shares[key])


@pytest.mark.parametrize("family", FAMILIES)
def test_lbfgs_reaches_it_inside_bounds_too(family: str) -> None:
    for n, condition, scale in itertools.product(SIZES, (1.0, 1e6), ("1", "1e-4", "mixed")):
        problem = quadratic(family, n, condition, scale)
        generator = np.random.default_rng(n)
        room = np.abs(problem.best()) + 1e-3
        for lower, upper in (
            (np.zeros(n), np.full(n, 4 / n)),
            (-room * generator.uniform(0.1, 1.5, n), room * generator.uniform(0.1, 1.5, n)),
        ):
            fit = problem.fit(optimizer="lbfgs", lower=torch.tensor(lower), upper=torch.tensor(upper))
            alpha = fit.alpha.numpy()
            assert ((lower <= alpha) & (alpha <= upper)).all()
            zero, best = problem.loss(np.zeros(n)), problem.loss(problem.best(lower, upper))
            assert zero - problem.loss(alpha) >= 0.95 * (zero - best) - 1e-9 * zero, (n, condition, scale)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_with_the_safeguard_the_loss_never_rises(optimizer: AlphaOptimizer, dtype: torch.dtype) -> None:
    for family, n, condition, scale in itertools.product(FAMILIES, (1, 5, 24), (1.0, 1e6), SCALES):
        problem = quadratic(family, n, condition, scale, dtype)
        fit = problem.fit(optimizer=optimizer)
        assert torch.isfinite(fit.alpha).all()
        assert fit.loss_after <= fit.loss_before
        theta, deltas = problem.tensor(problem.theta), problem.tensor(problem.deltas)
        moved = torch.addmv(theta, deltas.T, fit.alpha.to(dtype))
        assert problem(moved)[0] == fit.loss_after, "the loss told is the loss there"
        assert problem(theta)[0] == fit.loss_before


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_line_search_finds_the_minimum_of_a_parabola(optimizer: AlphaOptimizer, dtype: torch.dtype) -> None:
    problem = Quadratic(np.eye(2), np.array([[1.0, 0.0]]), np.zeros(2), np.array([0.7, 0.0]), dtype)
    options = {"adam": {"steps": 200, "learning_rate": 0.02}, "sgd": {"steps": 100, "learning_rate": 0.3}, "lbfgs": {}}
    fit = problem.fit(optimizer=optimizer, **options[optimizer])
    assert fit.alpha.item() == pytest.approx(0.7, rel=1e-3)
    assert fit.alpha.dtype == torch.float64
    assert (fit.converged, fit.accepted) == (True, True)
    assert fit.loss_start == pytest.approx(0.5 * 0.3**2)


@pytest.mark.parametrize("n", [2, 5])
def test_adam_takes_the_projected_steps_of_its_paper_on_b(n: int) -> None:
    """Kingma and Ba's algorithm on b = n alpha, by torch.optim.Adam and clamping."""
    problem = quadratic("straight", n, 10.0, "1")
    fit = problem.fit(lower=0.0, upper=4 / n, steps=7, learning_rate=0.3, safeguard=False)
    b = torch.ones(n, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([b], lr=0.3, betas=(0.9, 0.99), eps=1e-12)
    theta, deltas, centre = (problem.tensor(part) for part in (problem.theta, problem.deltas, problem.centre))
    for _ in range(7):
        adam.zero_grad()
        away = theta + (b / n) @ deltas - centre
        (0.5 * away @ problem.tensor(problem.curvature) @ away).backward()
        adam.step()
        with torch.no_grad():
            b.clamp_(0, 4)
    torch.testing.assert_close(fit.alpha, b.detach() / n, rtol=1e-9, atol=1e-12)
    assert fit.evaluations == 9


def test_sgd_takes_the_steps_of_the_paper() -> None:
    problem = quadratic("straight", 3, 2.0, "1e-4")
    fit = problem.fit(optimizer="sgd", initial=torch.ones(3), safeguard=False)
    alpha = torch.ones(3, dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([alpha], lr=0.005, momentum=0.5)
    theta, deltas, centre = (problem.tensor(part) for part in (problem.theta, problem.deltas, problem.centre))
    for _ in range(10):
        sgd.zero_grad()
        away = theta + alpha @ deltas - centre
        (0.5 * away @ problem.tensor(problem.curvature) @ away).backward()
        sgd.step()
    torch.testing.assert_close(fit.alpha, alpha.detach(), rtol=1e-12, atol=1e-12)
    assert fit.evaluations == 12


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("safeguard", [True, False])
@pytest.mark.parametrize("steps", [1, 3, None])
def test_every_call_of_the_objective_is_counted_and_within_the_budget(
    optimizer: AlphaOptimizer, safeguard: bool, steps: int | None
) -> None:
    for n, scale in itertools.product((1, 24), SCALES):
        problem = quadratic("rotated curvature", n, 1e6, scale)
        fit = problem.fit(optimizer=optimizer, safeguard=safeguard, steps=steps)
        assert fit.evaluations == problem.calls
        budget = {"adam": 10, "sgd": 10, "lbfgs": 50}[optimizer] if steps is None else steps
        assert problem.calls <= 2 + budget + 2 * safeguard


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("safeguard", [True, False])
def test_bounds_hold_at_every_point_tried(optimizer: AlphaOptimizer, safeguard: bool) -> None:
    lower, upper = torch.tensor([-0.1, 0.0, 0.2, -math.inf]), torch.tensor([0.1, 0.05, 0.2, 0.3])
    tried = []

    def objective(theta: Tensor) -> tuple[float, Tensor]:
        tried.append(theta.clone())
        away = theta - torch.tensor([5.0, -5.0, 5.0, 5.0], dtype=torch.float64)
        return float(away @ away), 2 * away

    theta, deltas = torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    fit = fit_alpha(
        objective, theta, deltas, optimizer=optimizer, lower=lower, upper=upper, learning_rate=2.0, safeguard=safeguard
    )
    assert not tried[0].any(), "alpha = 0 comes first"
    for alpha in tried[1:]:
        assert ((lower <= alpha) & (alpha <= upper)).all()
    np.testing.assert_allclose(fit.alpha, [0.1, 0.0, 0.2, 0.3], atol=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_the_safeguard_bounds_hold_even_where_no_step_would_be_better(optimizer: AlphaOptimizer) -> None:
    problem = Quadratic(np.eye(2), np.eye(2), np.zeros(2), np.zeros(2))
    options = {"optimizer": optimizer, "lower": 0.4, "upper": 0.8, "initial": torch.tensor([0.8, 0.8])}
    letter, safe = problem.fit(**options, safeguard=False), problem.fit(**options)
    assert ((letter.alpha >= 0.4) & (letter.alpha <= 0.8)).all()
    assert letter.accepted
    assert not safe.alpha.any(), "the step not taken"
    assert not safe.accepted


def test_the_start_is_the_mean_of_the_deltas_and_is_projected() -> None:
    seen = []

    def objective(theta: Tensor) -> tuple[float, Tensor]:
        seen.append(theta.clone())
        return 0.0, torch.zeros(4)

    fit_alpha(objective, torch.zeros(4), torch.eye(4), steps=0)
    fit_alpha(objective, torch.zeros(4), torch.eye(4), steps=0, initial=torch.tensor([1, 2, 3, 4]), upper=2.5)
    starts = [theta.tolist() for theta in seen if theta.any()]
    assert starts == [[0.25] * 4, [1, 2, 2.5, 2.5]]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_flat_loss_leaves_alpha_unchanged(optimizer: AlphaOptimizer) -> None:
    theta = torch.randn(5)
    fit = fit_alpha(lambda _: (3.0, torch.zeros(5)), theta, torch.randn(3, 5), optimizer=optimizer)
    np.testing.assert_allclose(fit.alpha, 1 / 3)
    assert (fit.loss_before, fit.loss_after, fit.converged, fit.accepted) == (3.0, 3.0, True, True)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_deltas_that_are_all_zero_are_harmless(optimizer: AlphaOptimizer) -> None:
    problem = Quadratic(np.eye(3), np.zeros((2, 3)), np.zeros(3), np.ones(3))
    fit = problem.fit(optimizer=optimizer)
    np.testing.assert_allclose(fit.alpha, 0.5)
    assert fit.loss_after == fit.loss_before == 1.5


def test_arguments_are_not_changed() -> None:
    problem = quadratic("straight", 3, 10.0, "1", torch.float32)
    theta, deltas, initial = problem.tensor(problem.theta), problem.tensor(problem.deltas), torch.ones(3)
    kept = theta.clone(), deltas.clone()
    for optimizer in OPTIMIZERS:
        fit_alpha(problem, theta, deltas, optimizer=optimizer, initial=initial)
    assert torch.equal(theta, kept[0])
    assert torch.equal(deltas, kept[1])
    assert torch.equal(initial, torch.ones(3))


@dataclass
class Buffered(Quadratic):
    """An objective that has room of its own for theta."""

    def __post_init__(self) -> None:
        self.buffer = torch.empty(len(self.theta), dtype=self.dtype)
        self.received: list[Tensor] = []

    def __call__(self, theta: Tensor) -> tuple[float, Tensor]:
        self.received.append(theta)
        return super().__call__(theta)


def test_trial_points_are_written_into_the_objectives_buffer() -> None:
    plain = quadratic("straight", 3, 10.0, "1")
    problem = Buffered(plain.curvature, plain.deltas, plain.theta, plain.centre)
    fit = problem.fit()
    assert all(theta is problem.buffer for theta in problem.received)
    assert torch.equal(fit.alpha, plain.fit().alpha)


def test_theta_may_be_the_buffer_itself() -> None:
    plain = quadratic("straight", 3, 10.0, "1")
    problem = Buffered(plain.curvature, plain.deltas, plain.theta, plain.centre)
    problem.buffer.copy_(torch.tensor(plain.theta))
    fit = fit_alpha(problem, problem.buffer, problem.tensor(problem.deltas))
    assert torch.equal(fit.alpha, plain.fit().alpha)
    assert torch.equal(problem.buffer, torch.tensor(plain.theta))


def test_a_gradient_may_be_overwritten_by_the_next_call() -> None:
    plain, gradient = quadratic("straight", 3, 10.0, "1"), torch.empty(40, dtype=torch.float64)

    def objective(theta: Tensor) -> tuple[float, Tensor]:
        loss, fresh = plain(theta)
        return loss, gradient.copy_(fresh)

    for optimizer in OPTIMIZERS:
        theta, deltas = plain.tensor(plain.theta), plain.tensor(plain.deltas)
        assert torch.equal(
            fit_alpha(objective, theta, deltas, optimizer=optimizer).alpha, plain.fit(optimizer=optimizer).alpha
        )


def breaking(when: Callable[[int, Tensor], bool], how: str) -> Callable[[Tensor], tuple[float, Tensor]]:
    """A flat-bottomed bowl around (0.4, 0.4) whose loss or gradient is not finite when `when(call, theta)`."""
    calls = itertools.count(1)

    def objective(theta: Tensor) -> tuple[float, Tensor]:
        away = theta - 0.4
        loss, gradient = float(away.pow(4).sum()), 4 * away**3
        if not when(next(calls), theta):
            return loss, gradient
        if how == "gradient":
            return loss, torch.full_like(gradient, math.inf)
        return float(how), torch.full_like(gradient, math.nan)

    return objective


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("how", ["nan", "inf", "-inf", "gradient"])
@pytest.mark.parametrize("safeguard", [True, False])
class TestNotFinite:
    def fitted(
        self, when: Callable[[int, Tensor], bool], optimizer: AlphaOptimizer, how: str, safeguard: bool
    ) -> AlphaFit:
        options = {"optimizer": optimizer, "safeguard": safeguard, "learning_rate": 0.3}
        fit = fit_alpha(breaking(when, how), torch.zeros(2), torch.eye(2), **options)
        assert not fit.converged
        assert torch.isfinite(fit.alpha).all()
        return fit

    def test_from_the_start(self, optimizer: AlphaOptimizer, how: str, safeguard: bool) -> None:
        fit = self.fitted(lambda _, __: True, optimizer, how, safeguard)
        assert not fit.alpha.any()
        assert not fit.accepted
        assert math.isnan(fit.loss_before)
        assert math.isnan(fit.loss_after)
        assert fit.evaluations == 1

    @pytest.mark.parametrize("after", [1, 2, 3])
    def test_after_some_evaluations(self, optimizer: AlphaOptimizer, how: str, safeguard: bool, after: int) -> None:
        fit = self.fitted(lambda call, _: call > after, optimizer, how, safeguard)
        assert fit.loss_before == pytest.approx(2 * 0.4**4)
        assert fit.loss_after <= fit.loss_before
        assert fit.alpha.any() == (after > 1), "the start was better than alpha = 0"

    def test_away_from_zero(self, optimizer: AlphaOptimizer, how: str, safeguard: bool) -> None:
        """The start (1/2 each) is outside; with the safeguard the smaller common steps are inside."""
        fit = self.fitted(lambda _, theta: bool(theta.max() > 0.3), optimizer, how, safeguard)
        np.testing.assert_allclose(fit.alpha, 0.25 if safeguard else 0.0)
        assert fit.accepted == safeguard
        assert math.isnan(fit.loss_start)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_alpha_stays_finite_if_the_loss_is_finite_everywhere(optimizer: AlphaOptimizer) -> None:
    """A slope without end: steps grow until float32 cannot hold them."""
    options = {"optimizer": optimizer, "steps": 300, "learning_rate": 1e38}

    def objective(theta: Tensor) -> tuple[float, Tensor]:
        return -float(torch.tanh(theta * 1e-30)), torch.tensor([-1e3])

    fit = fit_alpha(objective, torch.zeros(1), torch.eye(1), **options)
    assert torch.isfinite(fit.alpha.float()).all()
    assert fit.converged == (optimizer == "lbfgs"), "which stops where the loss falls no more"


def test_a_step_that_only_raises_the_loss_is_rejected() -> None:
    """The loss rises along the delta, more steeply than any step can follow back."""
    tried = []

    def objective(theta: Tensor) -> tuple[float, Tensor]:
        tried.append(theta.tolist())
        return float(theta.abs().sum()), torch.sign(theta) * 1e-6

    fit = fit_alpha(objective, torch.zeros(2), torch.eye(2), optimizer="sgd")
    assert not fit.alpha.any()
    assert (fit.accepted, fit.converged) == (False, True)
    assert fit.loss_after == fit.loss_before == 0
    assert tried[-2:] == [[0.25, 0.25], [0.125, 0.125]], "half and a quarter of the mean were tried"
    letter = fit_alpha(objective, torch.zeros(2), torch.eye(2), optimizer="sgd", safeguard=False)
    assert letter.alpha.any()
    assert letter.loss_after > letter.loss_before


def test_a_smaller_common_step_is_taken_where_only_it_helps() -> None:
    def objective(theta: Tensor) -> tuple[float, Tensor]:
        height = float(theta.mean())
        return (-height if height < 0.2 else 1.0), torch.zeros(2)

    fit = fit_alpha(objective, torch.zeros(2), torch.eye(2))
    np.testing.assert_allclose(fit.alpha, 0.125)
    assert fit.accepted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"theta": torch.zeros(1, 4)}, "theta must be \\[P\\]"),
        ({"deltas": torch.zeros(4)}, "deltas \\[n, P\\]"),
        ({"deltas": torch.zeros(2, 5)}, "\\(4,\\) and \\(2, 5\\)"),
        ({"deltas": torch.zeros(0, 4)}, "n at least 1"),
        ({"deltas": torch.zeros(2, 4, dtype=torch.float64)}, "same dtype"),
        ({"optimizer": "newton"}, "optimizer must be one of adam, lbfgs, sgd, not 'newton'"),
        ({"lower": 1.0, "upper": 0.0}, "a lower bound lies above its upper bound"),
        ({"lower": torch.tensor([0.0, 2.0]), "upper": 1.0}, "a lower bound lies above its upper bound"),
        ({"lower": math.nan}, "or is not a number"),
        ({"upper": torch.zeros(3)}, "upper must be one number or \\[2\\], not \\(3,\\)"),
        ({"initial": torch.zeros(3)}, "initial must be one number or \\[2\\], not \\(3,\\)"),
        ({"initial": torch.tensor([1.0, math.nan])}, "initial must be finite"),
        ({"lower": math.inf}, "initial must be finite"),
    ],
)
def test_arguments_that_do_not_fit_are_rejected_before_evaluation(options: dict[str, object], said: str) -> None:
    def objective(theta: Tensor) -> tuple[float, Tensor]:
        raise AssertionError("evaluated")

    given = {"theta": torch.zeros(4), "deltas": torch.zeros(2, 4), **options}
    with pytest.raises(UserError, match=said) as caught:
        fit_alpha(objective, **given)
    assert str(caught.value).startswith("fit_alpha: ")
    assert "\n" not in str(caught.value)
