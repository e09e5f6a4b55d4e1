"""Every formula against SciPy, or against counting all the cases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from avil_ray.reports.statistics import (
    Mode,
    Tried,
    expected_best,
    holm,
    mean_interval,
    paired_difference,
    seeds_to_tell,
)

FIGURES = [0.931, 0.942, 0.927, 0.950, 0.936]


def test_the_interval_is_scipys() -> None:
    found = mean_interval(FIGURES)
    low, high = stats.t.interval(0.95, len(FIGURES) - 1, np.mean(FIGURES), stats.sem(FIGURES))
    assert found.mean == pytest.approx(np.mean(FIGURES), rel=1e-14)
    assert found.interval == pytest.approx((low, high), rel=1e-12)
    assert found.half_width == pytest.approx((high - low) / 2, rel=1e-12)


def test_one_value_has_no_interval() -> None:
    found = mean_interval([0.9])
    assert (found.mean, found.interval, found.half_width, found.count) == (0.9, None, None, 1)


@pytest.mark.parametrize("values", [[], [0.9, math.nan], [math.inf]])
def test_what_is_no_figure_is_not_averaged(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval(values)


def test_differences_are_paired_by_seed_over_the_seeds_both_have() -> None:
    a = {0: 0.93, 1: 0.95, 2: 0.94, 3: 0.96, 7: 0.10}
    b = {3: 0.95, 2: 0.935, 1: 0.93, 0: 0.92, 9: 0.99}
    found = paired_difference(a, b)
    expected = stats.ttest_rel([a[seed] for seed in range(4)], [b[seed] for seed in range(4)])
    low, high = expected.confidence_interval(0.95)
    assert found is not None
    assert found.pairs == 4
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-10)
    assert found.interval == pytest.approx((low, high), rel=1e-10)


def test_a_difference_has_no_interval_below_two_pairs() -> None:
    found = paired_difference({0: 0.5, 1: 0.9}, {0: 0.25})
    assert found is not None
    assert (found.difference, found.interval, found.p_value, found.pairs) == (0.25, None, None, 1)
    assert paired_difference({0: 0.5}, {1: 0.5}) is None


def test_differences_that_are_all_the_same() -> None:
    same = paired_difference({0: 0.5, 1: 0.75}, {0: 0.5, 1: 0.75})
    apart = paired_difference({0: 0.5, 1: 0.75}, {0: 0.25, 1: 0.5})
    assert same is not None
    assert apart is not None
    assert (same.interval, same.p_value) == ((0.0, 0.0), 1.0)
    assert (apart.interval, apart.p_value) == ((0.25, 0.25), 0.0)


def by_enumeration(tried: list[Tried], count: int, mode: Mode) -> tuple[float, float] | None:
    """(mean test of the chosen, mean cost) over every set of `count`; a set without a result gives no test."""
    sign = 1 if mode == "max" else -1
    tests, costs = [], []
    for drawn in itertools.combinations(tried, count):
        costs.append(sum(one.cost for one in drawn))
        complete = [one for one in drawn if one.select is not None]
        if complete:
            tests.append(max(complete, key=lambda one: sign * (one.select or 0.0)).test)
    return (float(np.mean([test for test in tests if test is not None])), float(np.mean(costs))) if tests else None


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("incomplete", [0, 1, 3])
def test_the_expected_best_is_the_mean_over_all_draws(mode: Mode, incomplete: int) -> None:
    generator = np.random.default_rng(incomplete)
    tried = [
        Tried(float(generator.normal()), float(generator.normal()), float(generator.uniform(1, 9))) for _ in range(7)
    ]
    tried[2] = Tried(tried[5].select, 0.123, 4.0)  # a tie in select: the earlier one is chosen
    for place in range(incomplete):
        tried[2 * place] = Tried(None, None, 3.0)
    found = expected_best(tried, mode)
    assert [best.count for best in found] == list(range(1, 8))
    for best in found:
        assert (best.test, best.cost) == pytest.approx(by_enumeration(tried, best.count, mode), rel=1e-12)


def test_with_all_configurations_it_is_the_chosen_one_and_the_whole_cost() -> None:
    tried = [Tried(0.5, 0.4, 10.0), Tried(0.9, 0.7, 20.0), Tried(0.8, 0.95, 30.0)]
    last = expected_best(tried, "max")[-1]
    assert (last.test, last.cost) == (0.7, 60.0)  # read where select chose, not the best of test
    assert expected_best(tried, "min")[-1].test == 0.4


def test_without_any_result_nothing_is_expected() -> None:
    assert expected_best([Tried(None, None, 1.0)], "max") == []
    assert expected_best([], "max") == []


def test_a_long_search_stays_exact() -> None:
    tried = [Tried(float(index), float(index), 1.0) for index in range(1200)]
    found = expected_best(tried, "max")
    # the expected largest of k of the K numbers below K is k (K + 1) / (k + 1), less 1
    for count in (1, 2, 37, 600, 1200):
        assert found[count - 1].test == pytest.approx(count * 1201 / (count + 1) - 1, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_its_steps_reject(seed: int) -> None:
    p_values = np.random.default_rng(seed).uniform(0, 0.08, 7).tolist()
    corrected = holm(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected: set[int] = set()
        for place, index in enumerate(np.argsort(p_values).tolist()):
            if p_values[index] > level / (len(p_values) - place):
                break
            rejected.add(index)
        assert {index for index, p_value in enumerate(corrected) if p_value <= level} == rejected


def test_holm_changes_nothing_for_one_test_and_never_exceeds_one() -> None:
    assert holm([0.03]) == [0.03]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_seeds_it_would_take_are_those_at_which_the_interval_leaves_zero() -> None:
    a, b = {0: 0.02, 1: -0.01, 2: 0.02}, dict.fromkeys(range(3), 0.0)
    needed = seeds_to_tell(a, b, 1)
    assert needed is not None
    spread = np.std([0.02, -0.01, 0.02], ddof=1)
    half = [stats.t.ppf(0.975, count - 1) * spread / np.sqrt(count) for count in (needed - 1, needed)]
    assert half[1] < 0.01 <= half[0]
    more = seeds_to_tell(a, b, 10)
    assert more is not None
    assert more > needed


def test_nothing_is_said_of_seeds_where_nothing_can_be() -> None:
    assert seeds_to_tell({0: 1.0}, {0: 0.5}, 1) is None
    assert seeds_to_tell({0: 1.0, 1: 1.0}, {0: 0.5, 1: 0.5}, 1) is None
    assert seeds_to_tell({0: 1.0, 1: -1.0}, {0: 0.0, 1: 0.0}, 1) is None
