"""Sweeps from Python: a mapping for a file, `learning` in every trial, one's own method among the others."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.reports.records import read_records
from avil_ray.tracking.store import open_store

SPACE: dict[str, Any] = {
    "name": "tiny",
    "suite": {"factory": "tiny_suite:tiny_suite"},
    "learning": {"batch_size": {"grid": [8, 16]}, "clip": 1.0},
    "rounds": 2,
    "steps_per_round": 3,
    "seeds": (0, 1),
    "resources": {"per_task": {"cpu": 0.5}, "driver": {"cpu": 0.5}},
    "methods": [{"method": "own_methods:Halved"}],
}


@pytest.mark.usefixtures("ray_session")
def test_every_trial_learns_as_it_is_told_and_that_stands_everywhere(migrated_store: Path) -> None:
    outcome = avil.sweep(SPACE, storage=migrated_store.parent, seeds=[1], settings={"learning.schedule": "linear"})
    assert (outcome.failed, outcome.unfinished, outcome.trouble) == (0, 0, None)
    records = read_records(outcome.folder)
    assert [record.key for record in records] == ["Halved/c000/s1", "Halved/c001/s1"]
    for record in records:
        size = {0: 8, 1: 16}[record.configuration]
        shared = {"learning.batch_size": size, "learning.clip": 1.0, "learning.schedule": "linear"}
        assert {name: value for name, value in record.options.items() if name.startswith("learning.")} == shared
        suite = tiny_suite().learned_with({"batch_size": size, "clip": 1.0, "schedule": "linear"})
        result = avil.train(suite, avil.Equal(), rounds=2, steps_per_round=3, seed=1)
        assert record.test == result.test
        assert record.select == result.select

    assert outcome.summary == json.loads((outcome.folder / "summary.json").read_text())
    (method,) = outcome.summary["methods"]
    best = max(records, key=lambda record: (record.select, -record.configuration))
    assert method["chosen"]["learning.batch_size"] == best.options["learning.batch_size"]
    assert "learning.batch_size" in (outcome.folder / "report.md").read_text()

    client: MlflowClient = open_store(f"sqlite:///{migrated_store}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    told = [run.data.params["batch_size"] for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert sorted(told) == ["16", "8"]

    with pytest.raises(UserError, match="a sweep of this name already exists"):
        avil.sweep(SPACE, storage=migrated_store.parent)
    with pytest.raises(UserError, match="was run with learning"):
        avil.sweep(SPACE, storage=migrated_store.parent, seeds=[1], resume=True)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in copy.deepcopy(SPACE).items() if name != key}


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (3, {}, "a search space must be the path of a YAML file, or a mapping, not 3"),
        ("none.yaml", {}, "none.yaml: no such file"),
        (without("suite"), {}, "search space: the key 'suite' is missing"),
        ({**SPACE, "suite": tiny_suite}, {}, "search space: must be plain values, as in YAML: "),
        ({**SPACE, "rounds": np.int64(3)}, {}, "search space: must be plain values, as in YAML: "),
        ({**SPACE, "rounds": 0}, {}, "search space: rounds must be a whole number, 1 or more, not 0"),
        (SPACE, {"settings": [("rounds", 0)]}, "--set rounds must be a whole number, 1 or more, not 0"),
        (SPACE, {"settings": ["rounds=3"]}, "settings must be a mapping such as "),
        (SPACE, {"max_concurrent": 0}, "max_concurrent must be a whole number, 1 or more, not 0"),
        (SPACE, {"resume": True, "fresh": True}, "--resume and --fresh cannot be combined"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    space: Any, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        avil.sweep(space, **options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_mapping_that_refers_to_itself_is_one_line() -> None:
    space = copy.deepcopy(SPACE)
    space["suite"]["more"] = space
    with pytest.raises(UserError, match="search space: must be plain values, as in YAML: it refers to itself"):
        avil.sweep(space)
