"""A task of the suite `images`: its options, and its data, read once per process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from avil_ray.config import read_options
from avil_ray.errors import UserError, shown
from avil_ray.suites.cache import content_key
from avil_ray.suites.files.class_folders import IMAGE, LABEL, ClassFolders
from avil_ray.suites.files.image_store import Found, ImageStore, Scale, check_images
from avil_ray.suites.files.reading import SAVED, Source, find_source
from avil_ray.suites.files.table import Table
from avil_ray.suites.files.tasks import AuxiliaryOptions, FileRows, FileTask, TargetOptions, options_of
from avil_ray.suites.files.texts import Keys
from avil_ray.suites.options import absolute

MOST_KEPT = 1 << 30
"""Scaled images stay in memory if those of a table fit into this many bytes; otherwise each batch is read again."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions(AuxiliaryOptions):
    """The options of any task's images; a folder of classes needs neither of the two columns."""

    image: str | None = None
    label: str | Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ImageTarget(ImageOptions, TargetOptions):
    """The options of the target."""


@dataclass(frozen=True, eq=False)
class ImageTaskRows(FileRows):
    """The N rows of a task: `paths` are its image files, `places` their names in messages."""

    paths: tuple[Path, ...]
    places: tuple[str, ...]
    found: Found


@dataclass(frozen=True, kw_only=True)
class ImageTask(FileTask):
    """A task's files and columns: a small description that is cheap to send.

    Parameters
    ----------
    image
        The column of paths; relative ones are resolved against the table's folder.
    """

    image: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """See `FileTask`."""
        return (self.image,)

    def read(self) -> ImageTaskRows:
        """See `FileTask`."""
        return _read(self, self.version())

    def store(self, scale: Scale) -> ImageStore:
        """Its images, scaled to one shape: one store for all tasks on the same files."""
        rows = self.read()
        return _store(rows.paths, rows.places, scale)

    def digest(self) -> str:
        """See `FileTask`; also changes if an image changes or moves to another folder."""
        rows = self.read()
        labels = rows.labels.names, map(str, rows.labels.values.ravel())
        return content_key(super().digest(), map(str, rows.found.keys), *labels)


def image_task(name: str | None, options: Mapping[str, Any]) -> ImageTask:
    """The task specified by a user's options, which may also name the target.

    Raises
    ------
    UserError
        An option or a file is missing, unknown or wrong.
    """
    read: Any = read_options(ImageTarget if name is None else ImageOptions, options, "")
    found = [find_images(data) for data in ([read.data] if isinstance(read.data, str) else read.data.values())]
    folders = [isinstance(source, ClassFolders) for source in found]
    if all(folders) and folders:
        if read.image is not None or read.label:
            raise UserError("data is a folder of classes, which says what the labels are; leave image and label out")
        if name is None and read.name is None and len(found) == 1:
            read = replace(read, name=Path(found[0].name).name)
        read = replace(read, image=IMAGE, label=LABEL, kind=read.kind or "classes")
    elif any(folders):
        raise UserError("data has folders of classes and tables; give files of one kind")
    if read.image is None or not read.label:
        raise UserError("image and label must name the table's columns of paths and of labels")
    if read.kind == "tokens":
        raise UserError("kind: tokens is for words; images support classes, multi-label and regression")
    return ImageTask(image=read.image, **options_of(read, name, find_images))


def find_images(data: str) -> Source:
    """The source specified by a user's text: a folder of classes, or a table; see `find_source`."""
    folder = absolute(data)
    if folder.is_dir() and not any((folder / mark).is_file() for mark in SAVED):
        return ClassFolders(str(folder))
    return find_source(data)


def read_paths(table: Table, column: str) -> tuple[list[Path], list[str]]:
    """The image file of each row, and its name in messages; relative paths start at the table's folder.

    Raises
    ------
    UserError
        A cell contains no path; the message names file and row.
    """
    paths, places = [], []
    for row, value in enumerate(table.column(column)):
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise table.wrong(row, f"image {column!r} must be the path of a file, not {shown(value)}")
        source = Path(table.sources[table.source[row]])
        path = source.parent / Path(value.strip()).expanduser()
        paths.append(path)
        places.append(str(path) if path.is_relative_to(source) else f"{table.place(row)}: {path}")
    return paths, places


@lru_cache(maxsize=32)
def _read(task: ImageTask, version: tuple[int, ...]) -> ImageTaskRows:
    del version  # part of the cache key
    table, given = task.table()
    labels = task.labels(table)
    paths, places = read_paths(table, task.image)
    found = check_images(paths, places)
    keys = found.keys[:, None]
    return ImageTaskRows(table, labels, Keys(keys, keys), given, tuple(paths), tuple(places), found)


@lru_cache(maxsize=32)
def _store(paths: tuple[Path, ...], places: tuple[str, ...], scale: Scale) -> ImageStore:
    channels, height, width = scale.shape
    keep = len(paths) * channels * height * width <= MOST_KEPT
    return ImageStore(paths, scale, keep=keep, places=places)
