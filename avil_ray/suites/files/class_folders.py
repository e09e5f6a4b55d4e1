"""A folder with a subfolder of images for each class, as a table of image files and labels."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avil_ray.errors import UserError
from avil_ray.suites.files.image_store import ENDINGS
from avil_ray.suites.files.reading import Source
from avil_ray.suites.files.splits import SYNONYMS
from avil_ray.suites.files.table import Table, one_source

log = logging.getLogger(__name__)

IMAGE, LABEL = "image", "label"
"""The columns of such a table: absolute paths, and the names of the folders."""


@dataclass(frozen=True)
class ClassFolders(Source):
    """Such a folder, as the source of a table."""

    def read(self, columns: Sequence[str]) -> Table:
        """See `read_class_folders`; there are no other columns."""
        del columns
        return read_class_folders(Path(self.name))

    def files(self) -> list[Path]:
        """Empty, as the rows are the images themselves."""
        return []

    def version(self) -> tuple[int, ...]:
        """A value that changes when an image is added to a class's folder or removed."""
        folder = Path(self.name)
        return tuple(path.stat().st_mtime_ns for path in sorted([folder, *folder.iterdir()]) if path.is_dir())


def read_class_folders(folder: Path) -> Table:
    """The images below each subfolder, at any depth, ordered by path.

    Folders with names starting with a dot are skipped, as are files without an image suffix; their number is logged.

    Raises
    ------
    UserError
        There are fewer than two folders, or one of them has no images.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        what = f"holds one folder only, {classes[0].name}" if classes else "holds no folders"
        raise UserError(f"{folder}: {what}; a folder of images for each class is needed, or a table with their paths")
    names = [path.name for path in classes]
    if all(any(name.lower() in synonyms for synonyms in SYNONYMS.values()) for name in names):
        example = ", ".join(f"{name}: {folder / name}" for name in names)
        raise UserError(f"{folder}: its folders look like splits, not classes; write data: {{{example}}}")
    found: dict[str, list[Path]] = {}
    for one in classes:
        files = sorted(_files(one))
        found[one.name] = [path for path in files if path.suffix.lower() in ENDINGS]
        others = len(files) - len(found[one.name])
        if not found[one.name]:
            what = f"none of its {others} files is one ({', '.join(ENDINGS)})" if others else "it is empty"
            raise UserError(f"{one}: the class has no images: {what}; remove the folder, or add images")
        if others:
            log.warning("%s: ignored %d of %d files, which do not have an image's extension", one, others, len(files))
    columns = {
        IMAGE: [str(path) for paths in found.values() for path in paths],
        LABEL: [name for name, paths in found.items() for _ in paths],
    }
    return one_source(str(folder), columns, np.arange(1, len(columns[IMAGE]) + 1))


def _files(folder: Path) -> Iterator[Path]:
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(above, name) for name in files if not name.startswith("."))
