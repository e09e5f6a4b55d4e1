import logging
from pathlib import Path

import numpy as np
import pytest

from avil_ray.suites.cache import cache_folder, checksum, content_key, kept_arrays, sha256


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_is_where_the_user_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder("a", "b") == folder / "a" / "b"
    monkeypatch.delenv("AVIL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder("a") == Path("/elsewhere/avil_ray/a")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "avil_ray"


def test_keys_tell_contents_apart() -> None:
    contents = [["ab"], ["a", "b"], ["b", "a"], ["", "ab"], [["a", "b"]], [["a", "b"], "c"], ["a", ["b", "c"]], ["é"]]
    assert len({content_key(*parts) for parts in contents}) == len(contents)
    assert content_key("a", ["b"]) == content_key(["a"], "b")
    assert content_key(["x", "y"], "z") == content_key(iter(["x", "y"]), "z")


def test_arrays_are_made_once_and_are_the_same_again() -> None:
    made = {"numbers": np.arange(5, dtype=np.int32), "halves": np.ones((2, 3), dtype=np.float16)}
    calls = []

    def make() -> dict[str, np.ndarray]:
        calls.append(1)
        return made

    for _ in range(2):
        found = kept_arrays("kind", "key", make)
        assert {name: (array.dtype, array.tolist()) for name, array in found.items()} == {
            name: (array.dtype, array.tolist()) for name, array in made.items()
        }
    assert len(calls) == 1
    kept_arrays("kind", "other key", make)
    assert len(calls) == 2


def test_a_damaged_file_is_made_anew(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept_arrays("kind", "key", lambda: {"a": np.arange(3)})
    file = folder / "kind" / "key.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with caplog.at_level(logging.WARNING):
        assert kept_arrays("kind", "key", lambda: {"a": np.arange(4)})["a"].tolist() == [0, 1, 2, 3]
    assert "is damaged" in caplog.text
    assert kept_arrays("kind", "key", dict)["a"].tolist() == [0, 1, 2, 3]


def test_arrays_are_there_even_where_they_cannot_be_kept(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir()
    (folder / "kind").write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        assert kept_arrays("kind", "key", lambda: {"a": np.arange(2)})["a"].tolist() == [0, 1]
    assert "cannot be written" in caplog.text


def test_checksums_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_checksum_is_worked_out_anew_when_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("one")
    first = checksum(file)
    assert first == checksum(file) == sha256(file)
    file.write_text("other")
    assert checksum(file) == sha256(file) != first
