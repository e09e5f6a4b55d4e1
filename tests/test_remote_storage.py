"""One contract for every store: what holds in a folder of a disk holds on S3 and on a store that can only rename."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from stores import Server, served

from avil_ray.errors import UserError, WorkFailed
from avil_ray.remote_storage import NEXT, RemoteStorage, RenamingStorage
from avil_ray.storage import Unreachable, at, over


def test_every_store_reads_what_it_wrote(place: str) -> None:
    storage = at(place)
    assert (storage.names(), storage.exists("a"), storage.is_there()) == ([], False, False)
    storage.delete("a")
    storage.require_writable()
    storage.make()
    storage.write("a", b"1")
    storage.write("a", b"2")
    storage.write("b", b"3", memoryview(b"4"), b"")
    storage.write("empty")
    assert storage.is_there()
    assert not (storage / "a").is_there()
    assert (storage.names(), storage.read("a"), storage.read("b")) == (["a", "b", "empty"], b"2", b"34")
    assert storage.read("empty") == b""
    storage.move("a", "b")
    assert (storage.names(), storage.read("b")) == (["b", "empty"], b"2")
    storage.delete("b")
    with pytest.raises(FileNotFoundError):
        storage.read("b")
    with pytest.raises(WorkFailed):
        storage.move("b", "c")


def test_every_store_has_folders_inside(place: str) -> None:
    storage = at(place)
    storage.make()
    assert (storage / "inside").names() == storage.names("inside") == []
    storage.write("inside/b", b"1")
    storage.write("inside/a", b"2")
    inside = storage / "inside"
    assert (inside.names(), storage.names("inside"), storage.names()) == (["a", "b"], ["a", "b"], ["inside"])
    assert inside.read("a") == b"2"
    assert at(str(inside)).read("a") == b"2", "its text opens it again"
    assert inside.where("a") == storage.where("inside/a")
    assert "?" not in inside.where("a")
    inside.delete("a")
    assert storage.exists("inside/b")
    storage.delete("inside")
    assert not storage.exists("inside/b")


def test_a_reader_never_sees_a_part(place: str) -> None:
    """While one writes large files of one digit each, whoever reads finds one of them, whole."""
    storage = at(place)
    storage.make()
    size = 200_000
    storage.write("a", b"0" * size)
    stop = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(storage.read("a"))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        storage.write("a", str(number % 10).encode() * (size // 2), str(number % 10).encode() * (size // 2))
    stop.set()
    reader.join()
    assert len(seen) > 1
    assert all(len(content) == size and len(set(content)) == 1 for content in seen)


def test_a_store_is_asked_several_things_at_a_time(place: str) -> None:
    storage = at(place)
    storage.make()
    over(storage, lambda name: storage.write(name, name.encode()), map(str, range(40)))
    assert over(storage, storage.read, map(str, range(40))) == [str(number).encode() for number in range(40)]


@pytest.mark.parametrize("left", ["new only", "both"])
def test_a_rename_that_was_cut_off_loses_nothing(left: str) -> None:
    storage = at(f"fsspec+memory://cut-off/{left.partition(' ')[0]}")
    assert isinstance(storage, RenamingStorage)
    storage.make()
    storage.write("a", b"old")
    as_store = RemoteStorage(storage.filesystem, storage.path, storage.parts)
    if left == "new only":
        as_store.move("a", f"a{NEXT}")
    else:
        as_store.write(f"a{NEXT}", b"new")
    expected = b"old" if left == "new only" else b"new"
    assert (storage.read("a"), storage.names(), storage.exists("a")) == (expected, ["a"], True)
    storage.move("a", "b")
    assert (storage.read("b"), storage.names(), as_store.names()) == (expected, ["b"], ["b"])
    storage.delete("b")
    assert as_store.names() == []


def test_a_signal_in_mid_write_keeps_the_old_file(s3: Server) -> None:
    """An interrupted stream would store what it has so far: writes are whole also where a signal comes."""
    storage = at(s3.uri("bucket/signals"))
    content = np.zeros(30_000_000, np.uint8).tobytes()
    storage.write("a", b"old")

    def interrupted(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupted)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            storage.write("a", *[content[:1_000_000]] * 30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(storage.read("a")) in (3, len(content))


@pytest.mark.slow
def test_a_store_that_is_gone_is_a_line_and_what_was_there_is_there_when_it_is_back(tmp_path: Path) -> None:
    with served() as server:
        storage = at(server.uri("bucket/x"))
        storage.write("a", b"1")
        server.stop()
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"s3://bucket/x/a: cannot be written .*; what was stored before is kept"):
            storage.write("a", b"2")
        with pytest.raises(Unreachable, match=r"s3://bucket/x/a: cannot be reached .*AWS Error NETWORK_CONNECTION"):
            storage.exists("a")
        with pytest.raises(UserError, match=r"s3://bucket/x: cannot be written .*; see to the store"):
            storage.require_writable()
        assert time.monotonic() - began < 120


def test_a_bucket_that_is_not_there_is_the_users_to_make(s3: Server) -> None:
    with pytest.raises(UserError, match=r"s3://nowhere/x: there is no bucket 'nowhere'; make it first"):
        at(s3.uri("nowhere/x")).require_writable()
    assert at(s3.uri("nowhere/x")).names() == []


def test_credentials_that_fail_are_a_line() -> None:
    with served(strict=True) as server:
        with pytest.raises(
            UserError, match=r"s3://bucket/x: cannot be written .*AWS Error .*; see to the store"
        ) as caught:
            at(server.uri("bucket/x")).require_writable()
        with pytest.raises(Unreachable, match=r"s3://bucket/x/a: cannot be reached .AWS Error ACCESS_DENIED"):
            at(server.uri("bucket/x")).exists("a")
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_read_only_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "x", tmp_path / ("x" * 300) / "y"):
        with pytest.raises(UserError, match="cannot be written"):
            at(folder).require_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
