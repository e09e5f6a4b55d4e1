"""What README points to: the examples and the search spaces are right, and the example shows what it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import avil_ray as avil
from avil_ray.catalog import build_suite
from avil_ray.spaces.search_space import problems, read_search_space

ROOT = Path(__file__).parents[1]
FACTORY = {"factory": "examples.unequal_tasks:suite"}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As the command line stands: in the project's folder, which is looked into for factories."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "examples"]:
        del sys.modules[name]


@pytest.mark.parametrize("path", ["examples/unequal_tasks.yaml", "search_spaces/yeast.yaml"])
def test_a_search_space_is_right(path: str) -> None:
    assert problems(ROOT / path) == []


def test_the_multifashion_sweep_is_right_but_for_data_that_may_not_be_there() -> None:
    assert problems(ROOT / "search_spaces/multifashion.yaml", data=False) == []


def test_the_yeast_sweep_compares_what_it_should() -> None:
    space = read_search_space(ROOT / "search_spaces/yeast.yaml")
    counts = {entry.label: entry.count(space.search) for entry in space.entries}
    assert counts == {"alpha-vil": 1, "target-only": 1, "equal": 1, "static": 18}
    assert len(space.seeds) == 3
    assert len(build_suite(space.suite).task_names) == 14


def test_each_task_has_examples_of_its_own() -> None:
    tasks = build_suite(FACTORY | {"followed": 60}).draw(0)
    sizes = {name: len(task.train) for name, task in tasks.items()}
    assert sizes == {"relapse": 40, "dose": 2000, "stage": 600, "side_effect": 20}
    assert len(tasks["relapse"].dev) == 20
    assert {name: task.replacement for name, task in tasks.items() if task.replacement} == {"side_effect": True}
    rows = {name: {tuple(row) for row in task.train.inputs.tolist()} for name, task in tasks.items()}
    assert rows["side_effect"] - rows["stage"], "partial labels: not everything is known of everybody"
    held = {
        split: {tuple(row) for row in getattr(tasks["relapse"], split).inputs.tolist()}
        for split in ("dev", "select", "test")
    }
    assert not rows["relapse"] & held["dev"]
    for split in ("select", "test"):
        assert not held[split] & set.union(held["dev"], *rows.values())


def test_another_seed_draws_other_patients() -> None:
    one, other = (build_suite(FACTORY).draw(seed)["relapse"].train.inputs for seed in (0, 1))
    assert not torch.equal(one[:5], other[:5])


@pytest.mark.parametrize("method", [avil.TargetOnly(), avil.Equal(), avil.AlphaVIL()])
def test_the_example_learns_with_every_kind_of_method(method: avil.Method) -> None:
    result = avil.train(build_suite(FACTORY), method, rounds=6, steps_per_round=15)
    assert result.test["auc"] > 0.9
