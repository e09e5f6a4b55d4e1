"""Fetching with pip itself, from a folder in place of an index: nothing here needs the network."""

import ast
import dataclasses
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from avil_ray.errors import UserError, WorkFailed
from avil_ray.suites.cache import sha256
from avil_ray.suites.downloads import Download, require_contained

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
    assert str(caught.value) == f"{small.path}: not downloaded yet; run: avil-ray data small"


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


OUTSIDE = ["../evil", "/etc/evil", "a/../../evil", "a/b/../../../evil", "..", "C:/evil", r"..\evil", r"a\..\..\evil"]
INSIDE = ["a/b.txt", "a/../b.txt", "./c", "..d/e", "f.."]


def tar_of(*members: tarfile.TarInfo) -> tarfile.TarFile:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO())
    packed.seek(0)
    return tarfile.open(fileobj=packed)


def zip_of(*names: str) -> zipfile.ZipFile:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return zipfile.ZipFile(packed)


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, to
    return made


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_archive_with_a_member_that_escapes_is_refused(name: str, tmp_path: Path) -> None:
    for archive in (zip_of(*INSIDE, name), tar_of(*map(tarfile.TarInfo, [*INSIDE, name]))):
        with pytest.raises(UserError, match="which points outside it; it is not used") as caught:
            require_contained(archive, tmp_path / "some.archive")
        assert str(caught.value).startswith(f"{tmp_path}/some.archive: the archive has a member ")


@pytest.mark.parametrize(
    "member",
    [link("a/b", "../../evil"), link("a", "/etc/passwd"), link("a/b", "../evil", tarfile.LNKTYPE)],
    ids=["symbolic", "absolute", "hard"],
)
def test_a_link_that_escapes_is_refused(member: tarfile.TarInfo, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="->"):
        require_contained(tar_of(member), tmp_path)


def test_an_ordinary_archive_is_taken(tmp_path: Path) -> None:
    require_contained(zip_of(*INSIDE), tmp_path)
    require_contained(
        tar_of(*map(tarfile.TarInfo, INSIDE), link("a/b", "../c"), link("d", "a/b", tarfile.LNKTYPE)), tmp_path
    )


def test_nothing_is_unpacked_by_the_names_in_an_archive() -> None:
    """A rule of this package: members are read one by one, and what is written has a name of our own."""
    package = Path(__file__).parents[2] / "avil_ray"
    for file in package.rglob("*.py"):
        called = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        assert not called & {"extract", "extractall", "unpack_archive"}, file
