"""A sweep as a user runs it, in processes of its own, and what must be true of it whatever befell it on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient

import avil_ray as avil
from avil_ray.catalog import build_suite, build_trial
from avil_ray.reports.records import TrialRecord, read_records, trial_folder
from avil_ray.sweeps.trial import load_theta
from avil_ray.tracking.store import open_store
from benchmarks.soak import living

TESTS = Path(__file__).parents[1]
WORKER, DRIVER = "ray::Worker", "ray::ImplicitFunc"
"""How Ray calls the processes of a trial's workers, and of the trial itself."""
ENDS = 120.0
"""Seconds in which all processes of a sweep must be gone: two of Ray's own stay for a minute where it was killed."""

SPACE: dict[str, Any] = {
    "name": "disturbed",
    "suite": {"factory": "paced:paced_suite", "seconds": 0.05},
    "rounds": 5,
    "steps_per_round": 4,
    "seeds": [0, 1],
    "resources": {"driver": {"cpu": 0.5}, "per_task": {"cpu": 0.5}, "slots": 2, "timeout": 60},
    "methods": [{"method": "alpha-vil"}, {"method": "static", "weights": {"b": 1, "c": 0.5}}],
}
"""Four trials of some seconds each."""
ALPHA = "alpha-vil/c000/s0"
"""A trial that has workers: of a static one the trial's own process is the worker."""


