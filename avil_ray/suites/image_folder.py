"""A folder of images with a CSV file that says what is in them: ChestX-ray14's own layout, and others.

ChestX-ray14 (Wang et al., CVPR 2017, https://arxiv.org/abs/1705.02315) is 112,120 X-ray images of 30,805 patients with
14 labels: `Data_Entry_2017.csv` (columns "Image Index", "Finding Labels", "Patient ID"), `train_val_list.txt`,
`test_list.txt`, and the images in `images/` or, as they are unpacked, `images_001/images/` and so on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avil_ray.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg")
DATA_ENTRY = "Data_Entry*.csv"
LISTS = ("train_val_list.txt", "test_list.txt")


def data_entry(folder: Path) -> Path:
    """The CSV file that ChestX-ray14's layout has beside its images.

    Raises
    ------
    UserError
        There is no such folder, no such file, or more than one.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one that holds images")
    found = sorted(path.name for path in folder.glob(DATA_ENTRY))
    if len(found) != 1:
        there = " and ".join(found) or f"no {DATA_ENTRY}"
        raise UserError(f"{folder}: {there} is there; give the file as table: path.csv")
    return folder / found[0]


def official_lists(folder: Path, names: Sequence[str]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None:
    """Which images [N] the folder's lists give to learn from and for the test; None where there are no lists.

    Raises
    ------
    UserError
        One of the two lists is missing.
    """
    files = [folder / name for name in LISTS]
    there = [file.is_file() for file in files]
    if not any(there):
        return None
    if not all(there):
        raise UserError(f"{files[there.index(False)]}: no such file, but {files[there.index(True)].name} is there")
    listed = [set(file.read_text(encoding="utf-8").split()) for file in files]
    learn, test = (np.array([name in one for name in names]) for one in listed)
    return learn, test


def find_images(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """Where the named images are: at that path in the folder, or anywhere below it by file name.

    Raises
    ------
    UserError
        Some are missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one that holds images")
    places: dict[str, Path] = {}
    for above, _, files in os.walk(folder):
        for name in files:
            if name.lower().endswith(ENDINGS):
                path = Path(above, name)
                places[name] = places[path.relative_to(folder).as_posix()] = path
    missing = [name for name in names if name not in places]
    if missing:
        count = f"{len(missing)} of {len(names)}"
        hint = "fetch them, or remove their rows from the table"
        raise UserError(f"{folder}: {count} images that the table names are not there, {missing[0]!r} first; {hint}")
    return tuple(places[name] for name in names)


class ImageStore:
    """Images read when they are first asked for, and kept as uint8: one store for all tasks of a process.

    Parameters
    ----------
    paths
        The files, N of them.
    size
        Height and width in pixels that images are scaled to.
    colour
        Three channels, or one grey one.
    keep
        Whether to keep in memory (N x channels x size x size bytes) what has been read once.
    """

    def __init__(self, paths: Sequence[Path], size: int, *, colour: bool, keep: bool) -> None:
        self.paths, self.size, self.colour = paths, size, colour
        self.shape = (3 if colour else 1, size, size)
        self._there = np.zeros(len(paths), dtype=bool)
        # not yet written to, so it takes no memory: the system gives pages as images come in
        self._kept = np.empty((len(paths), *self.shape), dtype=np.uint8) if keep else None

    def pixels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The images at `rows` [B]: [B, channels, size, size] of uint8."""
        if self._kept is None:
            return np.stack([self._read(row) for row in rows])
        for row in np.unique(rows[~self._there[rows]]):
            self._kept[row] = self._read(row)
            self._there[row] = True
        return self._kept[rows]

    def _read(self, row: int) -> npt.NDArray[np.uint8]:
        from PIL import Image, UnidentifiedImageError

        path = self.paths[row]
        try:
            with Image.open(path) as image:
                scaled = image.convert("RGB" if self.colour else "L").resize((self.size, self.size))
        except (OSError, SyntaxError, UnidentifiedImageError) as error:
            raise UserError(f"{path}: cannot be read as an image ({error}); fetch the file again") from error
        pixels = np.asarray(scaled)
        return pixels.transpose(2, 0, 1) if self.colour else pixels[None]


@dataclass(frozen=True)
class ImageRows:
    """Inputs of a task: some rows of a store, scaled by fixed statistics.

    Parameters
    ----------
    mean, deviation
        Each channel's, in units of a pixel's value, [channels, 1, 1].
    """

    store: ImageStore
    rows: npt.NDArray[np.int64]
    mean: Tensor
    deviation: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """A batch, float32 [B, channels, size, size]."""
        pixels = self.store.pixels(self.rows[indices.numpy()])
        return (torch.from_numpy(pixels).float() - self.mean) / self.deviation

    def join(self, other: ImageRows) -> ImageRows:
        """These rows, then the other ones of the same store."""
        return ImageRows(self.store, np.concatenate([self.rows, other.rows]), self.mean, self.deviation)


def statistics(store: ImageStore, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the images at `rows`, [channels, 1, 1]."""
    pixels = torch.from_numpy(store.pixels(rows)).double()
    mean, deviation = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    return mean.float().view(-1, 1, 1), deviation.float().view(-1, 1, 1)
