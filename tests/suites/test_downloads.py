"""Fetching with pip itself, from a folder in place of an index: nothing here needs the network."""

import dataclasses
import zipfile
from pathlib import Path

import pytest

from avil_ray.errors import UserError, WorkFailed
from avil_ray.suites.cache import sha256
from avil_ray.suites.downloads import Download

FILE = "small_data-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, which is all that pip knows."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with zipfile.ZipFile(folder / FILE, "w") as wheel:
        wheel.writestr("small_data/texts.txt", "some text")
        about = "small_data-1.0.dist-info"
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: small_data\nVersion: 1.0\nRequires-Dist: huge\n"
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


@pytest.fixture
def small(index: Path) -> Download:
    return Download(suite="small", requirement="small_data==1.0", file=FILE, sha256=sha256(index / FILE))


def test_what_is_there_is_not_fetched_again(small: Download, index: Path) -> None:
    assert small.fetch()
    assert small.checked().read_bytes() == (index / FILE).read_bytes()
    (index / FILE).unlink()
    assert not small.fetch()
    assert [path.name for path in small.path.parent.iterdir()] == [FILE]


def test_what_is_not_there_is_said_with_its_remedy(small: Download) -> None:
    with pytest.raises(UserError) as caught:
        small.checked()
    assert str(caught.value) == f"{small.path}: not there yet; run: avil-ray data small"


def test_a_damaged_file_is_said_and_left_alone(small: Download) -> None:
    small.path.parent.mkdir(parents=True)
    small.path.write_bytes(b"damaged")
    for use in (small.fetch, small.checked):
        with pytest.raises(UserError) as caught:
            use()
        message = str(caught.value)
        assert message.startswith(f"{small.path}: the file is damaged: its checksum is wrong (sha256 ")
        assert message.endswith("delete it and run: avil-ray data small")
        assert small.sha256 in message
    assert small.path.read_bytes() == b"damaged"


def test_another_file_of_the_same_name_is_not_used(small: Download) -> None:
    other = dataclasses.replace(small, sha256="0" * 64)
    with pytest.raises(WorkFailed, match=r"pip download small_data==1\.0: .*HASHES"):
        other.fetch()
    assert not list(other.path.parent.iterdir())


def test_what_cannot_be_fetched_is_one_line(small: Download, index: Path) -> None:
    (index / FILE).unlink()
    with pytest.raises(WorkFailed) as caught:
        small.fetch()
    assert str(caught.value).startswith("pip download small_data==1.0: ERROR: ")
    assert "\n" not in str(caught.value)
    assert not list(small.path.parent.iterdir())
