"""A real sweep that is told to stop, with secrets in its environment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avil_ray.tracking.store import open_store

pytestmark = pytest.mark.slow

SPACE = """\
name: small
suite: {name: synthetic, target_labels: 40, train: 60}
rounds: 5
steps_per_round: 5
seeds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
resources: {driver: {cpu: 0.2}, per_task: {cpu: 0.2}}
methods:
  - {method: target-only}
search: {vectorize: false}
"""
PLANTED = "PLANTED-SECRET"
NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "RAY_AUTH_TOKEN",
)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a path that Ray's sockets have room in."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_sigterm_ends_a_sweep_in_order_and_no_file_holds_a_secret(
    migrated_store: Path, tmp_path: Path, short: Path
) -> None:
    storage = migrated_store.parent
    (tmp_path / "space.yaml").write_text(SPACE)
    secrets = {name: f"{PLANTED}-{name}" for name in NAMES}
    environment = {
        **os.environ, **secrets, "RAY_AUTH_MODE": "token", "RAY_TMPDIR": str(short),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    arguments = ["sweep", "space.yaml", "--storage", str(storage), "--address", "local", "--max-concurrent", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "avil_ray", *arguments], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert process.stderr is not None
    while " of 16  target-only" not in process.stderr.readline():
        assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    while "stopping: running trials keep their last checkpoints" not in process.stderr.readline():
        assert process.poll() is None
    assert time.monotonic() - began < 1
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "report.html" in output
    assert "no result yet: continue with --resume" in errors
    assert (storage / "small" / "report.md").exists()
    client = open_store(f"sqlite:///{storage}/mlflow.db")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert {run.info.status for run in runs} == {"FINISHED", "KILLED"}
    files = [path for folder in (storage, short) for path in folder.rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix in (".log", ".out", ".err")]) > 5, "Ray's logs are looked at too"
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []
