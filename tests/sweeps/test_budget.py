"""A search with a budget stops where that is spent, says so, and does the same again when the sweep is resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from simulated import make_facts
from space_files import changed

from avil_ray.reports.records import RESULT, Cost, TrialRecord, trial_folder, write_record
from avil_ray.spaces.entries import TrialPlan
from avil_ray.spaces.search_space import SearchSpace, read_search_space
from avil_ray.storage import at
from avil_ray.sweeps.stages import stages

WEIGHTS = {"b": {"grid": [0, 0.5, 1, 2]}, "c": {"grid": [0, 0.5, 1, 2]}}
STATIC = {"method": "static", "weights": WEIGHTS}
FACTS = make_facts(("static", "alpha-vil"), seeds=(0, 1))
EACH = 4 * 5 * 2
"""Gradient steps of one task: four rounds of five steps, with two seeds."""


def space(algorithm: str, budget: Any, **changes: Any) -> SearchSpace:
    fields = {
        "suite": {"factory": "tiny_suite:tiny_suite"},
        "rounds": 4,
        "steps_per_round": 5,
        "seeds": [0, 1],
        "methods": [STATIC, {"method": "alpha-vil"}],
        "reference": "alpha-vil",
        "budget": budget,
        "search": {"algorithm": algorithm, "trials": 14, "vectorize": False},
    }
    return read_search_space(changed(**{**fields, **changes}))


def cost_of(plan: TrialPlan) -> int:
    """What a trial takes: 100 steps of the reference, and of others 20 for each task that it trains."""
    if plan.label == "alpha-vil":
        return 100
    return 20 * (1 + sum(bool(plan.options.get(f"weights.{task}")) for task in "bc"))


def run(
    found: SearchSpace, folder: Path, cost: Callable[[TrialPlan], int] = cost_of, status: str = "finished"
) -> tuple[list[list[str]], list[str]]:
    """The keys of the batches, and what was said; each trial without a result leaves one."""
    batches: list[list[str]] = []
    said: list[str] = []
    for stage in stages(found, at(folder), FACTS, said.append):
        batches.append([plan.key for plan in stage.plans])
        for plan in stage.plans:
            place = trial_folder(folder, plan.key)
            if not (place / RESULT).exists():
                given = {name: value for name, value in asdict(plan).items() if name != "folder"}
                select = 0.5 + plan.options.get("weights.b", 0) / 10 - plan.options.get("weights.c", 0) / 20
                figures: dict[str, Any] = {"select": select, "test": {"accuracy": 0.5}, "best_round": 1}
                record = TrialRecord(**given, status=status, cost=Cost(cost(plan)), **figures)  # type: ignore[arg-type]
                write_record(place, record)
    return [batch for batch in batches if batch], said


def configurations(batches: list[list[str]]) -> list[str]:
    return list(dict.fromkeys(key.rpartition("/")[0] for batch in batches for key in batch if key.startswith("static")))


@pytest.mark.parametrize("algorithm", ["random", "optuna", "surrogate"])
def test_a_search_ends_before_the_first_configuration_that_it_cannot_pay_for(algorithm: str, tmp_path: Path) -> None:
    unlimited = space(algorithm, {"gradient_steps": 10**6})
    free, _ = run(unlimited, tmp_path / "free")
    batches, said = run(space(algorithm, {"gradient_steps": 600}), tmp_path / "held")
    tried = configurations(batches)
    assert tried == configurations(free)[: len(tried)], "the first of those without a limit"
    plans = {plan.key: plan for stage in stages(unlimited, at(tmp_path / "free"), FACTS) for plan in stage.plans}
    costs = [2 * cost_of(plans[f"{one}/s0"]) for one in configurations(free)]
    spent = sum(costs[: len(tried)])
    assert spent <= 600 < sum(costs[: len(tried) + 1])
    count = f"{len(tried)} of at most 14 configurations tried"
    assert said == [f"static: {count}, as the budget of 600 gradient steps is spent ({spent} taken)"]


@pytest.mark.parametrize("algorithm", ["random", "optuna", "surrogate"])
def test_what_was_begun_goes_on_the_same(algorithm: str, tmp_path: Path) -> None:
    found = space(algorithm, {"gradient_steps": 600})
    first = run(found, tmp_path)
    records = {path: path.read_bytes() for path in tmp_path.rglob(RESULT)}
    assert run(found, tmp_path) == first
    for path in sorted(records)[::2]:  # half of the trials had not ended
        path.unlink()
    assert run(found, tmp_path) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob(RESULT)} == records


def test_the_reference_runs_first_where_its_cost_is_the_budget_and_is_not_held_to_it(tmp_path: Path) -> None:
    for scheduler in ("none", "asha"):
        search = {"algorithm": "random", "trials": 14, "vectorize": False, "scheduler": scheduler}
        batches, said = run(space("random", "reference", search=search), tmp_path / scheduler)
        assert batches[0] == ["alpha-vil/c000/s0", "alpha-vil/c000/s1"]
        assert "as the budget of 200 gradient steps is spent" in said[0]
        assert 1 <= len(configurations(batches)) <= 200 // EACH


def test_a_reference_that_searches_runs_whole(tmp_path: Path) -> None:
    alpha = {"method": "alpha-vil", "learning_rate": {"uniform": [0.01, 0.1]}, "samples": 3}
    batches, said = run(space("surrogate", "reference", methods=[STATIC, alpha]), tmp_path)
    assert [key for batch in batches for key in batch][:6] == [
        f"alpha-vil/c00{n}/s{s}" for n in range(3) for s in (0, 1)
    ]
    assert "as the budget of 600 gradient steps is spent" in said[0]


def test_without_a_result_of_the_reference_nothing_is_searched(tmp_path: Path) -> None:
    said: list[str] = []
    found = [stage.plans for stage in stages(space("random", "reference"), at(tmp_path), FACTS, said.append)]
    assert [[plan.label for plan in plans] for plans in found] == [["alpha-vil", "alpha-vil"]]
    assert said == ["static: nothing is searched, as alpha-vil, which sets the budget, has no result on every seed"]


def test_what_early_stopping_spares_pays_for_more_configurations(tmp_path: Path) -> None:
    found = space("random", {"gradient_steps": 600})
    whole, _ = run(found, tmp_path / "whole")
    spared, _ = run(found, tmp_path / "spared", lambda plan: cost_of(plan) // 2, "stopped")
    tried = len(configurations(spared))
    assert tried > len(configurations(whole))
    assert len(spared) > 2, "what a batch has taken is known when it has run"


def test_a_budget_for_all_trials_says_nothing(tmp_path: Path) -> None:
    batches, said = run(space("random", {"gradient_steps": 10**6}), tmp_path)
    assert (len(configurations(batches)), said) == (14, [])


def test_draws_are_those_of_a_search_without_a_budget(tmp_path: Path) -> None:
    held = space("random", {"gradient_steps": 10**6})
    with_budget = [
        plan for stage in stages(held, at(tmp_path), FACTS) for plan in stage.plans if plan.label == "static"
    ]
    entry = held.entries[0]
    assert [plan.options for plan in with_budget[::2]] == [one.options for one in entry.configurations(held.search)]
