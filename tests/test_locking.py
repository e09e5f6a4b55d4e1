"""One writer at a time: on a disk the system sees to it, at a URI a claim that is kept alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avil_ray.errors import UserError
from avil_ray.locking import locked

HOLD = """
import sys, time
from avil_ray.locking import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def started(folder: object, seconds: float) -> subprocess.Popen[str]:
    """Another process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)], text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
    return process


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
    assert "waiting up to 30 s" in caplog.text
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
