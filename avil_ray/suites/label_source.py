"""The sources of multi-label examples: yeast, a table, or a folder of images; read once per process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from avil_ray.errors import UserError
from avil_ray.suites.files.delimited import read_delimited
from avil_ray.suites.files.image_store import ImageRows, ImageStore, Square, statistics
from avil_ray.suites.image_folder import data_entry, find_images, official_lists
from avil_ray.suites.options import absolute
from avil_ray.suites.tables import Answers, Floats, read_answers, read_features, yeast_file

Integers = npt.NDArray[np.int64]

IMAGE_COLUMN, NAMES_COLUMN, PATIENT_COLUMN = "Image Index", "Finding Labels", "Patient ID"
"""ChestX-ray14's columns: the defaults if there are images."""

STATISTICS_FROM = 500
"""The number of train images used for mean and deviation: reading all of ChestX-ray14's would take minutes."""


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images and how to read them.

    Parameters
    ----------
    folder
        The folder, containing images at any depth.
    column
        The table's column with their names.
    scale
        The target scale.
    keep
        Whether to keep them in memory once read.
    """

    folder: Path
    column: str
    scale: Square
    keep: bool


@dataclass(frozen=True)
class Source:
    """A table, and a folder of images if the inputs are images: a small description that is cheap to send.

    Parameters
    ----------
    labels
        Columns of 1, 0 or empty cells; or a single column of names. None: those beginning with Class, as in yeast.
    features
        The input columns; None: all others.
    group
        The column whose equal values keep examples in the same split; None: ChestX-ray14's, if there are images and it
        exists.
    """

    table: Path
    labels: tuple[str, ...] | str | None
    features: tuple[str, ...] | None
    group: str | None
    images: ImageFolder | None

    def read(self) -> Data:
        """The examples, from memory if the file has not changed since it was read; `UserError` if it is not a table."""
        return _read(self, _changed(self.table))


@dataclass(frozen=True, eq=False)
class Data:
    """N examples: their labels, and their inputs as numbers [N, features] or as image names.

    `official` says which rows are for training and which for the test, if given.
    """

    answers: Answers
    features: Floats | None
    names: tuple[str, ...]
    official: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None

    def rows(self, source: Source, shared: Integers) -> Callable[[Integers], Any]:
        """A function from row numbers to inputs, standardised by the rows `shared` only.

        Missing numbers become the mean; constant features become 0.
        """
        if source.images is None:
            assert self.features is not None
            numbers = torch.from_numpy(standardised(self.features, shared))
            return lambda rows: numbers[rows]
        store = _store(source.images, self.names)
        mean, deviation = statistics(store, shared[:STATISTICS_FROM])
        return lambda rows: ImageRows(store, rows, mean, deviation)


def make_source(
    table: str | Path | None,
    labels: Sequence[str] | str | None,
    features: Sequence[str] | None,
    group: str | None,
    images: ImageFolder | None,
) -> Source:
    """The source specified by a factory's arguments.

    Raises
    ------
    UserError
        Arguments do not fit together.
    """
    if images is not None and features is not None:
        raise UserError(
            "multilabel: features are columns of a table, but with images these are the inputs; leave one of them out"
        )
    if table is None and images is None:
        if labels is not None or group is not None:
            raise UserError(
                "multilabel: labels and group are for a table or images of your own; give these too, or leave both out"
            )
        return Source(yeast_file(), None, _fixed(features), None, None)
    if table is None:
        assert images is not None
        file = data_entry(images.folder)
    else:
        file = absolute(table)
    if labels is None and images is not None:
        labels = NAMES_COLUMN
    if not labels:
        raise UserError(
            "multilabel: labels must name the table's label columns, such as [rain, snow], or its one column of names"
        )
    return Source(file, labels if isinstance(labels, str) else tuple(labels), _fixed(features), group, images)


def standardised(numbers: Floats, rows: Integers) -> Floats:
    """Numbers [N, features] standardised to mean 0 and deviation 1 over the given rows only."""
    known = ~np.isnan(numbers[rows])
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, numbers[rows], 0).sum(axis=0, dtype=np.float64) / count
    square = np.where(known, numbers[rows] - mean, 0).astype(np.float64) ** 2
    deviation = np.sqrt(square.sum(axis=0) / count)
    scaled = np.nan_to_num((numbers - mean) / np.where(deviation > 0, deviation, np.inf))
    return np.asarray(scaled, dtype=np.float32)


def _fixed(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _changed(file: Path) -> int:
    """The file's modification time; 0 if it does not exist, which reading it will report."""
    return file.stat().st_mtime_ns if file.is_file() else 0


@lru_cache(maxsize=2)
def _read(source: Source, changed: int) -> Data:
    del changed  # part of the cache key
    file, images = source.table, source.images
    table = read_delimited(file, None)
    labels = source.labels
    if labels is None:
        labels = tuple(name for name in table.columns if name.startswith("Class"))
    group = source.group
    if group is None and images is not None and PATIENT_COLUMN in table.columns:
        group = PATIENT_COLUMN
    answers = read_answers(table, labels, group)
    if images is not None:
        names = tuple(table.column(images.column))
        return Data(answers, None, names, official_lists(images.folder, names))
    features = source.features
    if features is None:
        taken = {labels} if isinstance(labels, str) else set(labels)
        features = tuple(name for name in table.columns if name not in taken | {group})
    if not features:
        raise UserError(f"{file}: no column is left as an input beside labels and group")
    return Data(answers, read_features(table, features), (), None)


@lru_cache(maxsize=1)
def _store(images: ImageFolder, names: tuple[str, ...]) -> ImageStore:
    paths = find_images(images.folder, names)
    return ImageStore(paths, images.scale, keep=images.keep)
