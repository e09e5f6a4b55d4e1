"""Real sweeps: Ray Tune, Ray workers, an MLflow store, files on disk."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from rich.console import Console
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray.locking import locked
from avil_ray.reports.records import Cost, TrialRecord, read_records, trial_folder
from avil_ray.spaces.search_space import read_search_space
from avil_ray.sweeps.conclusion import Outcome
from avil_ray.sweeps.sweep import run_sweep
from avil_ray.tracking.store import open_store

Write = Callable[..., Path]

SPACE: dict[str, Any] = {
    "name": "tiny",
    "suite": {"factory": "tiny_suite:tiny_suite"},
    "rounds": 3,
    "steps_per_round": 4,
    "seeds": [0, 1],
    "resources": {"per_task": {"cpu": 0.5}, "driver": {"cpu": 0.5}},
    "methods": [
        {"method": "alpha-vil"},
        {"method": "static", "weights": {"b": {"grid": [0, 1]}, "c": 0.5}},
    ],
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_space(**changes: Any) -> Path:
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({**SPACE, **changes}))
        return path

    return write_space


@pytest.fixture
def storage(migrated_store: Path) -> Path:
    """A storage folder whose tracking store is migrated already."""
    return migrated_store.parent


def sweep(path: Path, storage: Path, **options: Any) -> Outcome:
    return run_sweep(read_search_space(path), storage, **options)


def by_key(folder: Path) -> dict[str, TrialRecord]:
    return {record.key: record for record in read_records(folder)}


def untimed(record: TrialRecord) -> TrialRecord:
    """A record without its times."""
    return replace(record, cost=Cost(record.cost.gradient_steps))


def spoil(folder: Path) -> None:
    """Damage a sweep's folder in every way that a resumed sweep mends."""
    (folder / "sweep.json").write_text("[]")
    (trial_folder(folder, "alpha-vil/c000/s0") / "result.json").write_text("{")
    (trial_folder(folder, "alpha-vil/c000/s1") / "history.csv").write_bytes(b"round\n0\n")
    (trial_folder(folder, "static/c000/s0") / "theta.safetensors").write_bytes(b"")
    running = trial_folder(folder, "static/c000/s1")
    (running / "result.json").unlink()
    (running / "checkpoint" / "checkpoint.safetensors").mkdir(parents=True)


def runs(storage: Path) -> dict[str, Any]:
    client: MlflowClient = open_store(f"sqlite:///{storage}/mlflow.db")
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    keys = [run.data.tags["avil.key"] for run in found]
    assert sorted(set(keys)) == sorted(keys), "one run for each trial"
    return dict(zip(keys, found, strict=True))


