"""Claims: one writer at a time at a URI, whoever was killed, and whatever the clocks say."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stores import Server
from test_locking import started

from avil_ray import claims
from avil_ray.errors import UserError
from avil_ray.locking import locked
from avil_ray.storage import Storage, at


@pytest.fixture(params=["s3", "renaming"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "renaming":
        return at(f"fsspec+file://{tmp_path}/folder")
    server: Server = request.getfixturevalue("s3")
    return at(server.uri(f"bucket/{tmp_path.name}-{time.time_ns()}"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim changes five times a second, which others look at as often."""
    for name, value in {"BEAT": 0.2, "LOOK": 0.2}.items():
        monkeypatch.setattr(claims, name, value)


def elsewhere(count: int = 1) -> bytes:
    """The claim of a process of another machine."""
    return json.dumps({"process": 1, "host": "elsewhere", "system": "another", "holds": True, "count": count}).encode()


@contextmanager
def living(folder: Storage, seconds: float) -> Iterator[None]:
    """The claim of a process of another machine that lives for a while."""

    def live() -> None:
        for count in range(int(seconds / 0.1)):
            folder.write(".lock/other", elsewhere(count))
            time.sleep(0.1)
        folder.delete(".lock/other")

    folder.write(".lock/other", elsewhere())
    thread = threading.Thread(target=live)
    thread.start()
    yield
    thread.join()


@pytest.mark.slow
def test_another_process_is_refused_and_a_killed_one_is_in_nobodys_way(folder: Storage) -> None:
    process = started(folder, 60)
    try:
        with pytest.raises(UserError) as caught, locked(folder):
            pytest.fail("two writers")
        assert str(caught.value).startswith(f"{folder.where()}: in use by process {process.pid} on ")
        assert str(caught.value).endswith("; wait until it ends, or choose another folder")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert folder.names(".lock"), "a killed process clears nothing away"
    began = time.monotonic()
    with locked(folder):
        assert time.monotonic() - began < claims.BEAT, "of this machine it is known that it is gone"
        assert len(folder.names(".lock")) == 1
    assert folder.names(".lock") == []


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_a_living_process_of_another_machine_is_seen_and_a_dead_one_too(
    folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with living(folder, 3), pytest.raises(UserError, match=r"in use by process 1 on elsewhere; wait"), locked(folder):
        pytest.fail("two writers")
    folder.write(".lock/other", elsewhere())
    monkeypatch.setattr(claims, "DEAD", 2.0)
    began = time.monotonic()
    with locked(folder):
        assert time.monotonic() - began > claims.DEAD
        assert len(folder.names(".lock")) == 1


@pytest.mark.usefixtures("quick")
def test_a_living_process_is_waited_for_with_a_word(folder: Storage, caplog: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    with living(folder, 1.5), locked(folder, wait=30):
        assert 1 < time.monotonic() - began < 20
    assert f"{folder.where()}: in use by process 1 on elsewhere, or by a process that was killed" in caplog.text


@pytest.mark.usefixtures("quick")
def test_a_claim_is_kept_alive_and_whoever_lost_it_says_so(folder: Storage, caplog: pytest.LogCaptureFixture) -> None:
    with locked(folder):
        (name,) = folder.names(".lock")
        before = folder.read(f".lock/{name}")
        time.sleep(1)
        assert folder.read(f".lock/{name}") != before
        folder.delete(f".lock/{name}")
        time.sleep(1)
        assert folder.names(".lock") == [], "it does not come back"
    assert "another took over" in caplog.text


@pytest.mark.usefixtures("quick")
def test_of_many_that_come_at_once_one_writes_at_a_time(folder: Storage) -> None:
    inside, most, done = [0], [0], []

    def write(number: int) -> None:
        claim = claims.Claim(folder)
        claims._acquire(claim, 200)
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.3)
        inside[0] -= 1
        done.append(number)
        claim.withdraw()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, sorted(done)) == ([1], [0, 1, 2, 3])


def test_a_folder_inside_one_that_is_held_is_held(folder: Storage) -> None:
    with locked(folder), locked(folder / "inside"):
        assert folder.names() == [".lock"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"process": "x", "system": 1}'])
def test_a_claim_that_cannot_be_read_is_somebodys(content: bytes) -> None:
    assert claims.who(content) == "another process"
    assert not claims.is_gone(content)
