"""What a sweep stores of itself, and the command that a report gives for it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray import cli
from avil_ray.spaces.search_space import read_search_space
from avil_ray.sweeps import provenance
from avil_ray.sweeps.storage import read_facts
from avil_ray.sweeps.sweep import run_sweep

SPACE: dict[str, Any] = {
    "name": "tiny",
    "suite": {"factory": "tiny_suite:tiny_suite"},
    "learning": {"learning_rate": {"grid": [0.01, 0.1]}, "batch_size": 16},
    "rounds": 3,
    "steps_per_round": 4,
    "seeds": [0, 1],
    "resources": {"per_task": {"cpu": 0.5}, "driver": {"cpu": 0.5}},
    "methods": [
        {"method": "alpha-vil", "variant": "paper", "alpha_bounds": [0, 2]},
        {"method": "static", "weights": {"b": {"grid": [0, 1]}, "c": 0.5}},
    ],
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump({**SPACE, **changes}))
    return path


def test_the_setup_has_sizes_learning_and_the_options_that_were_given(tmp_path: Path) -> None:
    suite = tiny_suite()
    found = provenance.setup(read_search_space(written(tmp_path)), suite, suite.draw(0))
    assert (found.rounds, found.steps_per_round) == (3, 4)
    assert found.suite == {"factory": "tiny_suite:tiny_suite"}
    assert found.examples["a"] == {"train": 40, "dev": 20, "select": 50, "test": 50}
    assert found.examples["b"] == {"train": 60}
    assert {"learning_rate", "batch_size", "optimizer", "schedule"} <= set(found.learning)
    assert set(found.given["static"]) == {"weights.b", "weights.c", "learning.learning_rate", "learning.batch_size"}
    assert "alpha_bounds" in found.given["alpha-vil"]
    assert yaml.safe_load(found.space)["name"] == "tiny"


def test_the_setup_has_the_whole_configuration_and_what_is_searched(tmp_path: Path) -> None:
    suite = tiny_suite()
    found = provenance.setup(read_search_space(written(tmp_path)), suite, suite.draw(0))
    expected = {"suite.name": "tiny", "suite.target": "a", "suite.factory": "tiny_suite:tiny_suite", "clip": 5.0}
    expected |= {"rounds": 3, "steps_per_round": 4, "threads": 1, "learning_rate": 0.05, "momentum": 0.9}
    assert expected.items() <= found.configuration.items()
    assert set(found.searched["static"]) == {"weights.b", "learning.learning_rate"}
    assert set(found.searched["alpha-vil"]) == {"learning.learning_rate"}


def test_the_digest_tells_data_and_options_apart() -> None:
    suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    first = provenance.digest(suite, suite.draw(0))
    assert first == provenance.digest(suite, suite.draw(0))
    assert first != provenance.digest(suite, suite.draw(1)), "other examples"
    assert first != provenance.digest(replace(suite, options={**suite.options, "noise": 7}), suite.draw(0))


def test_a_single_run_is_described_as_a_sweep_of_one_trial() -> None:
    length = {"rounds": 2, "steps_per_round": 3, "threads": 1}
    facts = provenance.of_run(tiny_suite(), "equal", {"dev": "train"}, length, 5)
    assert (facts.name, facts.seeds, facts.labels, facts.metric) == ("equal", (5,), ("equal",), "accuracy")
    assert facts.setup is not None
    assert facts.setup.configuration["steps_per_round"] == 3
    assert facts.setup.examples["b"] == {"train": 60}
    assert [start.source for start in facts.starts] == ["avil-ray run"]


def test_a_start_has_its_date_versions_hardware_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = provenance.start([{"CPU": 2.0, "GPU": 0.0}, {"CPU": 6.0, "GPU": 1.0}], None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.date)
    assert {"avil_ray", "Python", "torch", "ray"} <= set(found.versions)
    assert found.hardware[-1] == "Ray had 8 CPUs and 1 GPUs on 2 nodes"
    assert found.hardware[0]
    assert found.commit is None
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x.x"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = provenance.start([], None).commit
    assert commit is not None
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (tmp_path / "file").write_text("two")
    assert provenance.start([], None).commit == f"{commit}, with changes"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_the_recommended_command_gives_the_trials_own_figures(
    tmp_path: Path, migrated_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run_sweep(read_search_space(written(tmp_path)), migrated_store.parent)
    best = outcome.comparison.best
    assert best is not None
    assert best.chosen is not None
    command = outcome.summary["recommended"]["command"]
    assert command in (outcome.folder / "report.html").read_text().replace("&#39;", "'").replace("&#34;", '"')
    monkeypatch.chdir(tmp_path)
    assert cli._status(shlex.split(command.replace("\\\n", ""))[1:]) == 0
    found = json.loads((tmp_path / "model" / "result.json").read_text())
    [record] = [one for one in best.chosen.records if one.seed == found["seed"]]
    assert found["test"] == record.test
    facts = read_facts(outcome.folder)
    run_sweep(read_search_space(written(tmp_path)), migrated_store.parent, resume=True)
    again = read_facts(outcome.folder)
    assert again.starts[: len(facts.starts)] == facts.starts
    assert len(again.starts) == 2
    link = facts.starts[0].mlflow
    assert link is not None
    assert re.fullmatch(r"#/experiments/\d+/runs/[0-9a-f]{32}\?workflowType=machine_learning", link)
    assert link == again.starts[1].mlflow
