"""The disk under a sweep fills up, turns read-only or goes: it says so, loses nothing, and goes on when it is back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disturbed import Sweep

pytestmark = pytest.mark.faults

Make = Callable[..., Sweep]


def mount(*arguments: str | Path) -> bool:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode == 0


class Disk:
    """A small file system of its own, seen at `place` while it is mounted there."""

    def __init__(self, kept: Path, place: Path) -> None:
        self.kept, self.place = kept, place
        kept.mkdir()
        if os.getuid() != 0 or not mount("-t", "tmpfs", "-o", "size=200m", "none", kept):
            pytest.skip("only root may mount a file system")
        mount("--bind", kept, place)

    def fill(self) -> None:
        with (self.kept / "filler").open("wb", buffering=0) as file:
            for size in (2**20, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def make_read_only(self) -> None:
        """As one that is mounted again after an error: what is open stays open."""
        mount("--bind", self.kept, self.place)
        assert mount("-o", "remount,ro,bind", self.place)

    def go(self) -> None:
        """As a server that has gone away: what is left is the empty folder that it was mounted on."""
        while subprocess.run(["umount", "-l", self.place], capture_output=True).returncode == 0:
            pass

    def come_back(self) -> None:
        (self.kept / "filler").unlink(missing_ok=True)
        self.go()
        assert mount("--bind", self.kept, self.place)


@pytest.fixture
def disk(migrated_store: Path) -> Iterator[Disk]:
    content = migrated_store.read_bytes()
    migrated_store.unlink()
    disk = Disk(migrated_store.parent.parent / "kept", migrated_store.parent)
    migrated_store.write_bytes(content)
    yield disk
    disk.go()
    subprocess.run(["umount", "-l", disk.kept], capture_output=True)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Disk.fill, "No space left on device"),
        (Disk.make_read_only, "Read-only file system"),
        (Disk.go, "is not there"),
    ],
)
def test_a_disk_that_fails_is_told_and_nothing_is_lost(
    fault: Callable[[Disk], None], said: str, disk: Disk, sweep: Make
) -> None:
    one = sweep()
    process = one.started()
    one.reach(process, 1)
    fault(disk)
    assert one.ended(process) == 1, one.words()
    assert said in one.words()
    assert "Traceback" not in one.words()
    disk.come_back()
    assert 1 <= one.results() < one.count
    before = {path: path.stat().st_mtime for path in one.folder.glob("trials/*/theta.safetensors")}
    assert one.run("--resume") == 0, one.words()
    one.check()
    assert {path: path.stat().st_mtime for path in before} == before, "what was done is not done again"
