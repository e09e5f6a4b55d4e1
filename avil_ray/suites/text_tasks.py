"""A task of the suite `text`: its options, and its data, read and tokenised once per process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from avil_ray.config import read_options
from avil_ray.errors import UserError
from avil_ray.suites.files.reading import find_source
from avil_ray.suites.files.table import Table
from avil_ray.suites.files.tags import read_tags
from avil_ray.suites.files.tasks import AuxiliaryOptions, FileRows, FileTask, TargetOptions, listed, options_of
from avil_ray.suites.files.texts import keys_of, read_texts
from avil_ray.suites.tokens import Texts, Tokens, tokenise


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """The options of any task's texts."""

    text: str | Sequence[str]
    pair: str | Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class TextAuxiliary(AuxiliaryOptions, TextOptions):
    """The options of an auxiliary."""


@dataclass(frozen=True, kw_only=True)
class TextTarget(TargetOptions, TextOptions):
    """The options of the target."""


@dataclass(frozen=True, eq=False)
class TextRows(FileRows):
    """The N rows of a task; `texts` is the tokenizer's input."""

    texts: Texts


@dataclass(frozen=True, kw_only=True)
class TextTask(FileTask):
    """A task's files and columns: a small description that is cheap to send.

    Parameters
    ----------
    first, second
        The columns of the text, and of the second text of a pair; several columns are joined.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """See `FileTask`."""
        return (*self.first, *self.second)

    def read(self) -> TextRows:
        """See `FileTask`."""
        return _read(self, self.version())

    def tokens(self, model: str, max_length: int) -> Tokens:
        """The token ids of its rows."""
        return _tokens(self, self.version(), model, max_length)


def text_task(name: str | None, options: Mapping[str, Any]) -> TextTask:
    """The task specified by a user's options, which may also name the target.

    Raises
    ------
    UserError
        An option or a file is missing, unknown or wrong.
    """
    read: Any = read_options(TextTarget if name is None else TextAuxiliary, options, "")
    second = listed(read.pair) if read.pair is not None else ()
    task = TextTask(first=listed(read.text), second=second, **options_of(read, name, find_source))
    if not task.first or (read.pair is not None and not task.second):
        raise UserError("text and pair must name a column each, or a list of columns that is not empty")
    if task.kind == "tokens" and (len(task.first) > 1 or task.second or not isinstance(task.label, str)):
        raise UserError("kind: tokens takes one text column, of words, and one label column, of their labels")
    named = [*task.inputs, *listed(task.label)]
    twice = next((column for column in named if named.count(column) > 1), None)
    if twice is not None:
        raise UserError(f"column {twice!r} is named twice; each may be part of one text, or a label")
    return task


@lru_cache(maxsize=32)
def _read(task: TextTask, version: tuple[int, ...]) -> TextRows:
    del version  # part of the cache key
    table, given = task.table()
    if task.kind == "tokens":
        words, labels = read_tags(table, task.first[0], str(task.label))
        texts, flat = Texts(words), [[" ".join(row) for row in words]]
    else:
        _require_no_words(table, task.first[0])
        labels = task.labels(table)
        flat = [read_texts(table, each) for each in (task.first, task.second) if each]
        texts = Texts(flat[0], flat[1] if task.second else None)
    return TextRows(table, labels, keys_of(table, flat, task.inputs), given, texts)


def _require_no_words(table: Table, column: str) -> None:
    row = next((row for row, value in enumerate(table.column(column)) if isinstance(value, list)), None)
    if row is not None:
        raise table.wrong(row, f"text {column!r} is a list; give kind: tokens if words have a label each")


@lru_cache(maxsize=32)
def _tokens(task: TextTask, version: tuple[int, ...], model: str, max_length: int) -> Tokens:
    return tokenise(_read(task, version).texts, model, max_length)
