"""`learning` in a search space: what it changes, what it multiplies, and what is wrong with it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from space_files import write
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray.catalog import build_trial
from avil_ray.errors import UserError
from avil_ray.spaces.preview import preview
from avil_ray.spaces.search_space import problems, read_search_space

TINY: dict[str, Any] = {
    "name": "demo",
    "suite": {"factory": "tiny_suite:tiny_suite"},
    "rounds": 4,
    "steps_per_round": 5,
    "seeds": [0],
    "methods": [{"method": "target-only"}, {"method": "equal", "learning_rate": 0.1}],
}

SGD, PARTS = (
    "dampening, differentiable, foreach, fused, maximize, momentum, nesterov",
    "heads.a, heads.b, heads.c, trunk.0",
)


def file(folder: Path, learning: Any, **changes: Any) -> Path:
    return write(folder, {**copy.deepcopy(TINY), "learning": learning, **changes})


def learnings(path: Path) -> list[avil.Learning]:
    """How each configuration's trial is learned."""
    configurations = read_search_space(path).configurations()
    trained = [build_trial(tiny_suite(), one.method, one.options) for one in configurations]
    return [method.learning(suite) for suite, method in trained]


def test_what_is_fixed_takes_the_place_of_the_suites_own_in_every_method(tmp_path: Path) -> None:
    path = file(tmp_path, {"batch_size": 16, "optimizer": "AdamW", "optimizer_options": {"betas": [0.8, 0.9]}})
    first, second = read_search_space(path).configurations()
    shared = {"learning.batch_size": 16, "learning.optimizer": "AdamW", "learning.optimizer_options.betas": [0.8, 0.9]}
    assert first.options == {"dev": "train", **shared}
    assert second.options == {"learning_rate": 0.1, "dev": "train", **shared}
    expected = avil.Learning(batch_size=16, optimizer="AdamW", optimizer_options={"betas": [0.8, 0.9]})
    assert learnings(path)[0] == expected


def test_a_grid_multiplies_every_method_and_a_methods_own_rate_wins(tmp_path: Path) -> None:
    path = file(tmp_path, {"batch_size": {"grid": [8, 16]}, "learning_rate": {"grid": [0.01, 0.03, 0.05]}})
    found = [(one.label, one.chosen) for one in read_search_space(path).configurations()]
    rates = [
        ("target-only", {"learning.batch_size": size, "learning.learning_rate": rate})
        for size in (8, 16)
        for rate in (0.01, 0.03, 0.05)
    ]
    assert found == [*rates, ("equal", {"learning.batch_size": 8}), ("equal", {"learning.batch_size": 16})]
    ways = [(one.batch_size, one.learning_rate) for one in learnings(path)]
    assert ways == [(size, rate) for size in (8, 16) for rate in (0.01, 0.03, 0.05)] + [(8, 0.1), (16, 0.1)]


def test_every_kind_of_distribution_inside_mappings_too(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        {
            "groups": {"trunk.0": {"learning_rate": {"loguniform": [0.001, 0.01]}, "weight_decay": 0.1}},
            "optimizer_options": {"nesterov": {"choice": [True, False]}},
            "weight_decay": {"uniform": [0, 0.1]},
        },
        methods=[{"method": "equal", "samples": 4}],
    )
    assert problems(path) == []
    ways = learnings(path)
    assert len({one.groups["trunk.0"]["learning_rate"] for one in ways}) == 4
    assert all(0.001 <= one.groups["trunk.0"]["learning_rate"] <= 0.01 for one in ways)
    assert {one.groups["trunk.0"]["weight_decay"] for one in ways} == {0.1}
    assert {one.optimizer_options["nesterov"] for one in ways} <= {True, False}


def test_whole_mappings_may_be_values_of_a_grid(tmp_path: Path) -> None:
    groups: list[Any] = [{}, {"heads": {"learning_rate": 0.1}}]
    path = file(tmp_path, {"groups": {"grid": groups}}, methods=[{"method": "equal"}])
    assert problems(path) == []
    assert [one.groups for one in learnings(path)] == groups


@pytest.mark.parametrize(
    ("learning", "messages"),
    [
        (3, ["demo.yaml: learning must be a mapping such as {batch_size: 16}, not 3"]),
        ({"batch_sise": 3}, ["demo.yaml: learning: unknown option 'batch_sise'; did you mean 'batch_size'?"]),
        (
            {"batch_size": "x"},
            ["demo.yaml: learning.batch_size must be a whole number, 1 to 1000000, not 'x'"],
        ),
        (
            {"batch_size": {"grid": [8, 0]}},
            ["demo.yaml: learning.batch_size must be a whole number, 1 to 1000000, not 0"],
        ),
        (
            {"batch_size": {"gird": [8, 16]}},
            ["demo.yaml: learning.batch_size: unknown distribution 'gird'; did you mean 'grid'?"],
        ),
        ({"schedule": "cosin"}, ["demo.yaml: learning.schedule: unknown schedule 'cosin'; did you mean 'cosine'?"]),
        (
            {"momentum": {"uniform": [0.5, 1]}},
            ["demo.yaml: learning.momentum must be a number, at least 0 and below 1, not 1"],
        ),
        (
            {"groups": {"trunk": {"rate": 1}}},
            ["demo.yaml: learning.groups.trunk: unknown option 'rate'; available: learning_rate, weight_decay"],
        ),
        (
            {"optimizer_options": {"betas": {"grid": [[0.9, 0.9]]}}},
            ["demo.yaml: learning.optimizer_options of SGD: unknown option 'betas'; available: " + SGD],
        ),
        (
            {"groups": {"trnk": {"learning_rate": 1}}},
            [f"demo.yaml: learning.groups.trnk: no parameter name starts with it; available: {PARTS}"],
        ),
    ],
)
def test_each_mistake_is_one_line_at_its_place(tmp_path: Path, learning: Any, messages: list[str]) -> None:
    assert problems(file(tmp_path, learning)) == messages


