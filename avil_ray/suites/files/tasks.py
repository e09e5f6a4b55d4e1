"""A task on a user's files: its options, and the rows and labels read for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avil_ray.errors import UserError, unknown
from avil_ray.models.classifiers import Output
from avil_ray.suites.cache import checksum, content_key
from avil_ray.suites.files.label_columns import read_labels
from avil_ray.suites.files.labels import Kind, Labels
from avil_ray.suites.files.reading import Source
from avil_ray.suites.files.splits import named_splits
from avil_ray.suites.files.table import Integers, Table, stacked
from avil_ray.suites.files.texts import Keys
from avil_ray.tasks.checks import SPLITS

LOSSES = {
    "classes": ("cross_entropy",),
    "multi-label": ("binary_cross_entropy",),
    "regression": ("mean_squared_error", "mean_absolute_error"),
    "tokens": ("token_cross_entropy",),
}
"""The possible losses of each kind, the default first."""

METRICS = {"classes": "accuracy", "multi-label": "accuracy", "regression": "rmse", "tokens": "accuracy"}
"""Each kind's default metric."""


@dataclass(frozen=True, kw_only=True)
class AuxiliaryOptions:
    """The options of any auxiliary."""

    data: str | Mapping[str, str]
    label: str | Sequence[str]
    kind: Kind | None = None
    separator: str | None = None
    loss: str | None = None
    metric: str | None = None
    also: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class TargetOptions(AuxiliaryOptions):
    """The options of any target."""

    name: str | None = None
    split: str | Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class FileRows:
    """The N rows of a task.

    Parameters
    ----------
    keys
        Keys that identify equal inputs.
    given
        [N], the split of each row, as an index into `SPLITS`, if given by the user; None otherwise.
    """

    table: Table
    labels: Labels
    keys: Keys
    given: Integers | None


@dataclass(frozen=True, kw_only=True)
class FileTask(ABC):
    """A task's files and columns: a small description that is cheap to send.

    Parameters
    ----------
    sources
        The sources of its rows; for several files, the split that each contains.
    label
        The column of labels, or several columns of 0 and 1.
    kind, separator
        The kind of labels, and the separator of several in a cell; None: see `read_labels`.
    loss, metric, also
        None: the kind's default.
    split_column, split_values
        The column with each row's split, and the values of each split, by default the common ones.
    """

    name: str
    sources: tuple[tuple[str | None, Source], ...]
    label: str | tuple[str, ...]
    kind: Kind | None
    separator: str | None
    loss: str | None
    metric: str | None
    also: tuple[str, ...]
    split_column: str | None = None
    split_values: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """The columns of its inputs."""

    @abstractmethod
    def read(self) -> FileRows:
        """Its rows, from memory if no file has changed since they were read; `UserError` if they are wrong."""

    def table(self) -> tuple[Table, Integers | None]:
        """Its columns, and the split of each row, as an index into `SPLITS`, if given by the user."""
        label = [self.label] if isinstance(self.label, str) else self.label
        columns = [*self.inputs, *label, *([] if self.split_column is None else [self.split_column])]
        tables = [source.read(columns) for _, source in self.sources]
        table = stacked(tables) if len(tables) > 1 else tables[0]
        if self.split_column is not None:
            return table, named_splits(table, self.split_column, dict(self.split_values))
        if len(tables) == 1:
            return table, None
        return table, np.repeat([SPLITS.index(split or "train") for split, _ in self.sources], list(map(len, tables)))

    def labels(self, table: Table) -> Labels:
        """The labels in its table, except for tokens; `UserError` if they are wrong."""
        return read_labels(table, self.label, self.kind, self.separator)

    def output(self) -> Output:
        """The output of its head; the number of a regression is named by its column."""
        labels = self.read().labels
        if self.loss is not None and self.loss not in LOSSES[labels.kind]:
            raise unknown("loss", self.loss, LOSSES[labels.kind], f"kind: {labels.kind}")
        return Output(labels.kind, (str(self.label),) if labels.kind == "regression" else labels.names)

    def digest(self) -> str:
        """A value that changes with the content of its files; for the hub, its name."""
        return content_key([str(source) + "".join(map(checksum, source.files())) for _, source in self.sources])

    def version(self) -> tuple[int, ...]:
        """A value that changes when one of its files does."""
        return tuple(number for _, source in self.sources for number in source.version())


def options_of(read: AuxiliaryOptions, name: str | None, find: Any) -> dict[str, Any]:
    """The arguments of a `FileTask` given by a user's options; by default a target is named by its label.

    Parameters
    ----------
    name
        An auxiliary's name; None for a target.
    find
        `find(data)` returns the `Source` specified by a text in `data`.

    Raises
    ------
    UserError
        An option is unknown or wrong, or a file is missing.
    """
    chosen: dict[str, Any] = {}
    if isinstance(read, TargetOptions):
        name = read.name or _name_of(read.label)
        chosen = _split_options(read)
    if not read.label:
        raise UserError("label must name a column, or a list of columns that is not empty")
    return chosen | {
        "name": name,
        "sources": _sources(read.data, SPLITS if isinstance(read, TargetOptions) else ("train",), find),
        "label": read.label if isinstance(read.label, str) else tuple(read.label),
        "kind": read.kind,
        "separator": read.separator,
        "loss": read.loss,
        "metric": read.metric,
        "also": tuple(read.also),
    }


def _split_options(read: TargetOptions) -> dict[str, Any]:
    if read.split is None:
        return {}
    split = {"column": read.split} if isinstance(read.split, str) else dict(read.split)
    column = split.pop("column", None)
    if not isinstance(column, str):
        raise UserError("split must name a column, as in split: part or split: {column: part, test: [held out]}")
    if not isinstance(read.data, str) and len(read.data) > 1:
        raise UserError("split names a column, but data has a file for each split; leave one of them out")
    for key in split:
        if key not in SPLITS:
            raise unknown("option", key, ("column", *SPLITS), "split")
    values = tuple((key, tuple(map(str, listed(value)))) for key, value in split.items())
    stands_for: dict[str, str] = {}
    for key, names in values:
        for name in names:
            if stands_for.setdefault(name, key) != key:
                raise UserError(f"split: {name!r} cannot stand for both {stands_for[name]} and {key}")
    return {"split_column": column, "split_values": values}


def _sources(data: str | Mapping[str, str], splits: Sequence[str], find: Any) -> tuple[tuple[str | None, Source], ...]:
    if isinstance(data, str):
        return ((None, find(data)),)
    for split in data:
        if split not in splits:
            raise unknown("split", split, splits, "data")
    if "train" not in data:
        raise UserError("data has no file for train; give data: {train: FILE, …}, or one file for all splits")
    return tuple((split, find(data[split])) for split in splits if split in data)


def listed(value: Any) -> tuple[Any, ...]:
    """A list as a tuple; anything else as a one-element tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _name_of(label: str | Sequence[str]) -> str:
    """A label's column as a task's name: characters other than letters, digits, `_`, `-` and spaces become `_`."""
    text = label if isinstance(label, str) else "labels"
    return "".join(sign if sign.isalnum() or sign in "_- " else "_" for sign in text).strip() or "target"
