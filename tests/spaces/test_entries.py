# ruff: noqa: E501 (messages stand in one piece, so that they can be searched for)
from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from avil_ray.catalog import build_method
from avil_ray.errors import UserError
from avil_ray.methods.static import Static
from avil_ray.spaces.distributions import Distribution
from avil_ray.spaces.entries import Configuration, Entry, Search, plan

GRID, RANDOM, OPTUNA = Search(), Search("random", trials=5), Search("optuna", trials=5)
RIGHT = Distribution("grid", (0, 0.5, 1))
ODD = Distribution("grid", (0, 1))
RATE = Distribution("loguniform", (0.001, 0.1))


def entry(free=None, samples=None, **fixed):
    return Entry("static", "static", fixed, free or {}, samples, "methods[2]")


def test_an_entry_without_free_options_is_one_configuration():
    for search in (GRID, RANDOM, OPTUNA):
        (one,) = entry(weights={"right": 0.5}).configurations(search)
        assert one.index == 0
        assert one.options["weights.right"] == 0.5
        assert one.chosen == {}


def test_a_grid_is_every_combination_with_the_last_option_fastest():
    found = entry({"weights.right": RIGHT, "weights.left_odd": ODD}).configurations(GRID)
    weights = [(one.options["weights.right"], one.options["weights.left_odd"]) for one in found]
    assert weights == list(itertools.product((0, 0.5, 1), (0, 1)))
    assert [one.index for one in found] == list(range(6))


def test_samples_are_draws_at_each_grid_point():
    found = entry({"weights.left_odd": ODD, "learning_rate": RATE}, samples=3).configurations(GRID)
    assert [one.options["weights.left_odd"] for one in found] == [0, 0, 0, 1, 1, 1]
    assert len({one.options["learning_rate"] for one in found}) == 6
    assert all(0.001 <= one.options["learning_rate"] <= 0.1 for one in found)


def test_without_samples_there_is_one_draw_at_each_grid_point():
    assert len(entry({"weights.left_odd": ODD, "learning_rate": RATE}).configurations(GRID)) == 2
    assert len(entry({"learning_rate": RATE}).configurations(GRID)) == 1


def test_random_draws_from_grids_too():
    found = entry({"weights.right": RIGHT, "learning_rate": RATE}).configurations(RANDOM)
    assert len(found) == 5
    assert {one.options["weights.right"] for one in found} <= {0, 0.5, 1}
    assert len({one.options["learning_rate"] for one in found}) == 5


def test_samples_come_before_the_searchs_trials():
    assert len(entry({"learning_rate": RATE}, samples=2).configurations(RANDOM)) == 2


def test_no_configuration_is_drawn_twice():
    free = {"weights.right": RIGHT, "weights.left_odd": ODD}
    found = [tuple(one.chosen.values()) for one in entry(free, samples=6).configurations(RANDOM)]
    assert sorted(found) == sorted(itertools.product((0, 0.5, 1), (0, 1)))


def test_true_and_one_are_two_draws():
    """They are equal in Python: the search for another draw would never end."""
    free = {"learning_rate": Distribution("choice", (True, 1))}
    found = [one["learning_rate"] for one in entry(free, samples=2).points(RANDOM)]
    assert {repr(one) for one in found} == {"True", "1"}


def test_random_runs_no_more_configurations_than_there_are():
    assert len(entry({"weights.right": RIGHT}).configurations(RANDOM)) == 3


def test_another_option_does_not_change_what_one_draws():
    alone = entry({"learning_rate": RATE}).configurations(RANDOM)
    beside = entry({"weights.right": Distribution("uniform", (0, 1)), "learning_rate": RATE}).configurations(RANDOM)
    assert [one.chosen["learning_rate"] for one in alone] == [one.chosen["learning_rate"] for one in beside]


def test_labels_draw_apart():
    one = Entry("one", "static", free={"learning_rate": RATE})
    other = Entry("other", "static", free={"learning_rate": RATE})
    assert one.configurations(RANDOM)[0].chosen != other.configurations(RANDOM)[0].chosen


def test_draws_do_not_depend_on_pythons_hashes():
    script = (
        "from avil_ray.spaces.entries import *; from avil_ray.spaces.distributions import Distribution;"
        "free = {name: Distribution('uniform', (0, 2)) for name in ('weights.right', 'weights.left_odd', 'learning_rate')};"
        "print([one.chosen for one in Entry('static', 'static', free=free).configurations(Search('random', trials=3))])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert "learning_rate" in outputs.pop()


def test_options_build_the_method():
    (one,) = entry({}, weights={"right": 0.5, "left_odd": 1}).configurations(GRID)
    assert build_method(one.method, one.options) == Static(weights={"right": 0.5, "left_odd": 1.0})


def test_a_whole_mapping_may_be_free():
    free = {"weights": Distribution("grid", ({"right": 1}, {"right": 0, "left_odd": 1}))}
    first, second = entry(free).configurations(GRID)
    assert first.options["weights.right"] == 1
    assert "weights.left_odd" not in first.options
    assert second.options["weights.left_odd"] == 1


def test_options_that_the_variant_decides_are_told():
    (one,) = Entry("alpha-vil", "alpha-vil").configurations(GRID)
    assert one.options["dev"] == "crossfit"


def test_optuna_is_asked_where_options_are_free():
    free = entry({"learning_rate": RATE})
    assert free.asked(OPTUNA)
    assert free.configurations(OPTUNA) == []
    assert free.count(OPTUNA) == 5
    assert not free.asked(RANDOM)
    assert not entry().asked(OPTUNA)
    proposed = free.configuration(3, {"learning_rate": 0.02})
    assert (proposed.index, proposed.options["learning_rate"], proposed.chosen) == (3, 0.02, {"learning_rate": 0.02})


@pytest.mark.parametrize(
    ("one", "search", "message"),
    [
        (
            entry({"weights.right": RIGHT}, samples=2),
            GRID,
            "methods[2].samples: nothing is drawn here, so more than 1 would only repeat the grid",
        ),
        (
            entry(samples=2),
            RANDOM,
            "methods[2].samples: nothing is drawn here, so more than 1 would only repeat the grid",
        ),
        (
            entry({"weights.right": RIGHT}, samples=4),
            RANDOM,
            "methods[2].samples: 4 requested, but there are only 3 distinct draws",
        ),
        (
            entry({"learning_rate": RATE}),
            Search("random"),
            "search: the key 'trials' is missing: how many configurations random tries of each entry with free options",
        ),
        (
            entry({f"weights.{name}": Distribution("grid", tuple(range(10))) for name in "abcde"}),
            GRID,
            "methods[2]: 100,000 configurations, but at most 10,000 can run; search fewer values, or use algorithm: random",
        ),
    ],
)
def test_each_count_that_cannot_be_is_one_line(one, search, message):
    with pytest.raises(UserError) as caught:
        one.configurations(search)
    assert str(caught.value) == message


def test_a_trial_is_a_configuration_and_a_seed():
    one = plan(Configuration("static", "static", 3, {"dev": "train"}), 7)
    assert (one.key, one.folder) == ("static/c003/s7", "static-c003-s7")
    assert (one.label, one.method, one.configuration, one.options, one.seed) == (
        "static",
        "static",
        3,
        {"dev": "train"},
        7,
    )
