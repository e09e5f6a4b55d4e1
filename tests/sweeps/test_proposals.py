"""What is proposed: far apart to begin with, better than chance then, never twice, and the same again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from avil_ray.randomness import numpy_generator
from avil_ray.spaces.distributions import Distribution
from avil_ray.sweeps.proposals import Point, Surrogate

WEIGHTS = (0, 0.03, 0.1, 0.3, 1, 3)
GRID = {name: Distribution("grid", WEIGHTS) for name in "abc"}


def searched(
    free: Mapping[str, Distribution], score: Callable[[Point], float | None], count: int, name: str = "static"
) -> list[Point]:
    """The points of a search, four at a time."""
    search, points = Surrogate(free, name), list[Point]()
    while len(points) < count:
        batch = search.ask(min(4, count - len(points)))
        search.tell([score(point) for point in batch])
        points += batch
    return points


def valley(best: Mapping[str, float]) -> Callable[[Mapping[str, Any]], float]:
    """Best at one point, and worse on all sides, on a log scale."""
    return lambda point: -sum(math.log((point[key] + 0.02) / (at + 0.02)) ** 2 for key, at in best.items())


def test_it_finds_the_best_of_a_grid_in_a_tenth_of_it_where_chance_does_not() -> None:
    found, chance = 0, 0
    for number in range(8):
        generator = numpy_generator(number, "best")
        best = {key: float(generator.choice(WEIGHTS)) for key in GRID}
        score = valley(best)
        found += best in searched(GRID, score, 22, f"static {number}")
        drawn = [{key: float(generator.choice(WEIGHTS)) for key in GRID} for _ in range(22)]
        chance += best in drawn
    assert found >= 7
    assert chance <= 4


def test_noise_does_not_lead_it_far_away() -> None:
    best = {"a": 0.3, "b": 0, "c": 1}
    generator, score = numpy_generator(0, "noise"), valley(best)
    points = searched(GRID, lambda point: score(point) + float(generator.normal(scale=1.0)), 30)
    assert max(score(point) for point in points[-8:]) > -2.0


def test_the_same_search_proposes_the_same_and_nothing_twice() -> None:
    score = valley({"a": 0.1, "b": 1, "c": 0})
    points = searched(GRID, score, 24)
    assert points == searched(GRID, score, 24)
    assert len({tuple(point.values()) for point in points}) == 24


def test_the_first_points_lie_apart() -> None:
    free = {"a": Distribution("grid", WEIGHTS)}
    points = [point["a"] for point in searched(free, lambda point: 0.0, 3)]
    assert {0, 3} <= set(points)


def test_all_points_of_a_small_grid_are_tried_and_no_more_are_there() -> None:
    search = Surrogate({"a": Distribution("grid", WEIGHTS)}, "static")
    assert len(search.ask(10)) == len(WEIGHTS)
    search.tell([0.0] * len(WEIGHTS))
    assert search.ask(1) == []


def test_a_point_without_a_score_is_avoided() -> None:
    def score(point: Point) -> float | None:
        return None if point["a"] > 0.5 else point["a"]

    points = searched({"a": Distribution("uniform", (0, 1)), "b": Distribution("choice", ("x", "y"))}, score, 24)
    assert sum(point["a"] > 0.5 for point in points[10:]) < 7
    assert max(point["a"] for point in points if point["a"] <= 0.5) > 0.4


@pytest.mark.parametrize(
    "one",
    [
        Distribution("loguniform", (0.001, 1)),
        Distribution("uniform", (0, 2)),
        Distribution("uniform", (-1, 1)),
        Distribution("grid", (0,)),
        Distribution("choice", (True, False)),
    ],
)
def test_every_kind_of_option_can_be_searched(one: Distribution) -> None:
    points = [point["a"] for point in searched({"a": one}, lambda point: float(point["a"]), 1)]
    assert points[0] in one.values or one.values[0] <= points[0] <= one.values[1]


def test_numbers_are_spaced_by_their_logarithms() -> None:
    from avil_ray.sweeps.proposals import _place

    places = [float(_place({"a": weight}, {"a": Distribution("grid", WEIGHTS)})[0]) for weight in WEIGHTS]
    assert places[0] == 0
    assert places[-1] == pytest.approx(1)
    steps = np.array([after - before for before, after in pairwise(places)])
    assert steps.min() > 0.1
