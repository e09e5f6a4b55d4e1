from __future__ import annotations

import math

import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.spaces.distributions import Distribution, read_distribution, split


def draws(distribution, count=4000):
    generator = np.random.default_rng(0)
    return [distribution.draw(generator) for _ in range(count)]


@pytest.mark.parametrize("kind", ["grid", "choice"])
def test_a_list_is_drawn_from_evenly(kind):
    found = draws(Distribution(kind, (1, "a", None)))
    assert all(abs(found.count(value) / len(found) - 1 / 3) < 0.03 for value in (1, "a", None))


def test_uniform_covers_its_range_evenly():
    found = np.array(draws(Distribution("uniform", (-1, 3))))
    assert found.min() >= -1
    assert found.max() <= 3
    assert found.mean() == pytest.approx(1, abs=0.1)
    assert (found < 0).mean() == pytest.approx(0.25, abs=0.03)


def test_loguniform_is_even_in_the_logarithm_and_stays_inside():
    found = np.log10(draws(Distribution("loguniform", (1e-4, 1e-1))))
    assert found.min() >= -4
    assert found.max() <= -1
    assert found.mean() == pytest.approx(-2.5, abs=0.05)


def test_draws_are_plain_python_numbers():
    assert type(Distribution("uniform", (0, 1)).draw(np.random.default_rng(0))) is float
    assert type(Distribution("loguniform", (0.1, 1)).draw(np.random.default_rng(0))) is float
    assert type(Distribution("choice", (1, 2)).draw(np.random.default_rng(0))) is int


def test_loguniform_of_almost_equal_bounds_stays_between_them():
    low = 0.1
    high = math.nextafter(low, 1)
    assert set(draws(Distribution("loguniform", (low, high)), 100)) <= {low, high}


def test_split_tells_fixed_from_free_inside_mappings_too():
    options = {
        "dev": "train",
        "learning_rate": {"loguniform": [0.001, 0.1]},
        "weights": {"right": {"grid": [0, 1]}, "left_odd": 0.5},
        "alpha_bounds": [0, 4],
        "empty": {},
    }
    fixed, free, problems = split(options, "methods[0]")
    assert fixed == {"dev": "train", "weights": {"left_odd": 0.5}, "alpha_bounds": [0, 4], "empty": {}}
    assert free == {
        "learning_rate": Distribution("loguniform", (0.001, 0.1)),
        "weights.right": Distribution("grid", (0, 1)),
    }
    assert problems == []


def test_split_keeps_no_empty_mapping_where_all_parts_are_free():
    fixed, free, _ = split({"weights": {"right": {"grid": [0, 1]}}}, "methods[0]")
    assert fixed == {}
    assert list(free) == ["weights.right"]


def test_split_finds_every_mistake():
    _, _, problems = split({"a": {"grid": []}, "b": {"c": {"uniform": [2, 1]}}}, "methods[0]")
    assert problems == [
        "methods[0].a.grid must be a list with at least one value such as [0, 1], not []",
        "methods[0].b.c.uniform: the first number must be below the second, not [2, 1]",
    ]


@pytest.mark.parametrize("value", [3, "grid", None, [1, 2], {}, {"right": 1}, {"right": 1, "girl": [2]}])
def test_ordinary_values_are_no_distributions(value):
    assert read_distribution(value, "x") is None


def test_whole_lists_and_mappings_may_be_searched():
    assert read_distribution({"grid": [[0, 4], [0, 2]]}, "x") == Distribution("grid", ([0, 4], [0, 2]))
    assert read_distribution({"choice": [{"right": 1}, {"right": 0}]}, "x") is not None


def test_true_and_one_are_different_values():
    assert read_distribution({"grid": [True, 1]}, "x") == Distribution("grid", (True, 1))


NUMBERS = "must be two numbers such as"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"grid": []}, "x.grid must be a list with at least one value such as [0, 1], not []"),
        ({"grid": 3}, "x.grid must be a list with at least one value such as [0, 1], not 3"),
        ({"choice": "ab"}, "x.choice must be a list with at least one value such as [0, 1], not 'ab'"),
        ({"grid": [0, 1, 0.0]}, "x.grid: 0.0 is given twice"),
        ({"choice": ["a", "a"]}, "x.choice: 'a' is given twice"),
        ({"grid": [{"uniform": [0, 1]}]}, "x.grid[0]: distributions cannot be nested"),
        ({"choice": [1, {"right": {"grid": [0]}}]}, "x.choice[1]: distributions cannot be nested"),
        (
            {"grid": [0], "choice": [1]},
            "x: grid, choice conflict; use one of grid, choice, uniform, loguniform",
        ),
        ({"grid": [0], "right": 1}, "x: grid, right conflict; use one of grid, choice, uniform, loguniform"),
        ({"uniform": [0]}, f"x.uniform {NUMBERS} [0, 1], not [0]"),
        ({"uniform": [0, 1, 2]}, f"x.uniform {NUMBERS} [0, 1], not [0, 1, 2]"),
        ({"uniform": ["a", 1]}, f"x.uniform {NUMBERS} [0, 1], not ['a', 1]"),
        ({"uniform": [True, 2]}, f"x.uniform {NUMBERS} [0, 1], not [True, 2]"),
        ({"uniform": [0, math.inf]}, f"x.uniform {NUMBERS} [0, 1], not [0, inf]"),
        ({"uniform": 3}, f"x.uniform {NUMBERS} [0, 1], not 3"),
        ({"uniform": [2, 1]}, "x.uniform: the first number must be below the second, not [2, 1]"),
        ({"uniform": [1, 1]}, "x.uniform: the first number must be below the second, not [1, 1]"),
        ({"loguniform": [0, 1]}, "x.loguniform: both numbers must be above 0, not [0, 1]"),
        ({"loguniform": [-2, -1]}, "x.loguniform: both numbers must be above 0, not [-2, -1]"),
        ({"loguniform": "a"}, f"x.loguniform {NUMBERS} [0.001, 0.1], not 'a'"),
        ({"gird": [0, 1]}, "x: unknown distribution 'gird'; did you mean 'grid'?"),
        ({"logunifrom": [0.1, 1]}, "x: unknown distribution 'logunifrom'; did you mean 'loguniform'?"),
    ],
)
def test_each_wrong_distribution_is_one_line(value, message):
    with pytest.raises(UserError) as caught:
        read_distribution(value, "x")
    assert str(caught.value) == message
