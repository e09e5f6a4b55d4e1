"""Stores for tests: a folder of a disk, an S3 server that runs on this machine, and a store that can only rename."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

KINDS = ("disk", "s3", "renaming")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "planted-secret"}
SERVER = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"


class Server:
    """An S3 server in a process of its own: one that stands in this process would wait for us as we wait for it."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, strict: bool = False) -> None:
        """Start it; a `strict` one knows nobody's credentials."""
        environment = {**os.environ, **({"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if strict else {})}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Answer nobody: as a server that the network lost. What it holds it holds in memory, so it is not ended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def make_bucket(self, name: str) -> None:
        from pyarrow.fs import S3FileSystem

        where = f"127.0.0.1:{self.port}"
        S3FileSystem(endpoint_override=where, scheme="http", allow_bucket_creation=True, region="us-east-1").create_dir(
            name
        )

    def uri(self, path: str) -> str:
        """The URI of a folder, its bucket first."""
        return f"s3://{path}?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"


@contextmanager
def served(strict: bool = False) -> Iterator[Server]:
    """A server with one bucket, `bucket`, whose credentials are in the environment."""
    pytest.importorskip("moto")
    server = Server()
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    try:
        server.start(strict)
        if not strict:
            server.make_bucket("bucket")
        yield server
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@pytest.fixture(scope="session")
def s3() -> Iterator[Server]:
    with served() as server:
        yield server


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that nothing is in, on each kind of store."""
    if request.param == "disk":
        return str(tmp_path / "folder")
    if request.param == "renaming":
        return f"fsspec+file://{tmp_path}/folder"
    server: Server = request.getfixturevalue("s3")
    return server.uri(f"bucket/{tmp_path.name}-{time.time_ns()}")
