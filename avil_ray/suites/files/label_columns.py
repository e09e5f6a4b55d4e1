"""The labels in a table's columns, by name, in an order that depends only on the set of all rows.

If their kind is not given, it is inferred: words, and a few different integers, are classes; fractional numbers are a
regression; lists, and several columns, are multi-label. The decision is recorded in `Labels.note`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from avil_ray.errors import LARGEST, UserError, shown
from avil_ray.suites.files.labels import Kind, Labels, Values
from avil_ray.suites.files.several_labels import from_cells, from_columns, from_lists
from avil_ray.suites.files.table import Column, Table

MOST_NUMBERS = 20
"""Up to this many different integers are taken for classes by default."""

MOST_CLASSES = 1000
"""The maximum number of different names taken for classes."""

EMPTY = {"", "nan", "na", "n/a", "<na>", "#n/a", "null", "none"}
"""Values for unknown labels, ignoring case."""

NUMBER = re.compile(r"[+-]?(\.\d+|(0|[1-9]\d*)(\.\d*)?)([eE][+-]?\d+)?")
"""A number as text; one with leading zeros, such as 007, is a name."""


def read_labels(table: Table, column: str | Sequence[str], kind: Kind | None, separator: str | None = None) -> Labels:
    """The labels in a column, or in several columns of 0 and 1.

    Raises
    ------
    UserError
        A label is empty, does not match the kind, or differs in type from the others; or there is only one label. The
        message names file and row.
    """
    if not isinstance(column, str):
        return from_columns(table, column, kind)
    values = table.column(column)
    if separator is not None and kind != "multi-label":
        raise UserError(f"separator is for kind: multi-label, but {column!r} is read as {kind or 'one label a row'}")
    if any(isinstance(value, list) for value in values):
        return from_lists(table, column, values, kind)
    if kind == "multi-label":
        return from_cells(table, column, values, separator)
    known = _Different(table, column, values)
    if kind == "regression":
        return Labels("regression", (), known.numbers())
    if kind == "classes":
        return _classes(table, column, known.order(), known)
    return _guessed(table, column, known)


class _Different:
    """The distinct values of a column, the first row of each, and the index of each row's value."""

    def __init__(self, table: Table, column: str, values: Column) -> None:
        self.table, self.column, self.values = table, column, values
        first: dict[tuple[type, Any], int] = {}
        for row, value in enumerate(values):
            first.setdefault((type(value), value) if not isinstance(value, dict) else (dict, repr(value)), row)
        self.rows = list(first.values())
        self.read: dict[tuple[type, Any], str | float | int] = {
            key: self._read(row, values[row]) for key, row in first.items()
        }

    def _read(self, row: int, value: Any) -> str | float | int:
        """A name or a number; `UserError` if it is neither."""
        if value is None or (isinstance(value, float) and math.isnan(value)) or str(value).strip().lower() in EMPTY:
            empty = sum(1 for other in self.values if other is None or str(other).strip().lower() in EMPTY)
            several = f" ({empty} of {len(self.values)} rows have none)" if empty > 1 else ""
            what = "is empty" if value is None or not str(value).strip() else f"is {value!r}, which stands for none"
            raise self.table.wrong(row, f"label {self.column!r} {what}{several}; fill it in, or leave such rows out")
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float | Decimal):
            return _plain(float(value) if isinstance(value, Decimal) else value)
        if not isinstance(value, str):
            raise self.table.wrong(row, f"label {self.column!r} must be a word or a number, not {shown(value)}")
        text = value.strip()
        return _plain(float(text)) if NUMBER.fullmatch(text) else text

    @property
    def kinds(self) -> dict[type, int]:
        """Their types (words or numbers), and the first row of each."""
        found: dict[type, int] = {}
        for row, value in zip(self.rows, self.read.values(), strict=True):
            found.setdefault(str if isinstance(value, str) else float, row)
        return found

    def numbers(self) -> Values:
        """Each row's number, [N]; `UserError` if one is a word, or is not finite in float32."""
        for row, value in zip(self.rows, self.read.values(), strict=True):
            if isinstance(value, str):
                hint = "give kind: classes if labels are words"
                if re.fullmatch(r"[+-]?\d+,\d+", value):
                    hint = f"write {value.replace(',', '.')}, or {value.replace(',', '')} if thousands are meant"
                raise self.table.wrong(row, f"label {self.column!r} is {value!r}, not a number; {hint}")
            if not abs(value) < LARGEST:
                raise self.table.wrong(row, f"label {self.column!r} is {shown(value)}, which is too large")
        found = np.array([self.read[type(value), value] for value in self.values], dtype=np.float32)
        if (found == found[0]).all():
            raise UserError(f"{self.table.sources[0]}: label {self.column!r} is {found[0]:g} in all {len(found)} rows")
        return found

    def order(self) -> tuple[str, ...]:
        """The names of classes: numbers by value, then words alphabetically."""
        return tuple(map(str, sorted(set(self.read.values()), key=lambda value: (isinstance(value, str), value))))


def _plain(number: float) -> float | int:
    """Converts a float with an integer value to int."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _guessed(table: Table, column: str, known: _Different) -> Labels:
    kinds = known.kinds
    if len(kinds) > 1:
        words, numbers = known.values[kinds[str]], known.values[kinds[float]]
        raise table.wrong(
            max(kinds.values()),
            f"label {column!r} mixes words and numbers ({shown(words)} and {shown(numbers)}); give kind: classes if "
            "all of them are names",
        )
    names = known.order()
    if str in kinds:
        return _classes(table, column, names, known, "words")
    numbers_found = set(known.read.values())
    if any(isinstance(value, float) for value in numbers_found):
        return Labels("regression", (), known.numbers(), note="regression, as labels are numbers with a fraction")
    if len(numbers_found) > MOST_NUMBERS:
        raise UserError(
            f"{table.sources[0]}: label {column!r} has {len(numbers_found)} different whole numbers; give "
            "kind: regression, or kind: classes if each is a class"
        )
    return _classes(table, column, names, known, f"{len(numbers_found)} different whole numbers")


def _classes(table: Table, column: str, names: tuple[str, ...], known: _Different, taken_as: str = "") -> Labels:
    if len(names) < 2:
        raise UserError(
            f"{table.sources[0]}: label {column!r} is {names[0]!r} in all {len(table)} rows; two are needed"
        )
    if len(names) > min(MOST_CLASSES, max(len(table) // 2, MOST_NUMBERS)):
        raise UserError(
            f"{table.sources[0]}: label {column!r} has {len(names)} different values in {len(table)} rows, too many "
            "for classes; name another column"
        )
    number = {name: index for index, name in enumerate(names)}
    found = {key: number[str(value)] for key, value in known.read.items()}
    values = np.fromiter((found[type(value), value] for value in known.values), np.int64, len(known.values))
    return Labels("classes", names, values, note=f"classes, as labels are {taken_as}" if taken_as else "")
