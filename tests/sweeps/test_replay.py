"""Searches replayed on a small grid find what closed forms and brute force say, and spend no more than the budget."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from avil_ray.reports.statistics import Tried, expected_best
from avil_ray.sweeps.proposals import Optuna, Surrogate
from avil_ray.sweeps.replay import KINDS, Found, Grid, Measured, Rung, coarse, drawn, halved, proposed

WEIGHTS = (0, 0.03, 0.1, 0.3, 1)
BUDGETS = (0, 99, 100, 450, 1600)


def line(points: Sequence[Measured]) -> Grid:
    return Grid("static", {"a": tuple(range(len(points)))}, tuple(points))


def valley(noise: float = 0.0, options: str = "ab") -> Grid:
    """Weights of five values, of which 0.1 is best; the more tasks train, the more a configuration costs."""
    generator, points = np.random.default_rng(0), []
    for values in itertools.product(WEIGHTS, repeat=len(options)):
        score = -sum(math.log((one + 0.02) / 0.12) ** 2 for one in values) + generator.normal(0, noise)
        cost = 100 * (1 + sum(map(bool, values)))
        rungs = tuple(Rung(rounds, score - 1 / rounds, cost * rounds / 20) for rounds in (5, 15))
        points.append(Measured(score, cost, rungs))
    return Grid("static", dict.fromkeys(options, WEIGHTS), tuple(points))


def mean_score(grid: Grid, found: Sequence[Found]) -> float:
    scores = [grid.points[one.chosen].score for one in found if one.chosen is not None]
    return float(np.mean([score for score in scores if score is not None]))


def within(mean: float, found: Sequence[float]) -> bool:
    """Whether the mean of what was found is that, within four standard errors."""
    return abs(float(np.mean(found)) - mean) < 4 * float(np.std(found)) / math.sqrt(len(found))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_no_search_spends_more_than_the_budget_or_chooses_what_it_has_not_tried(name: str, budget: int) -> None:
    grid = valley(0.3)
    found = [KINDS[name].search(grid, budget, repeat) for repeat in range(3)]
    for one in found:
        assert one.cost <= budget
        assert len(set(one.tried)) == len(one.tried)
        assert (one.chosen in one.tried) == bool(one.tried)
        if name != "asha":
            assert one.cost == sum(grid.points[place].cost for place in one.tried)
    assert found == [KINDS[name].search(grid, budget, repeat) for repeat in range(3)], "the same again"


@pytest.mark.parametrize("name", ["grid", "random", "surrogate"])
def test_a_search_that_can_pay_for_all_finds_what_the_whole_grid_finds(name: str) -> None:
    grid = valley()
    one = KINDS[name].search(grid, sum(point.cost for point in grid.points), 0)
    assert sorted(one.tried) == list(range(25))
    assert one.chosen == list(itertools.product(WEIGHTS, repeat=2)).index((0.1, 0.1))


def test_random_is_what_the_closed_form_says_where_all_cost_the_same() -> None:
    scores = (0.3, 0.9, 0.1, 0.7, 0.7, 0.2)
    tests = (0.1, 0.8, 0.3, 0.9, 0.5, 0.6)
    grid = line([Measured(score, 100) for score in scores])
    tried = [Tried(score, test, 100) for score, test in zip(scores, tests, strict=True)]
    for count, best in enumerate(expected_best(tried, "max"), start=1):
        found = [drawn(grid, 100 * count + 99, repeat) for repeat in range(2000)]
        reached = [tests[one.chosen] for one in found if one.chosen is not None]
        assert {len(one.tried) for one in found} == {count}
        assert within(best.test, reached) or np.ptp(reached) == 0


def test_random_is_what_all_orders_give_where_configurations_cost_differently() -> None:
    points = [Measured(0.1, 50), Measured(None, 120), Measured(0.9, 210), Measured(0.5, 100), Measured(0.7, 160)]

    def chosen(order: Sequence[int]) -> float:
        spent, best = 0.0, -1.0
        for place in order:
            spent += points[place].cost
            if spent > 330:
                break
            score = points[place].score
            best = best if score is None else max(best, score)
        return best

    exact = float(np.mean([chosen(order) for order in itertools.permutations(range(5))]))
    found = [drawn(line(points), 330, repeat) for repeat in range(3000)]
    scores = [-1.0 if one.chosen is None else points[one.chosen].score for one in found]
    assert within(exact, [score for score in scores if score is not None])


def test_what_failed_is_paid_for_and_never_chosen() -> None:
    grid = line([Measured(None, 100), Measured(0.2, 100), Measured(None, 100)])
    for name in KINDS:
        one = KINDS[name].search(grid, 300, 0)
        assert (one.chosen, one.cost) == (1, 300), name
    assert drawn(line([Measured(None, 100)]), 300, 0) == Found(None, (0,), 100)


def test_a_coarse_grid_has_even_values_and_as_many_as_can_be_paid_for() -> None:
    axes = {"a": tuple(range(5)), "b": tuple(range(5))}
    grid = Grid("static", axes, tuple(Measured(float(place), 1) for place in range(25)))
    expected = {4: (0, 4), 9: (0, 2, 4), 16: (0, 1, 3, 4), 25: (0, 1, 2, 3, 4)}
    for budget, values in expected.items():
        for repeat in range(5):
            assert coarse(grid, budget, repeat).tried == tuple(5 * a + b for a in values for b in values)
    assert {len(coarse(grid, 7, repeat).tried) for repeat in range(9)} == {6}
    singles = {coarse(grid, 1, repeat).tried for repeat in range(200)}
    assert len(singles) == 25, "an option that keeps one value keeps any of them"


def test_halving_pays_for_the_rounds_that_were_run() -> None:
    generator = np.random.default_rng(1)
    scores = generator.permutation(9) / 10
    points = [Measured(score, 4, (Rung(5, score - 0.3, 1), Rung(15, score - 0.1, 3))) for score in scores]
    grid, last = line(points), int(scores.argmax())
    # of nine, six pay for the first rung and two for the second; one goes on to the end
    assert halved(grid, 16, 0) == Found(last, halved(grid, 16, 0).tried, 6 * 1 + 2 * 3 + 4)
    assert len(halved(grid, 16, 0).tried) == 9
    assert len(halved(grid, 15, 0).tried) == 8
    assert halved(grid, 1, 0) == Found(None, (), 0.0), "one alone goes on to the end"
    assert len(halved(grid, 4, 0).tried) == 1


def test_halving_misses_what_is_good_late_and_stops_what_has_no_figure() -> None:
    points = [Measured(0.5, 4, (Rung(5, 0.4 + place / 100, 1), Rung(15, 0.45, 3))) for place in range(8)]
    late = Measured(0.9, 4, (Rung(5, 0.1, 1), Rung(15, 0.8, 3)))
    assert halved(line([late, *points]), 100, 0).chosen != 0
    blind = replace(late, rungs=(Rung(5, math.nan, 1), Rung(15, math.nan, 3)))
    assert halved(line([blind, *points]), 100, 0).chosen != 0
    assert halved(line([blind, blind]), 100, 0) == Found(None, halved(line([blind, blind]), 100, 0).tried, 2)


def test_the_surrogate_finds_more_than_chance_at_the_same_cost() -> None:
    grid = valley(0.1, "abc")
    by_chance = mean_score(grid, [drawn(grid, 5000, repeat) for repeat in range(100)])
    assert mean_score(grid, [KINDS["surrogate"].search(grid, 5000, 0)]) > by_chance + 0.5


def test_proposals_that_come_again_cost_nothing_and_end_at_last() -> None:
    class Stubborn(Surrogate):
        def ask(self, count: int) -> list[dict[str, int]]:  # type: ignore[override]
            self._asked = [2] * count
            return [{"a": 2}] * count

    grid = line([Measured(float(place), 100) for place in range(4)])
    assert proposed(Stubborn)(grid, 1000, 0) == Found(2, (2,), 100)
    one = proposed(Optuna)(grid, 1000, 0)
    assert one.cost == 100 * len(one.tried)


def test_a_proposer_is_told_the_scores_of_what_it_asked() -> None:
    told: list[float | None] = []

    class Listening(Surrogate):
        def tell(self, scores: Sequence[float | None]) -> None:
            told.extend(scores)
            super().tell(scores)

    points = [Measured(None if place == 1 else float(place), 100) for place in range(6)]
    one = proposed(Listening)(line(points), 550, 0)
    assert told[:4] == [points[place].score for place in one.tried[:4]]
    assert one.cost == 500, "the sixth cannot be paid for"


def test_a_search_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = line([Measured(0.1, 1), Measured(0.2, 1)])
    assert KINDS["asha"].lacks(bare, 1) == "no history is stored"
    assert KINDS["asha"].lacks(valley(), 1) is None
    assert KINDS["random"].lacks(bare, 1) is None
    monkeypatch.setattr("avil_ray.sweeps.replay.find_spec", lambda name: None)
    assert "optuna is not installed" in str(KINDS["optuna"].lacks(bare, 1))
    large = line([Measured(0.1, 10)] * 400)
    assert KINDS["surrogate"].lacks(large, 1000) is None
    assert KINDS["surrogate"].lacks(large, 3000) == "300 configurations, 100 at most are replayed"
