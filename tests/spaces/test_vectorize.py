"""Which trials train in stacks is decided by the kind and the size of the model, and told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import avil_ray as avil
from avil_ray.catalog import build_suite
from avil_ray.errors import UserError
from avil_ray.spaces.preview import preview
from avil_ray.spaces.search_space import SearchSpace, read_search_space
from avil_ray.spaces.vectorize import LEAST, ROWS, Decision, chunks, decide, of_fixed_weights

GRID = {"method": "static", "weights": {"helpful_1": {"grid": [0, 1]}, "noise_1": {"grid": [0, 1]}}}
SUITE = {"name": "synthetic", "target_labels": 40, "train": 60, "select": 30, "test": 30}
CNN = {"name": "multimnist", "target": "left", "target_labels": 60, "size": 16}


def space(**changes: Any) -> SearchSpace:
    base = {"name": "demo", "suite": SUITE, "rounds": 2, "steps_per_round": 2, "seeds": [0, 1, 2, 3], "methods": [GRID]}
    return read_search_space({**base, **changes})


def decided(**changes: Any) -> Decision:
    found = space(**changes)
    suite = build_suite(found.suite)
    return decide(found, suite, suite.draw(0))


def test_a_grid_on_an_mlp_is_stacked() -> None:
    line = f"vectorize: 16 trials of fixed weights train in stacks of up to {ROWS}"
    assert decided() == Decision(True, line)
    assert decided(search={"vectorize": True}, seeds=[0]).line == line.replace("16", "4")


def test_auto_leaves_few_trials_other_methods_and_other_models_as_they_are() -> None:
    assert LEAST > 4 * 3
    assert decided(seeds=[0, 1, 2]) == Decision(False)
    assert decided(methods=[{"method": "alpha-vil"}, {"method": "gcs"}], seeds=list(range(20))) == Decision(False)
    assert decided(search={"vectorize": False}) == Decision(False)


def test_auto_says_which_layer_does_not_pay() -> None:
    weights = {"right": {"grid": [0, 1, 2, 3]}}
    found = decided(suite=CNN, methods=[{"method": "static", "weights": weights}])
    assert not found.on
    assert str(found.line).startswith("vectorize: auto is false here: its model has a layer of kind Conv2d")


def test_what_cannot_is_said_on_one_line_where_it_was_asked_for() -> None:
    rate = {"learning": {"optimizer": {"grid": ["sgd", "rprop"]}}, "search": {"vectorize": True}}
    found = decided(**rate)
    assert found.on
    assert str(found.line).endswith(
        "; 4 configurations cannot, and run one by one: learning.optimizer is Rprop; a stack has SGD, Adam, AdamW"
    )
    found = decided(learning={"precision": "bf16"}, search={"vectorize": True})
    assert found == Decision(
        False, "vectorize: no trial can train in a stack: learning.precision is bf16; a stack computes in fp32"
    )
    found = decided(methods=[{"method": "gcs"}], search={"vectorize": True})
    assert found.line == "vectorize: no trial can train in a stack: no method has fixed weights"


def test_the_preview_says_it_and_the_space_as_run_has_it(tmp_path: Path) -> None:
    asked = space()
    seen = preview(asked, {"CPU": 4.0})
    assert "vectorize: 16 trials of fixed weights" in "\n".join(seen.lines())
    assert yaml.safe_load(asked.dump())["search"]["vectorize"] == "auto"
    assert yaml.safe_load(seen.space.dump())["search"]["vectorize"] is True
    (tmp_path / "space.yaml").write_text(seen.space.dump())
    asked.require_same(tmp_path / "space.yaml")
    seen.space.require_same(tmp_path / "space.yaml")
    with pytest.raises(UserError, match="was run with search"):
        space(search={"vectorize": False}).require_same(tmp_path / "space.yaml")


def test_a_wrong_word_is_one_line() -> None:
    with pytest.raises(UserError, match=r"search\.vectorize"):
        space(search={"vectorize": "always"})


def test_stacks_hold_every_trial_once_and_neighbours_have_one_seed() -> None:
    methods = [{"method": "static", "weights": {"helpful_1": {"uniform": [0, 2]}}, "samples": 50}, {"method": "gcs"}]
    found = space(methods=methods)
    suite = build_suite(found.suite)
    made, alone = chunks(found.trials(), suite, suite.draw(0))
    assert Counter(plan.key for one in made for plan in one) == Counter(
        plan.key for plan in found.trials() if plan.label == "static"
    )
    assert {plan.label for plan in alone} == {"gcs"}
    assert all(ROWS // 2 < len(one) <= ROWS for one in made)
    assert sum(len({plan.seed for plan in one}) > 1 for one in made) <= 3
    dealt, _ = chunks(found.trials(), suite, suite.draw(0), deal=True)
    assert [len(one) for one in dealt] == sorted((len(one) for one in made), reverse=True)
    assert {plan.seed for plan in dealt[0]} == {0, 1, 2, 3}


def test_stacks_are_of_one_kind() -> None:
    found = space(learning={"batch_size": {"grid": [8, 16]}, "learning_rate": {"grid": [0.01, 0.1]}})
    suite = build_suite(found.suite)
    made, _ = chunks(found.trials(), suite, suite.draw(0))
    sizes = [{plan.options["learning.batch_size"] for plan in one} for one in made]
    assert sizes == [{8}, {16}]
    assert {plan.options["learning.learning_rate"] for plan in made[0]} == {0.01, 0.1}


def test_a_method_of_ones_own_that_is_derived_from_static_is_not_stacked() -> None:
    class Own(avil.Static):
        pass

    assert of_fixed_weights(avil.Equal())
    assert not of_fixed_weights(Own())
