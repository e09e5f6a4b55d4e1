"""Files in a folder: whole or not there, one writer at a time, and a disk that fails is a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from avil_ray.errors import WorkFailed
from avil_ray.storage import LocalStorage, discard, make_folder, replace_file

# RLIMIT_FSIZE is a full disk that needs no disk: writing past it fails as writing to a full one does
NARROW = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
"""


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
    with pytest.raises(WorkFailed, match=r"folder: cannot be written .Is a directory.; earlier data is kept"):
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
    assert last.endswith(f"WorkFailed: {tmp_path / 'file'}: cannot be written (File too large); earlier data is kept")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]
