"""`avil-ray affinity` as a user meets it."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pandas as pd
import pytest

from avil_ray import cli
from avil_ray.commands import look
from avil_ray.commands.options import seeds_of
from avil_ray.diagnosis import affinity

SMALL = ["affinity", "synthetic", "--steps", "4", "--set", "train=60", "--set", "target_labels=40"]


def call(*arguments: str) -> int:
    return cli._status(list(arguments))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["affinity"], "Missing argument"),
        (["affinity", "synthetc"], "unknown suite 'synthetc'; did you mean 'synthetic'?"),
        (["affinity", "multimnist", "--target", "lft"], "'lft'; did you mean 'left'?"),
        (["affinity", "synthetic", "--set", "helpfull=3"], "unknown option 'helpfull'; did you mean 'helpful'?"),
        (["affinity", "synthetic", "--set", "helpful"], "write it as key=value"),
        (["affinity", "synthetic", "--steps", "0"], "steps must be a whole number, 1 or more, not 0"),
        (["affinity", "synthetic", "--seeds", "0,x"], "expected whole numbers separated by commas"),
        (["affinity", "synthetic", "--seeds", "1,1"], "seeds must be distinct whole numbers"),
        (["affinity", "multimnist", "--set", "auxiliaries=[]"], "has no auxiliary"),
        (["affinity", "synthetic", "--output", "/dev/null/x"], "cannot be written"),
        (["affinity", "synthetic", "--step", "3"], "No such option: --step"),
    ],
)
def test_a_mistake_is_one_line_and_status_2_and_writes_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert message in errors
    assert errors.startswith("avil-ray: ")
    assert errors.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []


def test_a_store_of_a_wrong_kind_is_refused_before_anything_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///relative.db")
    assert call(*SMALL) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert "a relative path is another file in every process" in errors
    assert list(Path.cwd().iterdir()) == []


def test_it_prints_a_row_an_auxiliary_and_what_that_cannot_tell(
    migrated_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("results").mkdir()
    shutil.copy(migrated_store, Path("results", "mlflow.db"))
    assert call(*SMALL, "--seeds", "0,1", "--storage", "results", "--output", "out") == 0
    lines = capsys.readouterr().out.splitlines()
    table = pd.read_csv("out/affinity.csv")
    rows = [line.split()[0] for line in lines if "±" in line and {"lowered", "raised", "unclear"} & set(line.split())]
    assert rows == table["auxiliary"].tolist()
    assert sorted(rows) == ["harmful_1", "harmful_2", "helpful_1", "helpful_2", "neutral_1", "noise_1"]
    words = " ".join(" ".join(lines).split())
    assert "All tasks share their inputs" in words
    assert "It is evidence on what to try first, not a verdict" in words
    passes = 2 * ((3 * 7 - 2) * 4 + 3)  # two seeds, 3n - 2 steps of 4 each, 7 passes over 13 dev examples
    assert f"cost: {passes} gradient steps, dev passes included" in lines
    assert "written to out" in lines
    assert lines[-1].startswith("tracked: run affinity (")
    assert lines[-1].endswith(f"of experiment synthetic in sqlite:///{Path.cwd()}/results/mlflow.db")
    assert {file.name for file in Path("out").iterdir()} == {"affinity.csv", "affinity.png", "cosines.csv"}
    assert {file.name for file in Path.cwd().iterdir()} == {"results", "out"}


def test_the_store_and_the_experiment_of_the_environment_are_used(
    migrated_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from avil_ray.tracking.store import open_store

    uri = f"sqlite:///{migrated_store}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert call(*SMALL, "--seeds", "3", "--set", "helpful=1", "--set", "harmful=0") == 0
    assert f"of experiment mine in {uri}" in capsys.readouterr().out
    assert list(Path.cwd().iterdir()) == [], "without --output nothing stays here"
    client = open_store(uri)
    [run] = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.info.run_name == "affinity"
    assert run.data.params["suite.helpful"] == "1"
    assert "affinity.png" in {file.path for file in client.list_artifacts(run.info.run_id)}


def test_it_has_help_with_an_example_and_the_defaults_of_the_function(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("affinity", "--help") == 0
    assert "avil-ray affinity multimnist" in capsys.readouterr().out
    ours, theirs = (inspect.signature(function).parameters for function in (look.affinity, affinity))
    assert ours["steps"].default == theirs["steps"].default
    assert tuple(seeds_of(ours["seeds"].default)) == theirs["seeds"].default
