"""Means, intervals, paired differences and what a search of k configurations is worth: formulas, nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Mode = Literal["max", "min"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` values with its 95 % interval; None for one value, as one seed says nothing of the spread."""

    mean: float
    interval: Interval | None
    count: int

    @property
    def half_width(self) -> float | None:
        """Half the interval's width, the figure after ±."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2


@dataclass(frozen=True)
class PairedEstimate:
    """The mean difference a − b over the `pairs` seeds both have; interval and p-value are None below two pairs."""

    difference: float
    interval: Interval | None
    p_value: float | None
    pairs: int


@dataclass(frozen=True)
class Tried:
    """One configuration of a search: its figures on select and test (None without a complete result) and its cost."""

    select: float | None
    test: float | None
    cost: float


@dataclass(frozen=True)
class BestOf:
    """What `count` configurations are expected to yield on test, and to cost together."""

    count: int
    test: float
    cost: float


def mean_interval(values: Sequence[float]) -> Estimate:
    """The mean of n values and its 95 % Student-t interval, m ± t(0.975, n − 1) · s / √n with s over n − 1.

    Every textbook has it; Student, "The Probable Error of a Mean", Biometrika 1908. It takes the values for
    independent and roughly normal. ValueError for no value, or one that is not finite: such a trial is no result and
    must not be averaged.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"a mean needs at least one value, and finite ones, not {list(values)}")
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Estimate(mean, None, 1)
    half = float(stats.t.ppf(0.975, len(numbers) - 1)) * _standard_error(numbers)
    return Estimate(mean, (mean - half, mean + half), len(numbers))


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> PairedEstimate | None:
    """The mean of a − b over the seeds both have, its 95 % t interval and the two-sided p-value of the paired t-test.

    With d_s = a_s − b_s over n seeds: t = mean(d) / (std(d) / √n), p = 2 · P(T_{n−1} > |t|). Pairing removes what the
    seeds share (the draw of data, the initialisation). None where the two have no seed in common.
    """
    seeds = sorted(set(a) & set(b))
    if not seeds:
        return None
    differences = np.array([a[seed] - b[seed] for seed in seeds], dtype=np.float64)
    estimate = mean_interval(differences.tolist())
    if estimate.interval is None:
        return PairedEstimate(estimate.mean, None, None, estimate.count)
    error = _standard_error(differences)
    if error == 0:  # every pair differs by the same amount: t is infinite, or 0/0 where that amount is 0
        p_value = 1.0 if estimate.mean == 0 else 0.0
    else:
        p_value = 2 * float(stats.t.sf(abs(estimate.mean) / error, len(seeds) - 1))
    return PairedEstimate(estimate.mean, estimate.interval, p_value, len(seeds))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of m tests, corrected so that the chance of any false alarm among them stays at the level tested at.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Statistics 1979: with the p-values in
    rising order, p'_i = max over j ≤ i of min(1, (m + 1 − j) · p_j). It holds whatever the tests' dependence.

    Examples
    --------
    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    corrected, highest, count = [0.0] * len(p_values), 0.0, len(p_values)
    for place, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (count - place) * p_values[index]))
        corrected[index] = highest
    return corrected


MOST_SEEDS = 200
"""More seeds than these nobody will run: there is nothing to tell."""


def seeds_to_tell(a: Mapping[int, float], b: Mapping[int, float], comparisons: int) -> int | None:
    """With how many seeds the paired difference would differ from 0, should its mean and spread stay as they are.

    The smallest n, from the number of pairs on, with t(1 − 0.025 / m, n − 1) · s / √n < |mean|, for m comparisons made
    at once (Bonferroni). A rough guide: mean and spread are themselves estimates. None below two pairs, where the
    spread is 0, and where it would take more than `MOST_SEEDS`.
    """
    differences = np.array([a[seed] - b[seed] for seed in sorted(set(a) & set(b))], dtype=np.float64)
    if len(differences) < 2 or not differences.std():
        return None
    counts = np.arange(len(differences), MOST_SEEDS + 1)
    half = stats.t.ppf(1 - 0.025 / comparisons, counts - 1) * differences.std(ddof=1) / np.sqrt(counts)
    enough = counts[half < abs(differences.mean())]
    return int(enough[0]) if len(enough) else None


def expected_best(tried: Sequence[Tried], mode: Mode) -> list[BestOf]:
    """What a search would have reached with fewer configurations: one `BestOf` for each k = 1 … K where it can be said.

    Draw k of the K configurations without replacement, choose the one with the best select figure, read its test
    figure: this is the exact expectation of that figure. With the configurations ranked by select, r = 0 the best
    (ties: the earlier one first, as in the real choice), the one of rank r is chosen when it is drawn and none of the
    r better ones is:

        P(r | k) = C(K − 1 − r, k − 1) / C(K, k)
        that is  P(0 | k) = k / K  and  P(r + 1 | k) = P(r | k) · (K − k − r) / (K − 1 − r)

    Configurations without a complete result rank last: they cost, but cannot be chosen. Where all k may be such, the
    expectation is over the draws with at least one complete result. The cost of k configurations is k times the mean
    cost. At k = K both are what the search really found and paid.

    The idea is the expected validation curve of Dodge et al., "Show Your Work" (EMNLP 2019). Theirs draws with
    replacement and reads the maximum of the very scores it chooses by; ours draws without, and reads test where
    select chose.
    """
    total = len(tried)
    sign = -1.0 if mode == "max" else 1.0
    complete = sorted(
        (sign * one.select, index, one.test)
        for index, one in enumerate(tried)
        if one.select is not None and one.test is not None
    )
    if not complete:
        return []
    test = np.array([figure for _, _, figure in complete], dtype=np.float64)
    better = np.arange(len(complete) - 1)
    mean_cost = math.fsum(one.cost for one in tried) / total
    found = []
    for count in range(1, total + 1):
        ratios = np.maximum(total - count - better, 0) / (total - 1 - better)
        chances = count / total * np.concatenate([[1.0], np.cumprod(ratios)])
        found.append(BestOf(count, float(chances @ test / chances.sum()), count * mean_cost))
    return found


def _standard_error(numbers: npt.NDArray[np.float64]) -> float:
    """The standard error s / √n of at least two numbers, s with n − 1 in the denominator."""
    return float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
