"""A folder of images with a CSV file of labels: ChestX-ray14's layout, and others.

ChestX-ray14 (Wang et al., CVPR 2017, https://arxiv.org/abs/1705.02315) is 112,120 X-ray images of 30,805 patients with
14 labels: `Data_Entry_2017.csv` (columns "Image Index", "Finding Labels", "Patient ID"), `train_val_list.txt`,
`test_list.txt`, and the images in `images/` or, as unpacked, in `images_001/images/` and so on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError
from avil_ray.suites.files.image_store import ENDINGS

DATA_ENTRY = "Data_Entry*.csv"
LISTS = ("train_val_list.txt", "test_list.txt")


def data_entry(folder: Path) -> Path:
    """The CSV file next to the images in ChestX-ray14's layout.

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
    """Which images [N] the folder's lists assign to training and to test; None if there are no lists.

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
    """The paths of the named images: at that path in the folder, or found anywhere below it by file name.

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
        hint = "download them, or remove their rows from the table"
        raise UserError(f"{folder}: {count} images in the table are missing, {missing[0]!r} first; {hint}")
    return tuple(places[name] for name in names)
