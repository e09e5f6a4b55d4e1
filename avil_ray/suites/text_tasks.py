"""A task of the suite `text`: what a user says about it, and what is read and tokenised for it, once per process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from avil_ray.config import read_options
from avil_ray.errors import UserError, unknown
from avil_ray.models.classifiers import Output
from avil_ray.suites.cache import sha256
from avil_ray.suites.files.label_columns import read_labels
from avil_ray.suites.files.labels import Kind, Labels
from avil_ray.suites.files.reading import Source, find_source
from avil_ray.suites.files.splits import named_splits
from avil_ray.suites.files.table import Integers, Table, stacked
from avil_ray.suites.files.tags import read_tags
from avil_ray.suites.files.texts import Keys, keys_of, read_texts
from avil_ray.suites.tokens import Texts, Tokens, tokenise
from avil_ray.tasks.checks import SPLITS

LOSSES = {
    "classes": ("cross_entropy",),
    "multi-label": ("binary_cross_entropy",),
    "regression": ("mean_squared_error", "mean_absolute_error"),
    "tokens": ("token_cross_entropy",),
}
"""The losses that each kind may have, the usual one first."""

METRICS = {"classes": "accuracy", "multi-label": "accuracy", "regression": "rmse", "tokens": "accuracy"}
"""Each kind's metric where none is given."""