@pytest.mark.usefixtures("ray_session")
class TestSweep:
    @pytest.mark.slow
    def test_every_trial_equals_a_run_from_python_and_stands_everywhere(self, write: Write, storage: Path) -> None:
        outcome = sweep(write(), storage)
        assert (outcome.failed, outcome.unfinished, outcome.trouble) == (0, 0, None)
        records = by_key(outcome.folder)
        assert sorted(records) == sorted(
            f"{label}/c{index:03d}/s{seed}"
            for label, index in (("alpha-vil", 0), ("static", 0), ("static", 1))
            for seed in (0, 1)
        )
        for key, method in (
            ("alpha-vil/c000/s1", avil.AlphaVIL()),
            ("static/c001/s1", avil.Static(weights={"b": 1, "c": 0.5})),
        ):
            expected = avil.train(tiny_suite(), method, rounds=3, steps_per_round=4, seed=1)
            assert records[key].test == expected.test
            assert records[key].best_round == expected.best_round
            columns = [name for name in expected.history if not name.startswith("time/")]
            assert records[key].history[columns].equals(expected.history[columns])
            assert records[key].cost.gradient_steps == expected.history["cost/gradient_steps"].sum()
            assert not (trial_folder(outcome.folder, key) / "checkpoint").exists()

        summary = json.loads((outcome.folder / "summary.json").read_text())
        assert [method["label"] for method in summary["methods"]] == ["alpha-vil", "static"]
        assert summary["methods"][1]["trials"] == 4
        stored = runs(storage)
        parent = stored.pop("tiny")
        assert set(stored) == {f"tiny/{key}" for key in records}
        assert {run.info.status for run in (parent, *stored.values())} == {"FINISHED"}
        assert {run.data.tags["mlflow.parentRunId"] for run in stored.values()} == {parent.info.run_id}
        models = [key for key, run in stored.items() if run.data.tags.get("avil.model", "").startswith("models:/")]
        assert sorted(key.split("/")[1] for key in models) == ["alpha-vil", "static"]
        one = stored["tiny/static/c001/s1"]
        assert one.info.run_name == "static b=1 · seed 1"
        told = {"learning_rate": "0.05", "suite.target": "a", "rounds": "3", "seed": "1", "weights.b": "1.0"}
        assert told.items() <= one.data.params.items()
        assert "mlflow.note.content" in one.data.tags
        assert parent.data.metrics["test/static"] == summary["methods"][1]["test"]["mean"]
        assert parent.data.tags["mlflow.note.content"].startswith("**Train a with ")
        assert set(outcome.views) == {"trials", "charts", "comparison", "report"}

        with pytest.raises(avil.UserError, match="a sweep of this name already exists; add --resume"):
            sweep(write(), storage)
        with pytest.raises(avil.UserError, match="was run with rounds 3, but this one has 4"):
            sweep(write(rounds=4), storage, resume=True)
        before = {run.info.run_id for run in runs(storage).values()}
        with locked(outcome.folder), pytest.raises(avil.UserError, match="in use by process"):
            sweep(write(), storage, resume=True)
        spoil(outcome.folder)
        console = Console(file=io.StringIO())
        again = sweep(write(), storage, resume=True, console=console)
        assert (again.failed, again.unfinished, again.trouble) == (0, 0, None)
        assert list(map(untimed, by_key(again.folder).values())) == list(map(untimed, records.values()))
        assert {run.info.run_id for run in runs(storage).values()} == before
        said = console.file.getvalue()
        for key, reason in (
            ("alpha-vil/c000/s0", "result.json: unreadable"),
            ("alpha-vil/c000/s1", "history.csv is wrong"),
            ("static/c000/s0", "theta.safetensors: unreadable"),
        ):
            assert re.search(f"{key} runs again: .*{reason}", said), said
        assert "static/c000/s1: " in said
        assert "the trial restarts from its first round" in said

    @pytest.mark.slow
    def test_a_trial_that_diverges_is_reported_with_its_reason_and_the_others_are_kept(
        self, write: Write, storage: Path
    ) -> None:
        methods = [{"method": "equal", "learning_rate": {"grid": [0.05, 1.0e30]}}, {"method": "target-only"}]
        outcome = sweep(write(methods=methods, seeds=[0]), storage)
        assert outcome.failed == 1
        records = by_key(outcome.folder)
        assert records["equal/c001/s0"].status == "failed"
        assert "diverged in round" in str(records["equal/c001/s0"].reason)
        assert records["equal/c000/s0"].status == records["target-only/c000/s0"].status == "finished"
        stored = runs(storage)
        assert stored["tiny/equal/c001/s0"].info.status == "FAILED"
        assert stored["tiny"].info.status == "FAILED"
        assert stored["tiny/equal/c000/s0"].info.status == "FINISHED"

    @pytest.mark.slow
    def test_a_trial_that_fails_once_goes_on_from_its_checkpoint(
        self, write: Write, storage: Path, tmp_path: Path
    ) -> None:
        suite = {"factory": "tiny_suite:breaks_once", "flag": str(tmp_path / "flag"), "after": 8}
        outcome = sweep(write(suite=suite, seeds=[0], methods=[{"method": "alpha-vil"}]), storage)
        assert (tmp_path / "flag").exists()
        assert outcome.failed == 0
        record = by_key(outcome.folder)["alpha-vil/c000/s0"]
        expected = avil.train(tiny_suite(), avil.AlphaVIL(), rounds=3, steps_per_round=4, seed=0)
        assert record.test == expected.test
        run = runs(storage)["tiny/alpha-vil/c000/s0"]
        steps = open_store(f"sqlite:///{storage}/mlflow.db").get_metric_history(run.info.run_id, "select/accuracy")
        assert sorted(metric.step for metric in steps) == list(range(len(expected.history)))

    def test_more_than_the_cluster_has_is_refused_before_anything_is_written(self, write: Write, storage: Path) -> None:
        greedy = {"per_task": {"cpu": 64}, "driver": {"cpu": 1}}
        with pytest.raises(avil.UserError, match="each trial needs 64 CPU, but the cluster has 4"):
            sweep(write(resources=greedy), storage)
        assert not (storage / "tiny").exists()

    @pytest.mark.slow
    def test_fresh_replaces_the_sweep_and_its_runs(self, write: Write, storage: Path) -> None:
        small = {"methods": [{"method": "target-only"}], "seeds": [0]}
        sweep(write(**small), storage)
        before = runs(storage)
        outcome = sweep(write(**{**small, "rounds": 2}), storage, fresh=True)
        assert len(by_key(outcome.folder)["target-only/c000/s0"].history) == 2
        after = runs(storage)
        assert set(after) == set(before)
        assert after["tiny"].info.run_id != before["tiny"].info.run_id

    @pytest.mark.slow
    def test_asha_stops_trials_early_and_says_so(self, write: Write, storage: Path) -> None:
        rates = {"grid": [0.05, 1e-6, 1e-7, 1e-8]}
        search = {"algorithm": "grid", "scheduler": "asha"}
        methods = [{"method": "target-only", "learning_rate": rates}]
        outcome = sweep(write(methods=methods, seeds=[0], rounds=8, search=search), storage, max_concurrent=1)
        records = by_key(outcome.folder)
        assert records["target-only/c000/s0"].status == "finished"
        stopped = [record for record in records.values() if record.status == "stopped"]
        assert stopped
        assert all(0 < len(record.history) < 8 and record.test is None for record in stopped)
        assert outcome.failed == outcome.unfinished == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("algorithm", ["optuna", "surrogate"])
    def test_a_sweep_that_is_resumed_proposes_the_same_again(self, algorithm: str, write: Write, storage: Path) -> None:
        methods = [{"method": "static", "weights": {"b": {"uniform": [0, 2]}}, "samples": 6}]
        space = write(methods=methods, seeds=[0], rounds=1, search={"algorithm": algorithm})
        records = by_key(sweep(space, storage).folder)
        assert len(records) == 6
        chosen = [record.options for _, record in sorted(records.items())]
        again = by_key(sweep(space, storage, resume=True).folder)
        assert [record.options for _, record in sorted(again.items())] == chosen
        assert len({json.dumps(dict(options)) for options in chosen}) == 6

    @pytest.mark.slow
    def test_a_search_ends_with_its_budget_and_again_there_when_resumed(self, write: Write, storage: Path) -> None:
        methods = [{"method": "static", "weights": {"b": {"uniform": [0.1, 2]}}}, {"method": "alpha-vil"}]
        space = write(
            methods=methods, reference="alpha-vil", budget="reference", seeds=[0, 1],
            search={"algorithm": "surrogate", "trials": 30},
        )  # fmt: skip
        console = Console(file=io.StringIO(), width=200)
        outcome = sweep(space, storage, console=console)
        cost = {one.label: one.cost.gradient_steps for one in outcome.comparison.methods}
        each = 2 * 2 * 3 * 4  # two seeds, two tasks, three rounds of four steps
        assert cost["alpha-vil"] - each < cost["static"] <= cost["alpha-vil"]
        assert f"of at most 30 configurations tried, as the budget of {cost['alpha-vil']:,}" in console.file.getvalue()
        assert "searched with surrogate, each within the budget" in (outcome.folder / "report.md").read_text()
        records = by_key(outcome.folder)
        shutil.rmtree(trial_folder(outcome.folder, "static/c001/s1"))
        again = sweep(space, storage, resume=True)
        assert {key: untimed(one) for key, one in by_key(again.folder).items()} == {
            key: untimed(one) for key, one in records.items()
        }

    @pytest.mark.slow
    def test_a_full_grid_is_replayed_at_the_cost_of_the_reference(self, write: Write, storage: Path) -> None:
        weights = {"b": {"grid": [0, 0.5, 1]}, "c": {"grid": [0, 0.5, 1]}}
        methods = [{"method": "equal"}, *({"method": "static", "label": label, "weights": weights, "finish": finish}
                   for label, finish in (("static", "none"), ("finished", "fine-tune")))]  # fmt: skip
        outcome = sweep(write(methods=methods, seeds=[0, 1]), storage)
        found = json.loads((outcome.folder / "summary.json").read_text())["equal_cost"]
        assert found["budget"] == outcome.comparison.methods[0].cost.gradient_steps == 2 * 3 * 3 * 4
        searches = {(one["label"], one["search"]): one for one in found["found"]}
        assert len(searches) == 2 * 6
        assert (
            searches["static", "random"]["cost"] <= found["budget"] < searches["static", "every configuration"]["cost"]
        )
        assert "## At equal cost" in (outcome.folder / "report.md").read_text()
        assert len((outcome.folder / "equal-cost.csv").read_text().splitlines()) == 13


