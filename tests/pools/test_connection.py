"""Which Ray is used, and what is said of an address where none answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from avil_ray.errors import UserError
from avil_ray.pools import connection, tokens
from avil_ray.pools.connection import connected, named_by_environment


@pytest.fixture
def _unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has no connection yet; the session's own is not touched, as none of these gets to one."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def said(address: str) -> str:
    with pytest.raises(UserError) as caught, connected(address):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("_unconnected")
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8265", "that is the address of a dashboard; give HOST:PORT"),
        ("https://head", "that is the address of a dashboard; give HOST:PORT"),
        ("ray://127.0.0.1:10001", "that is the address of Ray Client, which cannot run a sweep; give HOST:PORT"),
        ("redis://head:6379", "that is the address of no Ray cluster; give HOST:PORT"),
        ("127.0.0.1", "not the address of a Ray cluster; give HOST:PORT"),
        ("head:99999", "not the address of a Ray cluster"),
        ("head:0", "not the address of a Ray cluster"),
        ("head: 6379", "not the address of a Ray cluster"),
        ("::1:6379", "not the address of a Ray cluster"),
        ("", "not the address of a Ray cluster"),
        ("a\x1b[31m", r"a\x1b[31m: not the address"),
        ("127.0.0.1:9", "no Ray cluster answers there (Connection refused); start one there, or use"),
        ("no-such-host.invalid:6379", "no Ray cluster answers there"),
    ],
)
def test_an_address_that_cannot_be_right_is_one_line_at_once(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    assert said(address).startswith(connection.plain(f"--address {address}"))
    assert message in said(address)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert said("auto").startswith(f"RAY_ADDRESS={connection.plain(address)}: ")
    assert time.monotonic() - began < 10


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.usefixtures("_unconnected")
def test_a_listener_that_is_not_ray_is_reported_within_a_limit(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)
    assert "what listens there is not a Ray cluster" in said(silent)


@pytest.mark.usefixtures("_unconnected")
@pytest.mark.slow
def test_an_address_that_is_not_ray_is_reported_in_rays_words_within_the_limit(silent: str) -> None:
    assert "does not answer as a Ray cluster" in said(silent)


@pytest.mark.usefixtures("_unconnected")
def test_auto_without_a_name_starts_a_ray_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert connection._meant("auto") == ("--address auto", None)
    for value in ("", "auto"):
        monkeypatch.setenv("RAY_ADDRESS", value)
        assert connection._meant("auto")[1] is None
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert connection._meant("auto")[1] is None


@pytest.mark.usefixtures("_unconnected")
def test_a_cluster_started_here_that_is_gone_is_skipped_with_a_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    assert connection._meant("auto")[1] is None
    assert "(127.0.0.1:9) does not answer; starting a local Ray" in caplog.text


@pytest.mark.usefixtures("_unconnected")
def test_a_run_joins_only_a_cluster_that_the_user_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_by_environment() == "local"
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert named_by_environment() == "auto"


def test_a_long_temporary_folder_is_not_used_for_sockets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert connection._temporary_folder() is None
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'x' * 60}")
    assert connection._temporary_folder() == "/tmp/ray"
    assert "too long a path for Ray's sockets" in caplog.text


@pytest.mark.usefixtures("_unconnected")
def test_a_folder_that_ray_cannot_use_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ray").touch()
    monkeypatch.setattr(connection, "LONGEST_FOLDER", 1000)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    before = {name: os.environ.get(name) for name in tokens.TOKEN}
    assert "Ray cannot start on this machine" in said("local")
    assert {name: os.environ.get(name) for name in tokens.TOKEN} == before


@pytest.mark.usefixtures("ray_session")
def test_the_programs_sigterm_handler_is_kept() -> None:
    import signal

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


STRANGER = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1])
except AuthenticationError:
    print("refused")
"""


@pytest.mark.usefixtures("ray_session")
def test_a_local_ray_rejects_other_users() -> None:
    """Other users of the machine reach it; whoever has not its token is refused."""
    address = ray.get_runtime_context().gcs_address
    environment = {name: value for name, value in os.environ.items() if name not in tokens.TOKEN}
    for more in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        done = subprocess.run(
            [sys.executable, "-c", STRANGER, address], capture_output=True, text=True, env={**environment, **more}
        )
        assert done.stdout == "refused\n", done.stderr


@pytest.mark.usefixtures("ray_session")
def test_a_local_ray_listens_only_on_loopback() -> None:
    ray.get(ray.remote(num_cpus=0.1)(lambda: None).remote())  # a worker listens too
    own = psutil.Process()
    processes = [own, *own.children(recursive=True)]
    open_to = {
        (process.name(), where.laddr.ip)
        for process in processes
        for where in process.net_connections("tcp")
        if where.status == psutil.CONN_LISTEN
    }
    assert "gcs_server" in {name for name, _ in open_to}
    assert {ip.removeprefix("::ffff:") for _, ip in open_to} == {"127.0.0.1"}


@pytest.mark.usefixtures("_unconnected")
def test_a_cluster_running_here_is_joined_only_on_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert connection._meant(None) == ("--address local", None)
    assert caplog.text == ""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:6379")
    assert connection._meant(None) == ("--address local", None)
    assert "starting a local Ray; use --address auto to join the cluster" in caplog.text
    monkeypatch.setattr(connection, "_require_cluster", lambda named, address: None)
    assert connection._meant("auto") == ("--address auto", "127.0.0.1:6379")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6380")
    assert connection._meant(None) == ("RAY_ADDRESS=127.0.0.1:6380", "127.0.0.1:6380")


@pytest.mark.usefixtures("_unconnected")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_another_users_cluster_is_skipped_with_a_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    file = tmp_path / "ray" / "ray_current_cluster"
    file.write_text("127.0.0.1:6379")
    os.chown(file, 12345, 12345)
    assert connection._meant("auto") == ("--address auto", None)
    assert "(127.0.0.1:6379) is another user's; starting a local Ray" in caplog.text


def test_two_threads_may_connect_and_only_the_main_one_touches_signals() -> None:
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with connection._handler_of_sigterm_kept():
                pass
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert failed == []