@dataclass(frozen=True, kw_only=True)
class AuxiliaryOptions:
    """What a user says about an auxiliary."""

    data: str | Mapping[str, str]
    text: str | Sequence[str]
    label: str | Sequence[str]
    pair: str | Sequence[str] | None = None
    kind: Kind | None = None
    separator: str | None = None
    loss: str | None = None
    metric: str | None = None
    also: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class TargetOptions(AuxiliaryOptions):
    """What a user says about the target."""

    name: str | None = None
    split: str | Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class TextTask:
    """A task's files and columns; small enough to travel.

    Parameters
    ----------
    sources
        Where its rows are from; of several files the split that each holds.
    first, second
        The columns of the text, and of the second text of a pair; of several columns the texts are joined.
    label
        The column of labels; several columns of 0 and 1 each.
    kind, separator
        What labels are, and what stands between several in a cell; None: see `read_labels`.
    loss, metric, also
        None: the kind's usual one.
    split_column, split_values
        The column that says which split a row is in, and the values of each split; the usual ones where none are given.
    """

    name: str
    sources: tuple[tuple[str | None, Source], ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    label: str | tuple[str, ...]
    kind: Kind | None
    separator: str | None
    loss: str | None
    metric: str | None
    also: tuple[str, ...]
    split_column: str | None = None
    split_values: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def read(self) -> TextRows:
        """Its rows, from memory if no file has changed since they were read; `UserError` where they are wrong."""
        return _read(self, self.version())

    def tokens(self, model: str, max_length: int) -> Tokens:
        """The token ids of its rows."""
        return _tokens(self, self.version(), model, max_length)

    def digest(self) -> str:
        """What differs when a file's contents do; of the hub its name."""
        parts = [f"{source} {_checksum(source, source.version())}" for _, source in self.sources]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def version(self) -> tuple[int, ...]:
        """What changes when one of its files does."""
        return tuple(number for _, source in self.sources for number in source.version())


@dataclass(frozen=True, eq=False)
class TextRows:
    """The N rows of a task.

    Parameters
    ----------
    texts
        What the tokenizer is given.
    keys
        Which texts are equal.
    given
        [N]: the split of each, as an index of `SPLITS`, where the user says it; None otherwise.
    """

    table: Table
    texts: Texts
    labels: Labels
    keys: Keys
    given: Integers | None


def target_task(options: Mapping[str, Any]) -> TextTask:
    """The target that a user's options mean; named by its label unless they say otherwise.

    Raises
    ------
    UserError
        An option or a file is missing, unknown or wrong.
    """
    read = read_options(TargetOptions, options, "")
    split = {} if read.split is None else {"column": read.split} if isinstance(read.split, str) else dict(read.split)
    column = split.pop("column", None)
    if read.split is not None and not isinstance(column, str):
        raise UserError("split must name a column, as in split: part or split: {column: part, test: [held out]}")
    name = read.name or _name_of(read.label)
    sources = _sources(read.data, SPLITS)
    if column is not None and len(sources) > 1:
        raise UserError("split names a column, but data has a file for each split; leave one of them out")
    values = tuple((_split(key), tuple(map(str, _listed(value)))) for key, value in split.items())
    return _task(name, read, sources, split_column=column, split_values=values)


def auxiliary_task(name: str, options: Mapping[str, Any]) -> TextTask:
    """The auxiliary that a user's options mean; see `target_task`."""
    read = read_options(AuxiliaryOptions, options, "")
    return _task(name, read, _sources(read.data, ("train",)))


def output_of(task: TextTask, labels: Labels) -> Output:
    """What the task's head answers; the number of a regression is called by its column."""
    return Output(labels.kind, (str(task.label),) if labels.kind == "regression" else labels.names)


def _task(name: str, read: AuxiliaryOptions, sources: tuple[tuple[str | None, Source], ...], **split: Any) -> TextTask:
    task = TextTask(
        name=name,
        sources=sources,
        first=_listed(read.text),
        second=_listed(read.pair) if read.pair is not None else (),
        label=read.label if isinstance(read.label, str) else tuple(read.label),
        kind=read.kind,
        separator=read.separator,
        loss=read.loss,
        metric=read.metric,
        also=tuple(read.also),
        **split,
    )
    if not task.first or not task.label or (read.pair is not None and not task.second):
        raise UserError("text, pair and label must name a column each, or a list of columns that is not empty")
    if task.kind == "tokens" and (len(task.first) > 1 or task.second or not isinstance(task.label, str)):
        raise UserError("kind: tokens takes one text column, of words, and one label column, of their labels")
    return task


def _sources(data: str | Mapping[str, str], splits: Sequence[str]) -> tuple[tuple[str | None, Source], ...]:
    if isinstance(data, str):
        return ((None, find_source(data)),)
    for split in data:
        if split not in splits:
            raise unknown("split", split, splits, "data")
    if "train" not in data:
        raise UserError("data has no file for train; give data: {train: FILE, …}, or one file for all splits")
    return tuple((split, find_source(data[split])) for split in splits if split in data)


def _split(name: str) -> str:
    if name not in SPLITS:
        raise unknown("option", name, ("column", *SPLITS), "split")
    return name


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _name_of(label: str | Sequence[str]) -> str:
    """A label's column as a task is named: what is no letter, digit, `_`, `-` or space becomes `_`."""
    text = label if isinstance(label, str) else "labels"
    return "".join(sign if sign.isalnum() or sign in "_- " else "_" for sign in text).strip() or "target"


@lru_cache(maxsize=32)
def _read(task: TextTask, version: tuple[int, ...]) -> TextRows:
    del version  # a part of what memory is searched by
    label = [task.label] if isinstance(task.label, str) else task.label
    columns = [*task.first, *task.second, *label, *([] if task.split_column is None else [task.split_column])]
    tables = [source.read(columns) for _, source in task.sources]
    table = stacked(tables) if len(tables) > 1 else tables[0]
    given = None
    if task.split_column is not None:
        given = named_splits(table, task.split_column, dict(task.split_values))
    elif len(tables) > 1:
        given = np.repeat([SPLITS.index(split or "train") for split, _ in task.sources], list(map(len, tables)))
    if task.kind == "tokens":
        words, labels = read_tags(table, task.first[0], str(task.label))
        texts, flat = Texts(words), [[" ".join(row) for row in words]]
    else:
        labels = read_labels(table, task.label, task.kind, task.separator)
        flat = [read_texts(table, each) for each in (task.first, task.second) if each]
        texts = Texts(flat[0], flat[1] if task.second else None)
    if task.loss is not None and task.loss not in LOSSES[labels.kind]:
        raise unknown("loss", task.loss, LOSSES[labels.kind], f"kind: {labels.kind}")
    return TextRows(table, texts, labels, keys_of(table, flat, (*task.first, *task.second)), given)


@lru_cache(maxsize=32)
def _tokens(task: TextTask, version: tuple[int, ...], model: str, max_length: int) -> Tokens:
    return tokenise(_read(task, version).texts, model, max_length)


@lru_cache(maxsize=64)
def _checksum(source: Source, version: tuple[int, ...]) -> str:
    path = Path(source.name)
    files = [] if source.on_hub or not version else [path] if path.is_file() else sorted(path.rglob("*.arrow"))
    return " ".join(map(sha256, files))