def command(path: Path, storage: Path, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    arguments = [
        sys.executable,
        "-m",
        "avil_ray",
        "sweep",
        str(path),
        "--storage",
        str(storage),
        "--address",
        "local",
        *more,
    ]
    return subprocess.Popen(
        arguments, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def wait_for(storage: Path, results: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list(storage.glob("tiny/trials/*/result.json"))) < results:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.faults
def test_a_sweep_survives_control_c_and_sigkill(write: Write, storage: Path) -> None:
    methods = [{"method": "static", "weights": {"b": {"grid": [0, 0.25, 0.5, 1]}}}, {"method": "alpha-vil"}]
    resources = {"per_task": {"cpu": 0.5}, "driver": {"cpu": 0.5}}
    path = write(
        methods=methods, rounds=6, resources=resources, suite={"factory": "tiny_suite:tiny_suite", "delay": 0.3}
    )
    process = command(path, storage, "--max-concurrent", "1")
    wait_for(storage, 2, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "no result yet: continue with --resume" in errors
    assert runs(storage)["tiny"].info.status == "KILLED"
    done = len(list(storage.glob("tiny/trials/*/result.json")))
    assert 2 <= done < 10

    process = command(path, storage, "--resume", "--max-concurrent", "1")
    wait_for(storage, done + 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(list(storage.glob("tiny/trials/*/result.json"))) < 10

    process = command(path, storage, "--resume")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    records = by_key(storage / "tiny")
    assert {record.status for record in records.values()} == {"finished"}
    assert len(records) == 10
    expected = avil.train(tiny_suite(), avil.AlphaVIL(), rounds=6, steps_per_round=4, seed=1)
    assert records["alpha-vil/c000/s1"].test == expected.test
    stored = runs(storage)
    assert len(stored) == 11
    assert {run.info.status for run in stored.values()} == {"FINISHED"}
