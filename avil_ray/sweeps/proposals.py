"""Who proposes configurations from the results of those before: Optuna, or a surrogate of the select figure.

A proposer is seeded and is told results in the order of its proposals, so a sweep that was stopped proposes the same
again and finds their results there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, product
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from avil_ray.randomness import derive, numpy_generator
from avil_ray.spaces.distributions import Distribution

if TYPE_CHECKING:
    import optuna

Point = Mapping[str, Any]
"""Option, dotted -> its value."""
Array = npt.NDArray[np.float64]

CANDIDATES = 10_000
"""Configurations that the surrogate chooses from where they cannot all be listed."""


class Proposer(Protocol):
    """Proposes values of free options."""

    def ask(self, count: int) -> list[Point]:
        """So many points to try at once."""
        ...

    def tell(self, scores: Sequence[float | None]) -> None:
        """The scores of the points that were asked for last, larger is better; None where there is none."""
        ...


class Drawn:
    """Points that do not depend on any score."""

    def __init__(self, points: Iterable[Point]) -> None:
        self._points = iter(points)

    def ask(self, count: int) -> list[Point]:
        """See `Proposer`."""
        return list(islice(self._points, count))

    def tell(self, scores: Sequence[float | None]) -> None:
        """See `Proposer`."""


class Optuna:
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011)."""

    def __init__(self, free: Mapping[str, Distribution], name: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=derive(0, "optuna", name) % 2**32)
        self._free, self._study = free, optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: list[optuna.Trial] = []

    def ask(self, count: int) -> list[Point]:
        """See `Proposer`."""
        self._asked = [self._study.ask() for _ in range(count)]
        return [{key: _suggest(trial, key, one) for key, one in self._free.items()} for trial in self._asked]

    def tell(self, scores: Sequence[float | None]) -> None:
        """See `Proposer`."""
        from optuna.trial import TrialState

        for trial, score in zip(self._asked, scores, strict=True):
            if score is None:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._study.tell(trial, score)


def _suggest(trial: optuna.Trial, key: str, one: Distribution) -> Any:
    if one.continuous:
        low, high = map(float, one.values)
        return trial.suggest_float(key, low, high, log=one.kind == "loguniform")
    return one.values[trial.suggest_categorical(key, list(range(len(one.values))))]


class Surrogate:
    """A Gaussian process of the score over log-weights, and the points of largest expected improvement.

    First come points that lie far apart; then, again and again, those of which the process expects the largest
    improvement upon the best score so far (Jones et al. 1998). Within a batch each point is taken to score what the
    process expects of it. No point comes twice.

    Examples
    --------
    >>> search = Surrogate({"weights.right": Distribution("grid", (0, 0.5, 1, 2))}, "static")
    >>> first = search.ask(3)
    >>> search.tell([0.8, 0.9, 0.7])
    >>> len(search.ask(1))
    1
    """

    def __init__(self, free: Mapping[str, Distribution], name: str) -> None:
        self._points = _candidates(free, name)
        self._places = np.stack([_place(point, free) for point in self._points])
        self._seed = derive(0, "surrogate", name) % 2**32
        self._tried: list[int] = []
        self._scores: dict[int, float] = {}
        self._asked: list[int] = []

    @property
    def design(self) -> int:
        """How many points are chosen before any score is looked at: two more than there are options, and the same."""
        return 2 * (int(self._places.shape[1]) + 1)

    def ask(self, count: int) -> list[Point]:
        """See `Proposer`."""
        self._asked, expected = [], dict(self._scores)
        for _ in range(min(count, len(self._points) - len(self._tried))):
            left = sorted(set(range(len(self._points))) - set(self._tried))
            if len(self._tried) < self.design or len(set(expected.values())) < 2:
                chosen = self._farthest(left)
            else:
                chosen, expected[chosen] = self._best(left, expected)
            self._tried.append(chosen)
            self._asked.append(chosen)
        return [self._points[index] for index in self._asked]

    def tell(self, scores: Sequence[float | None]) -> None:
        """See `Proposer`; a point without a score is taken to be as bad as the worst."""
        worst = min([score for score in (*scores, *self._scores.values()) if score is not None], default=0.0)
        for index, score in zip(self._asked, scores, strict=True):
            self._scores[index] = worst if score is None else score

    def _farthest(self, left: Sequence[int]) -> int:
        """The point that is farthest from all that were tried; the one nearest to the middle to begin with."""
        if not self._tried:
            return left[int(np.abs(self._places[left] - 0.5).sum(1).argmin())]
        apart = np.linalg.norm(self._places[left][:, None] - self._places[self._tried][None], axis=2).min(1)
        return left[int(apart.argmax())]

    def _best(self, left: Sequence[int], known: Mapping[int, float]) -> tuple[int, float]:
        """The point of the largest expected improvement, and what is expected of it."""
        from scipy.stats import norm
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        scales = np.ones(self._places.shape[1])
        kernel = ConstantKernel() * Matern(scales, (0.1, 10.0), nu=2.5) + WhiteKernel(0.1, (1e-4, 1.0))
        process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=self._seed)
        tried = list(known)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a length scale is at its bound is no news with so few points
            process.fit(self._places[tried], [known[index] for index in tried])
        mean, deviation = process.predict(self._places[left], return_std=True)
        # against the best that the process believes in: scores are noisy, and the best of them was lucky
        best = process.predict(self._places[tried]).max()
        ahead = (mean - best) / np.maximum(deviation, 1e-12)
        improvement = deviation * (ahead * norm.cdf(ahead) + norm.pdf(ahead))
        chosen = int(improvement.argmax())
        return left[chosen], float(mean[chosen])


def _candidates(free: Mapping[str, Distribution], name: str) -> list[Point]:
    """All points where they can be listed, else so many that are drawn."""
    listed = not any(one.continuous for one in free.values())
    if listed and prod(len(one.values) for one in free.values()) <= CANDIDATES:
        return [dict(zip(free, values, strict=True)) for values in product(*(one.values for one in free.values()))]
    return [
        {key: one.draw(numpy_generator(0, "surrogate", name, index, key)) for key, one in free.items()}
        for index in range(CANDIDATES)
    ]


def _place(point: Point, free: Mapping[str, Distribution]) -> Array:
    """Where a point lies in the unit cube: numbers from the lowest to the highest, words each on an axis.

    Numbers lie on a log scale, of which 0 is half the smallest other one; where they may be negative, or are drawn
    uniformly, on a linear one.
    """
    return np.concatenate([_axis(point[key], one) for key, one in free.items()])


def _axis(value: Any, one: Distribution) -> Array:
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in one.values):
        return np.array([float(value == each) for each in one.values])
    low, high = min(one.values), max(one.values)
    if low == high:
        return np.array([0.5])
    if low < 0 or one.kind == "uniform":
        return np.array([(value - low) / (high - low)])
    offset = min(each for each in one.values if each > 0) / 2 if low == 0 else 0.0
    return np.array([math.log((value + offset) / (low + offset)) / math.log((high + offset) / (low + offset))])