@dataclass
class Sweep:
    """A sweep's search space, where it is stored, and the command that runs it.

    Parameters
    ----------
    storage
        The folder of sweeps; its `mlflow.db` is the tracking store unless `environment` names another.
    changes
        Top-level values of the search space in place of those of `SPACE`.
    temporary
        Where its Ray keeps its files, and no other: every process of it is known by that.
    """

    storage: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    temporary: Path = Path("/nowhere")
    environment: dict[str, str] = field(default_factory=dict)
    address: str = "local"
    said: list[Path] = field(default_factory=list)

    @property
    def space(self) -> dict[str, Any]:
        return {**SPACE, **self.changes}

    @property
    def folder(self) -> Path:
        return self.storage / self.space["name"]

    @property
    def count(self) -> int:
        return len(self.space["methods"]) * len(self.space["seeds"])

    def started(self, *more: str) -> subprocess.Popen[bytes]:
        """The command, running; what it says goes into files beside the storage."""
        place = self.storage.parent / f"{self.space['name']}-{len(self.said)}"
        place.with_suffix(".yaml").write_text(yaml.safe_dump(self.space))
        self.said.append(place.with_suffix(".txt"))
        path = os.pathsep.join(map(str, (TESTS.parent, TESTS, Path(__file__).parent)))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        environment |= {"RAY_TMPDIR": str(self.temporary), **self.environment}
        arguments = ["sweep", str(place.with_suffix(".yaml")), "--storage", str(self.storage)]
        with self.said[-1].open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "avil_ray", *arguments, "--address", self.address, *more],
                env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, cwd=place.parent,
            )  # fmt: skip

    def words(self) -> str:
        """What the last command said."""
        return self.said[-1].read_text(errors="replace")

    def run(self, *more: str, seconds: float = 240) -> int:
        """The exit status of the command, and no process of it left."""
        return self.ended(self.started(*more), seconds)

    def ended(self, process: subprocess.Popen[bytes], seconds: float = 240) -> int:
        """The exit status of a command that is about to end, and no process of it left."""
        status = process.wait(timeout=seconds)
        until(lambda: not self.left(), ENDS, lambda: f"left behind: {self.left()}")
        return status

    def results(self) -> int:
        """How many trials have a record."""
        return len(list(self.folder.glob("trials/*/result.json")))

    def rounds(self, key: str = "*") -> int:
        """How many checkpoints there are of trials that run."""
        return len(list(self.folder.glob(f"trials/{key.replace('/', '-')}/checkpoint/checkpoint.safetensors")))

    def reach(self, process: subprocess.Popen[bytes], results: int, key: str = "*") -> None:
        """Wait until so many trials have ended and another one, or the one of a key, is in the middle of its rounds."""

        def there() -> bool:
            assert process.poll() is None, self.words()
            return self.results() >= results and self.rounds(key) > 0

        until(there, 180, self.words)

    def processes(self, kind: str = "") -> list[int]:
        """The ids of this sweep's processes, of one kind where that is given."""
        return [process for process, called in living(self.temporary) if called.startswith(kind)]

    def left(self) -> list[str]:
        """What has not ended though the sweep has: of a Ray of its own nothing may stay, of a cluster no trial."""
        kinds = "" if self.address == "local" else (WORKER, DRIVER)
        return [f"{process} {called}" for process, called in living(self.temporary) if called.startswith(kinds)]

    def records(self) -> dict[str, TrialRecord]:
        return {record.key: record for record in read_records(self.folder)}

    def check(self, *, failed: Sequence[str] = ()) -> None:
        """All that must be true of a sweep at its end: as if nothing had befallen it, but for trials that failed."""
        self.check_files(failed=failed)
        self.check_runs(self.records())

    def check_files(self, *, failed: Sequence[str] = ()) -> None:
        """The sweep's folder: every trial to the last bit, and the comparison."""
        records = self.records()
        assert len(records) == self.count
        for key, record in records.items():
            assert record.status == ("failed" if key in failed else "finished"), record.reason
            if key in failed:
                continue
            expected = undisturbed(json.dumps(self.space), record.method, json.dumps(dict(record.options)), record.seed)
            assert load_theta(trial_folder(self.folder, key)).tobytes() == expected.theta.tobytes()
            assert (record.test, record.best_round) == (dict(expected.test), expected.best_round)
            columns = [name for name in expected.history if not name.startswith("time/")]
            assert record.history[columns].equals(expected.history[columns]), key
            assert not (trial_folder(self.folder, key) / "checkpoint").exists()
        self.check_summary(records)

    def check_summary(self, records: Mapping[str, TrialRecord]) -> None:
        """The comparison holds what the records hold."""
        summary = json.loads((self.folder / "summary.json").read_text())
        for method in summary["methods"]:
            of_it = [record for record in records.values() if record.label == method["label"]]
            assert (method["trials"], method["failed"]) == (
                len(of_it),
                sum(record.status == "failed" for record in of_it),
            )
            if method["failed"] == 0:
                figures = {str(record.seed): record.test["accuracy"] for record in of_it if record.test}
                assert method["test"]["per_seed"] == figures

    def check_runs(self, records: Mapping[str, TrialRecord]) -> None:
        """MLflow has one run for each trial and one for the sweep; every round in it once; the right status."""
        client = self.client()
        name = self.space["name"]
        runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
        keys = [run.data.tags["avil.key"] for run in runs]
        assert sorted(keys) == sorted([name, *(f"{name}/{key}" for key in records)])
        stored = dict(zip(keys, runs, strict=True))
        for key, record in records.items():
            run = stored[f"{name}/{key}"]
            assert run.info.status == ("FAILED" if record.status == "failed" else "FINISHED"), key
            assert run.data.tags["mlflow.parentRunId"] == stored[name].info.run_id
            history = client.get_metric_history(run.info.run_id, "select/accuracy")
            assert sorted(metric.step for metric in history) == list(record.history["round"]), key
        failed = any(record.status == "failed" for record in records.values())
        assert stored[name].info.status == ("FAILED" if failed else "FINISHED")

    def client(self) -> MlflowClient:
        return open_store(self.environment.get("MLFLOW_TRACKING_URI", f"sqlite:///{self.storage}/mlflow.db"))


@cache
def undisturbed(space: str, method: str, options: str, seed: int) -> avil.Result:
    """The trial as one process runs it, without a pause."""
    asked = json.loads(space)
    suite, chosen = build_trial(build_suite({**asked["suite"], "seconds": 0.0}), method, json.loads(options))
    return avil.train(suite, chosen, rounds=asked["rounds"], steps_per_round=asked["steps_per_round"], seed=seed)


def until(true: Callable[[], Any], seconds: float, otherwise: Callable[[], str] = str) -> Any:
    """Wait for something to become true; what it gives then."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)
    return found


def end(process: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended already."""
    try:
        os.kill(process, how)
    except ProcessLookupError:
        return
