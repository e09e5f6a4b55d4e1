"""Files in a folder: whole or not there, one writer at a time, and a disk that fails is a line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avil_ray.errors import UserError, WorkFailed
from avil_ray.storage import LocalStorage, discard, locked, make_folder, replace_file

HOLD = """
import sys, time
from pathlib import Path
from avil_ray.storage import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
# RLIMIT_FSIZE is a full disk that needs no disk: writing past it fails as writing to a full one does
NARROW = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
"""


def started(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """Another process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)], text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
    return process


def test_a_storage_reads_what_it_wrote(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "here")
    assert (storage.names(), storage.exists("a")) == ([], False)
    storage.delete("a")
    storage.folder.mkdir()
    storage.write("a", b"1")
    storage.write("a", b"2")
    storage.write("b", b"3")
    assert (storage.names(), storage.read("a")) == (["a", "b"], b"2")
    storage.move("a", "b")
    assert (storage.names(), storage.read("b")) == (["b"], b"2")
    storage.delete("b")
    assert storage.names() == []
    with pytest.raises(FileNotFoundError):
        storage.read("b")


def test_a_storage_has_folders_inside_and_takes_content_in_pieces(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    assert storage.names("inside") == []
    storage.write("inside/b", b"1", memoryview(b"23"))
    storage.write("inside/a", b"")
    assert (storage.names("inside"), storage.names(), storage.read("inside/b")) == (["a", "b"], ["inside"], b"123")
    storage.delete("inside/a")
    assert storage.exists("inside/b")
    storage.delete("inside")
    assert storage.names() == []
    (tmp_path / "inside").touch()
    storage.write("inside/b", b"4")
    assert storage.read("inside/b") == b"4", "what stood in the folder's place has given way"
    with pytest.raises(WorkFailed, match=r"gone/inside: cannot be written .No such file or directory."):
        LocalStorage(tmp_path / "gone").write("inside/b", b"1")
    assert not (tmp_path / "gone").exists()


def test_what_stands_in_the_place_of_a_file_gives_way(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    (tmp_path / "a" / "inside").mkdir(parents=True)
    storage.write("b", b"1")
    storage.move("b", "a")
    assert storage.read("a") == b"1"
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    storage.delete("link")
    assert storage.names() == ["a", "target"]
    discard(tmp_path / "a" / "no folder")


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        replace_file(tmp_path / "file", "no bytes")  # type: ignore[arg-type]
    (tmp_path / "folder").mkdir()
    with pytest.raises(WorkFailed, match=r"folder: cannot be written .Is a directory.; what was stored before is kept"):
        replace_file(tmp_path / "folder", b"new")
    with pytest.raises(WorkFailed, match=r"gone/file: cannot be written .No such file or directory."):
        replace_file(tmp_path / "gone" / "file", b"new")
    with pytest.raises(WorkFailed, match=r"file/x: cannot be written .Not a directory."):
        make_folder(tmp_path / "file" / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_disk_that_takes_no_more_keeps_the_old_file(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"old")
    write = "from pathlib import Path; from avil_ray.storage import replace_file; "
    write += f"replace_file(Path({str(tmp_path / 'file')!r}), bytes(5000))"
    done = subprocess.run([sys.executable, "-c", NARROW + write, "4096"], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith(
        f"WorkFailed: {tmp_path / 'file'}: cannot be written (File too large); what was stored before is kept"
    )
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    process = started(folder, 60)
    try:
        with pytest.raises(UserError) as caught, locked(folder):
            pytest.fail("two writers")
        assert str(caught.value).startswith(f"{folder}: in use by process {process.pid} on ")
        assert str(caught.value).endswith("; wait until it ends, or choose another folder")
        with pytest.raises(UserError, match=r"\(after 0 s\)"), locked(folder, wait=0.1):
            pytest.fail("two writers")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (folder / ".lock").exists(), "a killed process clears nothing away"
    with locked(folder):
        assert (folder / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert list(folder.iterdir()) == []


def test_a_lock_is_waited_for_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = started(tmp_path, 0.5)
    before = time.monotonic()
    with locked(tmp_path, wait=30):
        assert time.monotonic() - before < 10
    assert f"{tmp_path}: in use by process {process.pid} on " in caplog.text
    assert "waiting for up to 30 s" in caplog.text
    process.wait()


def test_a_folder_that_nothing_was_written_to_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="refused"), locked(tmp_path / "a" / "b"):
        raise UserError("refused")
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".file.abc.part").write_bytes(b"half")
    (tmp_path / ".mine").touch()
    with locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".mine"]


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(UserError, match=r"cannot be written .* choose another folder"), locked(folder):
            pytest.fail("no folder")
