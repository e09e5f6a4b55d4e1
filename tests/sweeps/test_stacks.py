"""A sweep whose trials train in stacks leaves what one of single trials leaves."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from avil_ray.reports.records import RESULT, Cost, TrialRecord, read_records, trial_folder
from avil_ray.spaces.search_space import read_search_space
from avil_ray.sweeps.conclusion import Outcome
from avil_ray.sweeps.sweep import run_sweep
from avil_ray.sweeps.trial import load_theta
from avil_ray.tracking.store import open_store

SPACE: dict[str, Any] = {
    "name": "grid",
    "suite": {"name": "synthetic", "target_labels": 40, "train": 60, "select": 50, "test": 50},
    "rounds": 4,
    "steps_per_round": 5,
    "seeds": [0, 1],
    "resources": {"driver": {"cpu": 0.1}, "per_task": {"cpu": 0.9, "gpu": 0}},
    "methods": [
        {"method": "target-only"},
        {"method": "equal-finetune"},
        {"method": "static", "weights": {"helpful_1": {"grid": [0, 1]}, "noise_1": {"grid": [0, 1, 2]}}},
    ],
}
TOLERANCE = 1e-4


def sweep(storage: Path, console: io.StringIO | None = None, *, resume: bool = False, **changes: Any) -> Outcome:
    shown = Console(file=console or io.StringIO(), width=400)
    return run_sweep(read_search_space({**SPACE, **changes}), storage, address="local", console=shown, resume=resume)


def by_key(folder: Path) -> dict[str, TrialRecord]:
    return {record.key: record for record in read_records(folder)}


def untimed(record: TrialRecord) -> TrialRecord:
    return replace(record, cost=Cost(record.cost.gradient_steps))


def runs_of(storage: Path) -> dict[str, Any]:
    client = open_store(f"sqlite:///{storage}/mlflow.db")
    found = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert len({run.data.tags["avil.key"] for run in found}) == len(found), "one run each"
    return {run.data.tags["avil.key"]: run for run in found}


@pytest.mark.slow
def test_a_stacked_sweep_leaves_what_single_trials_leave(migrated_store: Path, tmp_path: Path) -> None:
    storage, console = migrated_store.parent, io.StringIO()
    stacked = sweep(storage, console)
    assert "vectorize: 16 trials of fixed weights train in stacks" in console.getvalue()
    single = sweep(storage, name="single", search={"vectorize": False})
    assert (stacked.unfinished, stacked.failed, stacked.trouble) == (0, 0, None)
    ours, theirs = by_key(stacked.folder), by_key(single.folder)
    assert ours.keys() == theirs.keys()
    runs = runs_of(storage)
    for key, record in ours.items():
        other = theirs[key]
        assert list(record.history) == list(other.history)
        untimed_columns = [name for name in record.history if not name.startswith("time/")]
        np.testing.assert_allclose(
            record.history[untimed_columns], other.history[untimed_columns], rtol=TOLERANCE, atol=TOLERANCE
        )
        assert record.cost.gradient_steps == other.cost.gradient_steps
        assert (record.options, record.status, record.best_round) == (other.options, other.status, other.best_round)
        assert record.test == pytest.approx(other.test, abs=TOLERANCE)
        assert 0 < record.cost.device_seconds == record.cost.reserved_device_seconds
        thetas = [load_theta(trial_folder(one.folder, key)) for one in (stacked, single)]
        np.testing.assert_allclose(*thetas, rtol=TOLERANCE, atol=TOLERANCE)
        mine, his = runs[f"grid/{key}"], runs[f"single/{key}"]
        assert mine.info.status == his.info.status == "FINISHED"
        assert mine.data.params == his.data.params
        # `score` is what Tune compares trials by, while they run
        assert mine.data.metrics.keys() == his.data.metrics.keys() - {"score"}
        assert mine.data.tags["mlflow.parentRunId"] == runs["grid"].info.run_id
    assert yaml.safe_load((stacked.folder / "space.yaml").read_text())["search"]["vectorize"] is True
    for one, other in zip(stacked.summary["methods"], single.summary["methods"], strict=True):
        assert one["test"]["mean"] == pytest.approx(other["test"]["mean"], abs=TOLERANCE)
        assert one["cost"]["gradient_steps"] == other["cost"]["gradient_steps"]


@pytest.mark.faults
def test_a_stacked_sweep_that_is_killed_goes_on_to_the_same_bits(migrated_store: Path, tmp_path: Path) -> None:
    storage, rates = migrated_store.parent, {"learning_rate": {"grid": [0.01, 0.02, 0.05, 0.1, 0.2]}}
    changes = {"learning": rates, "rounds": 60, "steps_per_round": 20}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**SPACE, **changes}))
    arguments = ["sweep", "space.yaml", "--storage", str(storage), "--address", "local", "--max-concurrent", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "avil_ray", *arguments], cwd=tmp_path, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = storage / "grid"
    while not list((folder / "trials").glob(f"*/{RESULT}")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = by_key(folder)
    assert 0 < len(before) < 80
    resumed, whole = sweep(storage, resume=True, **changes), sweep(storage, name="whole", **changes)
    assert (resumed.unfinished, resumed.failed) == (0, 0)
    ours, theirs = by_key(resumed.folder), by_key(whole.folder)
    assert {key: untimed(one) for key, one in ours.items()} == {key: untimed(one) for key, one in theirs.items()}
    for key in ours:
        assert (load_theta(trial_folder(folder, key)) == load_theta(trial_folder(whole.folder, key))).all()
    assert all(ours[key] == record for key, record in before.items()), "what was done is not done again"
    assert {run.info.status for run in runs_of(storage).values()} == {"FINISHED"}


@pytest.mark.slow
def test_what_diverges_in_a_stack_runs_by_itself_and_says_why(migrated_store: Path) -> None:
    rates = {"method": "static", "weights": {"helpful_1": 1}, "learning_rate": {"grid": [0.05, 1e37]}}
    outcome = sweep(migrated_store.parent, methods=[rates], learning={"clip": 1e30}, search={"vectorize": True})
    records = by_key(outcome.folder)
    assert [records[f"static/c{number:03d}/s0"].status for number in (0, 1)] == ["finished", "failed"]
    assert "diverged in round" in str(records["static/c001/s0"].reason)
    assert runs_of(migrated_store.parent)["grid/static/c001/s1"].info.status == "FAILED"


@pytest.mark.slow
@pytest.mark.parametrize("search", [{"scheduler": "asha"}, {"algorithm": "optuna", "trials": 8}])
def test_early_stopping_and_proposals_work_in_stacks(migrated_store: Path, search: dict[str, Any]) -> None:
    free = {"weights": {"helpful_1": {"uniform": [0, 2]}}, "samples": 8}
    methods, asked = [{"method": "target-only"}, {"method": "static", **free}], {**search, "vectorize": True}
    console = io.StringIO()
    outcome = sweep(migrated_store.parent, console, methods=methods, search=asked, rounds=8)
    records = [one for one in by_key(outcome.folder).values() if one.label == "static"]
    assert len(records) == 16
    assert "in a stack" in console.getvalue()
    stopped = [one for one in records if one.status == "stopped"]
    if "scheduler" in search:
        assert len(stopped) > 8
        assert {str(one.reason) for one in stopped} <= {f"stopped by asha after {count} rounds" for count in (2, 6)}
        assert all(len(one.history) in (2, 6) for one in stopped)
    else:
        assert not stopped
    again = sweep(migrated_store.parent, methods=methods, search=asked, rounds=8, resume=True)
    assert by_key(again.folder) == by_key(outcome.folder)
