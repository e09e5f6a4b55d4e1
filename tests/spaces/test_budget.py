"""What a budget may be, and what a preview says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from space_files import changed, write

from avil_ray.errors import UserError
from avil_ray.spaces.budget import limits
from avil_ray.spaces.preview import Preview, preview
from avil_ray.spaces.search_space import SearchSpace, read_search_space

FREE = {"method": "static", "weights": {"b": {"grid": [0, 1]}}}
TINY = {
    "suite": {"factory": "tiny_suite:tiny_suite"},
    "rounds": 4,
    "steps_per_round": 5,
    "methods": [{"method": "alpha-vil"}, {"method": "target-only"}, FREE],
}
RANDOM = {"algorithm": "random", "trials": 2}


def space(**changes: Any) -> SearchSpace:
    return read_search_space(changed(**{**TINY, **changes}))


def seen(**changes: Any) -> Preview:
    return preview(space(**changes), {"CPU": 4.0})


def test_a_budget_is_a_number_of_gradient_steps_or_the_word() -> None:
    assert space().budget is None
    assert space(budget="reference").budget == "reference"
    found = space(budget={"gradient_steps": 1000})
    assert found.budget == 1000
    assert read_search_space(changed(**TINY, budget={"gradient_steps": 9}), [("budget.gradient_steps", 7)]).budget == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "refrence"}, "budget: must be reference, or a mapping such as {gradient_steps: 100000}, not 'refr"),
        ({"budget": 1000}, "budget: must be reference, or a mapping such as {gradient_steps: 100000}, not 1000"),
        ({"budget": None}, "budget: must be reference, or a mapping"),
        ({"budget": {}}, "budget: the key 'gradient_steps' is missing"),
        ({"budget": {"gradient_step": 9}}, "budget: unknown key 'gradient_step'; did you mean 'gradient_steps'?"),
        ({"budget": {"gradient_steps": 0}}, "budget.gradient_steps must be a whole number, 1 or more, not 0"),
        ({"budget": {"gradient_steps": True}}, "budget.gradient_steps must be a whole number, 1 or more, not True"),
        (
            {"budget": "reference", "reference": "static"},
            "budget: no method but the reference has free options, so there is no search that it could limit",
        ),
        (
            {"budget": {"gradient_steps": 9}, "methods": [{"method": "equal"}]},
            "budget: no method has free options, so there is no search that it could limit",
        ),
    ],
)
def test_a_wrong_budget_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        space(**changes)
    assert str(error.value).startswith(f"search space: {message}")
    assert "\n" not in str(error.value)


def test_a_search_is_held_to_it_where_it_can_be_stopped() -> None:
    methods = [{**FREE, "label": "other"}, {"method": "equal"}, FREE]
    number, word = {"gradient_steps": 10**6}, "reference"
    for search, budget, expected in (
        ({}, number, [False, False, False]),
        (RANDOM, None, [False, False, False]),
        (RANDOM, number, [True, False, True]),
        (RANDOM, word, [False, False, True]),
    ):
        found = space(methods=methods, search=search, **({"budget": budget} if budget else {}))
        assert [limits(found, entry) for entry in found.entries] == expected


def test_a_sweep_that_is_resumed_must_have_the_same_budget_where_that_decides_what_runs(tmp_path: Path) -> None:
    def stored(**changes: Any) -> Path:
        return write(tmp_path, changed(**{**TINY, **changes}))

    space(budget="reference").require_same(stored())  # a grid: only the report changes
    with pytest.raises(UserError, match="was run with budget None, but this one has as alpha-vil takes"):
        space(budget="reference", search=RANDOM).require_same(stored(search=RANDOM))
    with pytest.raises(UserError, match="budget as alpha-vil takes, but this one has as target-only takes"):
        space(budget="reference", search=RANDOM, reference="target-only").require_same(
            stored(budget="reference", search=RANDOM)
        )
    space(search=RANDOM).require_same(stored(search=RANDOM, reference="target-only"))


def test_what_is_dumped_reads_back_equal(tmp_path: Path) -> None:
    for budget in ("reference", {"gradient_steps": 500}):
        found = space(budget=budget)
        assert read_search_space(write(tmp_path, found.dump())) == found


def test_a_budget_that_pays_for_no_configuration_is_refused_before_anything_runs() -> None:
    # three seeds of 4 rounds of 5 steps, of one task at least
    least = "pays for no configuration of 'static', of which one takes at least 60 gradient steps over 3 seeds"
    for search in ({}, RANDOM, {"algorithm": "surrogate", "trials": 2}):
        with pytest.raises(UserError, match=f"budget.gradient_steps: 59 {least}"):
            seen(budget={"gradient_steps": 59}, search=search)
        assert seen(budget={"gradient_steps": 60}, search=search)


def test_the_preview_says_what_the_budget_does() -> None:
    grid = "\n".join(seen(budget="reference").lines())
    assert "budget: as many gradient steps as alpha-vil takes; the grid runs whole, and the report says" in grid
    assert "where the budget ends a search" not in grid
    random = "\n".join(seen(budget={"gradient_steps": 5000}, search=RANDOM).lines())
    assert "budget: 5,000 gradient steps for each search, which ends there or after its trials" in random
    assert "fewer where the budget ends a search" in random
    assert "budget" not in "\n".join(seen().lines())