def test_a_mistake_in_a_methods_entry_is_found_beside_one_in_learning(tmp_path: Path) -> None:
    path = file(tmp_path, {"batch_size": 0}, methods=[{"method": "static", "weights": {"bb": 1}}])
    first, second = problems(path)
    assert first.startswith("demo.yaml: learning.batch_size must be")
    assert second == "demo.yaml: methods[0].weights: unknown task 'bb'; did you mean 'b'?"


def test_patience_is_refused_beside_a_method_that_plans_its_rounds_ahead_as_train_refuses_it(tmp_path: Path) -> None:
    methods = [{"method": "equal"}, {"method": "alpha-vil"}, {"method": "alpha-vil", "label": "x", "finish": "none"}]
    path = file(tmp_path, {"patience": 3}, methods=methods)
    line = "learning.patience: AlphaVIL plans its rounds ahead; leave patience out (methods[1])"
    assert problems(path) == [f"demo.yaml: {line}"]
    assert problems(file(tmp_path, {}, methods=methods), [("learning.patience", 3)]) == [f"--set {line}"]
    with pytest.raises(UserError, match="patience: AlphaVIL plans its rounds ahead"):
        avil.train(tiny_suite().learned_with({"patience": 3}), avil.AlphaVIL(), rounds=4)


def test_a_methods_check_sees_the_batch_size_of_each_configuration(tmp_path: Path) -> None:
    path = file(tmp_path, {"batch_size": {"grid": [2, 8]}}, methods=[{"method": "aux-ts", "folds": 4}])
    (line,) = problems(path)
    assert "folds must be at most the batch size, 2, not 4" in line


def test_settings_reach_learning_and_are_named_where_they_are_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, TINY)
    space = read_search_space(path, [("learning.batch_size", 16), ("learning.groups.trunk.0.weight_decay", 0.1)])
    assert space.configurations()[0].options["learning.batch_size"] == 16
    assert space.configurations()[0].options["learning.groups.trunk.0.weight_decay"] == 0.1
    assert problems(path, [("learning.batch_sise", 3)]) == [
        "--set learning.batch_sise: unknown option 'batch_sise'; did you mean 'batch_size'?"
    ]
    assert problems(path, [("learning.batch_size", 0)]) == [
        "--set learning.batch_size must be a whole number, 1 to 1000000, not 0"
    ]


def test_another_learning_may_not_be_resumed_and_the_same_is_dumped_and_read_back(tmp_path: Path) -> None:
    stored = file(tmp_path, {"batch_size": {"grid": [8, 16]}})
    space = read_search_space(stored)
    assert read_search_space(write(tmp_path, space.dump(), "again.yaml")) == space
    with pytest.raises(UserError, match=r"was run with learning .*8, 16.*, but this one has .*8, 32"):
        read_search_space(stored, [("learning.batch_size", {"grid": [8, 32]})]).require_same(stored)
    with pytest.raises(UserError, match=r"was run with learning {}, but this one has {'clip': 1.0}"):
        read_search_space(write(tmp_path, TINY), [("learning.clip", 1.0)]).require_same(write(tmp_path, TINY))


def test_dev_passes_are_told_in_batches_of_the_size_that_is_asked(tmp_path: Path) -> None:
    method = [{"method": "alpha-vil", "variant": "paper", "alpha_steps": 4}]
    path = file(tmp_path, {"batch_size": {"grid": [4, 8]}}, methods=method)
    (row,) = preview(read_search_space(path), {"CPU": 8.0}).rows
    paper = avil.AlphaVIL(variant="paper", alpha_steps=4)
    for size, work in zip((4, 8), row.works, strict=True):
        result = avil.train(tiny_suite().learned_with({"batch_size": size}), paper, rounds=4, steps_per_round=5)
        assert result.history["cost/gradient_steps"].sum() == work.gradient_steps + work.dev_steps


def test_loader_processes_are_counted_in_a_workers_cpus_unless_these_are_given(tmp_path: Path) -> None:
    learning = {"loader_processes": {"grid": [0, 2]}}
    usual = preview(read_search_space(file(tmp_path, learning)), {"CPU": 8.0})
    assert [row.asked["CPU"] for row in usual.rows] == [3.0, 3.0]
    assert "workers: 3 CPU each, 2 loader processes at most" in usual.lines()
    given = file(tmp_path, learning, resources={"per_task": {"cpu": 0.5}})
    asked = preview(read_search_space(given), {"CPU": 8.0})
    assert [row.asked["CPU"] for row in asked.rows] == [0.5, 0.5]
    (line,) = (line for line in asked.lines() if line.startswith("workers:"))
    assert line.endswith("2 loader processes at most; that is too few for the worker and its loaders")
