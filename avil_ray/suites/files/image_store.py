"""Reads image files: scaled to one shape, loaded on first access, standardised in batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avil_ray.errors import UserError
from avil_ray.randomness import derive
from avil_ray.suites.cache import content_key, kept_arrays, sha256

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Suffixes of image files."""

WIDE_MODES = ("I", "F")
"""How the modes of images begin that have more than 8 bits per channel."""


class Scale(Hashable, Protocol):
    """Converts images of any size to `shape`: (channels, height, width)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of every image."""

    def __call__(self, image: Image.Image) -> Pixels:
        """An image as uint8 [channels, height, width]."""


@dataclass(frozen=True)
class Square:
    """Stretches images to a square.

    Parameters
    ----------
    size
        Its height and width in pixels.
    colour
        Three channels, or a single grey one.
    """

    size: int
    colour: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """See `Scale`."""
        return 3 if self.colour else 1, self.size, self.size

    def __call__(self, image: Image.Image) -> Pixels:
        """See `Scale`."""
        pixels = np.asarray(image.convert("RGB" if self.colour else "L").resize((self.size, self.size)))
        return pixels.transpose(2, 0, 1) if self.colour else pixels[None]


class ImageStore:
    """Images read on first access and kept as uint8: one store for all tasks in a process.

    Parameters
    ----------
    paths
        The N files.
    scale
        Converts them to one shape.
    keep
        Whether to keep images in memory once read (N x channels x height x width bytes).
    places
        Each file's name in messages, if its path alone does not show where it comes from.
    """

    def __init__(self, paths: Sequence[Path], scale: Scale, *, keep: bool, places: Sequence[str] | None = None) -> None:
        self.paths, self.scale, self.places = paths, scale, places or [str(path) for path in paths]
        self._there = np.zeros(len(paths), dtype=bool)
        # takes no memory until written to: the system allocates pages as images are read
        self._kept = np.empty((len(paths), *scale.shape), dtype=np.uint8) if keep else None

    def pixels(self, rows: Integers) -> Pixels:
        """The images at `rows` [B]: uint8 [B, channels, height, width]."""
        if self._kept is None:
            return np.stack([self._read(row) for row in rows])
        for row in np.unique(rows[~self._there[rows]]):
            self._kept[row] = self._read(row)
            self._there[row] = True
        return self._kept[rows]

    def _read(self, row: int) -> Pixels:
        with opened(self.paths[row], self.places[row]) as image:
            return self.scale(image)


@dataclass(frozen=True)
class ImageRows:
    """Inputs of a task: some rows of a store, standardised by fixed constants.

    Parameters
    ----------
    mean, deviation
        Per channel, in units of pixel values, [channels, 1, 1].
    """

    store: ImageStore
    rows: Integers
    mean: Tensor
    deviation: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """A batch, float32 [B, channels, height, width]."""
        pixels = self.store.pixels(self.rows[indices.numpy()])
        return (torch.from_numpy(pixels).float() - self.mean) / self.deviation

    def join(self, other: ImageRows) -> ImageRows:
        """These rows followed by other ones of the same store."""
        return ImageRows(self.store, np.concatenate([self.rows, other.rows]), self.mean, self.deviation)


@dataclass(frozen=True)
class LabelledImages(Dataset[tuple[Tensor, Tensor]]):
    """Images with labels [N, …], read one by one, so that several processes can load and augment them."""

    inputs: ImageRows
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        """An image [channels, height, width], and its label."""
        return self.inputs[torch.tensor([row])][0], self.labels[row]


@dataclass(frozen=True, eq=False)
class Found:
    """Facts about N image files.

    Parameters
    ----------
    keys
        [N], equal for files with equal content.
    sizes
        [N, 2], width and height in pixels.
    """

    keys: Integers
    sizes: Integers


def check_images(paths: Sequence[Path], places: Sequence[str] | None = None) -> Found:
    """Decode every image once, to check it, measure it and detect duplicates.

    The result is cached as long as no file's size or modification time changes.

    Parameters
    ----------
    places
        Each file's name in messages; by default its path.

    Raises
    ------
    UserError
        A file is missing or cannot be read as an image; the message names the first one and their number.
    """
    places = places or [str(path) for path in paths]
    missing = [place for path, place in zip(paths, places, strict=True) if not path.is_file()]
    if missing:
        raise UserError(f"{missing[0]}: no such file{_further(missing)}")
    stats = [path.stat() for path in paths]
    about = [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in zip(paths, stats, strict=True)]

    def make() -> dict[str, npt.NDArray[Any]]:
        log.warning("reading %s images once, to check them and to find duplicates", f"{len(paths):,}")
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            found = list(threads.map(_checked, paths, places))
        wrong = [problem for problem in found if isinstance(problem, str)]
        if wrong:
            raise UserError(f"{wrong[0]}{_further(wrong)}")
        numbers = np.array(found, dtype=np.int64).reshape(-1, 3)
        return {"keys": numbers[:, 0].copy(), "sizes": numbers[:, 1:].copy()}

    return Found(**kept_arrays("images", content_key(about), make))


def _further(found: Sequence[str]) -> str:
    return f"; {len(found) - 1} more like it" if len(found) > 1 else ""


def _checked(path: Path, place: str) -> tuple[int, int, int] | str:
    """A file's key, width and height, or what is wrong with it."""
    try:
        with opened(path, place) as image:
            image.load()
            return derive(0, sha256(path)), *image.size
    except UserError as error:
        return str(error)


@contextmanager
def opened(path: Path, place: str) -> Iterator[Image.Image]:
    """Open an image, upright, in a context that turns errors into one line; `place` is its name in messages.

    Raises
    ------
    UserError
        It is not there, is damaged, or has more than 8 bits per channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode.startswith(WIDE_MODES):
                hint = "save it with 8 bits per channel"
                raise UserError(f"{place}: the image has more than 8 bits per channel ({image.mode}); {hint}")
            ImageOps.exif_transpose(image, in_place=True)
            yield image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
    except UserError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{place}: cannot be read as an image ({error}); download the file again") from error


def statistics(store: ImageStore, rows: Integers) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the images at `rows`, [channels, 1, 1]."""
    pixels = torch.from_numpy(store.pixels(rows)).double()
    mean, deviation = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    return mean.float().view(-1, 1, 1), deviation.float().view(-1, 1, 1)
