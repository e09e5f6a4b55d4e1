"""Sweeps and runs whose storage is an S3 server: the same bits as in a folder, also where they are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from stores import Server, served
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.reports.records import TrialRecord, read_records, trial_folder
from avil_ray.storage import Storage, at
from avil_ray.sweeps.trial import load_theta

SPACE = {
    "name": "tiny",
    "suite": {"factory": "tiny_suite:tiny_suite", "delay": 4},
    "rounds": 6,
    "steps_per_round": 4,
    "seeds": [0, 1],
    "search": {"vectorize": False},
    "resources": {"per_task": {"cpu": 0.5}, "driver": {"cpu": 0.5}},
    "methods": [{"method": "alpha-vil"}, {"method": "static", "weights": {"b": {"grid": [0, 0.5, 1]}}}],
}
METHODS = {"alpha-vil/c000/s1": avil.AlphaVIL(), "static/c001/s0": avil.Static(weights={"b": 0.5})}

Command = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def command(migrated_store: Path) -> Command:
    """`command("sweep", …)` in a folder with a search space and, where one is made otherwise, a tracking database."""
    folder = migrated_store.parent.parent
    migrated_store.parent.rename(folder / "avil-results")
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}"}
    environment.pop("MLFLOW_TRACKING_URI", None)

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "avil_ray", *arguments],
            env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    return start


def ended(process: subprocess.Popen[str], seconds: float = 240) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=seconds)
    return process.returncode, output, errors


def results(sweep: Storage) -> int:
    return sum((sweep / "trials" / name).exists("result.json") for name in (sweep / "trials").names())


def wait_for(sweep: Storage, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while results(sweep) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def check(sweep: Storage) -> dict[str, TrialRecord]:
    """Every trial is as a run from Python is, to the last bit, and nothing but results is left."""
    records = {record.key: record for record in read_records(sweep)}
    assert {record.status for record in records.values()} == {"finished"}
    assert len(records) == 8
    for key, method in METHODS.items():
        expected = avil.train(tiny_suite(), method, rounds=6, steps_per_round=4, seed=records[key].seed)
        folder = trial_folder(sweep, key)
        assert load_theta(folder).tobytes() == expected.theta.tobytes()
        assert records[key].test == expected.test
        assert records[key].history["round"].tolist() == list(range(len(expected.rows)))
        assert set(folder.names()) - {".lock"} == {"history.csv", "result.json", "theta.safetensors"}
    return records


@pytest.mark.faults
def test_a_sweep_on_s3_is_killed_and_resumed_and_compared(command: Command, s3: Server, tmp_path: Path) -> None:
    storage = s3.uri(f"bucket/sweeps-{time.time_ns()}")
    sweep = at(storage) / "tiny"
    start = ("sweep", "space.yaml", "--storage", storage, "--address", "local")
    first = command(*start, "--max-concurrent", "1")
    wait_for(sweep, 2, first)
    status, _, errors = ended(command(*start, "--resume"))
    assert (status, errors.count("in use by process")) == (2, 2), errors  # a word while it looks, and the end
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert 2 <= results(sweep) < 8
    status, output, errors = ended(command(*start, "--resume"))
    assert status == 0, errors
    assert "trials are already done" in errors
    assert f"report: {sweep.where('report.html')}" in output
    assert "avil-results, since a database needs a local disk" in " ".join(errors.split())
    check(sweep)
    assert json.loads(sweep.read("summary.json"))["methods"][0]["trials"] == 2
    before = {name: sweep.read(name) for name in ("report.html", "summary.json")}
    sweep.delete("report.html")
    status, output, errors = ended(command("report", "tiny", "--storage", storage))
    assert status == 0, errors
    assert {name: sweep.read(name) for name in before} == before
    status, _, errors = ended(command("report", "tyni", "--storage", storage))
    assert (status, "did you mean 'tiny'?" in errors) == (2, True)
    assert not list(tmp_path.glob("s3*")), "no folder is called like a URI"
    everything = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "mlflow.db"]
    assert not any(b"planted-secret" in path.read_bytes() for path in everything)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_server_that_goes_away_in_mid_sweep_loses_nothing(command: Command) -> None:
    with served() as server:
        storage = server.uri("bucket/sweeps")
        sweep = at(storage) / "tiny"
        start = ("sweep", "space.yaml", "--storage", storage, "--address", "local")
        process = command(*start, "--max-concurrent", "1")
        wait_for(sweep, 2, process)
        server.pause()
        status, _, errors = ended(process, 500)
        assert status == 1, errors
        assert "Traceback" not in errors
        assert f"{sweep.where()}" in errors
        server.go_on()
        assert 2 <= results(sweep) < 8
        status, _, errors = ended(command(*start, "--resume"))
        assert status == 0, errors
        check(sweep)


@pytest.mark.slow
def test_a_run_on_s3_is_interrupted_and_resumed(s3: Server) -> None:
    class Stop(Exception):
        pass

    def stop(done: avil.Round) -> None:
        if done.number == 2:
            raise Stop

    output = s3.uri(f"bucket/run-{time.time_ns()}")
    expected = avil.train(tiny_suite(), avil.AlphaVIL(), rounds=5, steps_per_round=4)
    with pytest.raises(Stop):
        avil.train(tiny_suite(), avil.AlphaVIL(), rounds=5, steps_per_round=4, output=output, on_round=stop)
    with pytest.raises(UserError, match="already holds a run; resume it"):
        avil.train(tiny_suite(), avil.AlphaVIL(), rounds=5, steps_per_round=4, output=output)
    told: list[int] = []
    result = avil.train(
        tiny_suite(), avil.AlphaVIL(), rounds=5, steps_per_round=4, output=output, resume=True,
        on_round=lambda done: told.append(done.number),
    )  # fmt: skip
    assert result.theta.tobytes() == expected.theta.tobytes()
    assert told[0] > 1, "it went on from its checkpoint"


@pytest.mark.slow
def test_the_command_run_writes_its_files_to_s3(command: Command, s3: Server) -> None:
    output = s3.uri(f"bucket/run-{time.time_ns()}")
    start = (
        "run",
        "synthetic",
        "--rounds",
        "2",
        "--steps-per-round",
        "2",
        "--set",
        "target_labels=30",
        "--set",
        "train=60",
        "--output",
        output,
    )
    status, said, errors = ended(command(*start))
    assert status == 0, errors
    assert f"written to {output}" in said
    assert {"history.csv", "result.json", "avil.json", "model.safetensors"} <= set(at(output).names())
    assert avil.load(output)
    assert ended(command(*start))[0] == 2, "it holds a run"
    status, again, errors = ended(command(*start, "--resume"))
    assert (status, again.splitlines()[-2:]) == (0, said.splitlines()[-2:])


@pytest.mark.slow
def test_what_is_wrong_with_a_uri_is_one_line_and_status_2(command: Command, s3: Server) -> None:
    for uri, said in (
        (s3.uri("nowhere/x"), "there is no bucket 'nowhere'"),
        ("s3a://bucket/x", "a package for s3a:// is missing (Install s3fs"),
        ("s3://KEY:planted@bucket/x", "holds credentials"),
    ):
        for more in (
            ("sweep", "space.yaml", "--address", "local", "--storage", uri),
            ("run", "synthetic", "--output", uri),
            ("report", "tiny", "--storage", uri),
        ):
            status, _, errors = ended(command(*more))
            assert (status, len(errors.splitlines())) == (2, 1), errors
            assert said in errors
            assert "planted" not in errors
