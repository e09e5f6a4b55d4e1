"""The MLflow server goes down, for a while or for good, or an experiment is deleted: only the mirror suffers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disturbed import SPACE, Sweep, until

pytestmark = pytest.mark.faults

Make = Callable[..., Sweep]


class Server:
    """An MLflow server on a database, which can go down and come back."""

    def __init__(self, database: Path) -> None:
        self.database = database
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        files = self.database.parent / "artifacts"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.database}"),
                *("--artifacts-destination", str(files), "--port", str(self.port), "--workers", "1"),
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        until(self._answers, 90)

    def down(self) -> None:
        if self.process is not None:
            self.send(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def send(self, number: signal.Signals) -> None:
        """A signal to the server and its workers."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture
def server(migrated_store: Path) -> Iterator[Server]:
    server = Server(migrated_store)
    server.up()
    yield server
    server.down()


def test_a_server_that_is_down_for_twenty_seconds_has_everything_in_the_end(server: Server, sweep: Make) -> None:
    one = sweep(suite={**SPACE["suite"], "seconds": 0.15}, rounds=10)
    one.environment["MLFLOW_TRACKING_URI"] = server.uri
    process = one.started()
    one.reach(process, 1)
    server.down()
    time.sleep(20)
    server.up()
    assert process.poll() is None, "the sweep must take longer than that"
    assert one.ended(process) == 0, one.words()
    one.check()


def test_a_server_that_stays_away_costs_the_mirror_alone_and_resume_sends_it(server: Server, sweep: Make) -> None:
    one = sweep()
    one.environment["MLFLOW_TRACKING_URI"] = server.uri
    process = one.started()
    one.reach(process, 1)
    server.down()
    assert one.ended(process) == 1, one.words()
    assert "tracking store" in one.words()
    one.check_files()
    server.up()
    assert one.run("--resume") == 0, one.words()
    one.check()


def test_a_deleted_experiment_is_restored_at_the_latest_by_resume(sweep: Make) -> None:
    one = sweep()
    process = one.started()
    one.reach(process, 1)
    client = one.client()
    client.delete_experiment(client.get_experiment_by_name("paced").experiment_id)
    status = one.ended(process)
    one.check_files()
    if status != 0:
        assert "tracking store" in one.words()
        assert one.run("--resume") == 0, one.words()
    one.check()
