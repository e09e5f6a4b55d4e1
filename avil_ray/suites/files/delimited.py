"""CSV and TSV files: a header of column names, then one row each; every cell is text."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from avil_ray.errors import UserError, unknown
from avil_ray.suites.files.lines import MOST_BYTES, lines
from avil_ray.suites.files.table import Table, one_source


def read_delimited(file: Path, columns: Sequence[str] | None) -> Table:
    """Read some columns of a CSV file (or TSV, by its suffix); None: all columns.

    Cells of a CSV file may also be separated by semicolons, tabs or bars.

    A row's number is that of its first line, as a quoted cell may contain line breaks.

    Raises
    ------
    UserError
        A column is missing, a row has more or fewer cells than the header, or the file is not such a table.
    """
    with _long_cells():
        rows = _rows(file)
        _, header = next(rows, (0, []))
        if not any(name.strip() for name in header):
            raise UserError(f"{file}: its first row names no columns")
        columns = [name.strip() for name in header] if columns is None else columns
        places = [_place(file, header, column) for column in columns]
        found: list[list[str]] = [[] for _ in columns]
        numbers = []
        for number, cells in rows:
            if len(cells) != len(header):
                hint = "quote cells that hold the separator" if len(cells) > len(header) else "fill in what is missing"
                count = f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'}"
                raise UserError(f"{file}, row {number}: {count}, but the header names {len(header)} columns; {hint}")
            numbers.append(number)
            for values, place in zip(found, places, strict=True):
                values.append(cells[place])
    if not numbers:
        raise UserError(f"{file}: holds a header and no rows; give at least a few examples")
    return one_source(str(file), dict(zip(columns, found, strict=True)), np.array(numbers, dtype=np.int64))


def _place(file: Path, header: Sequence[str], column: str) -> int:
    names = [name.strip() for name in header]
    if column not in names:
        raise unknown("column", column, filter(None, names), str(file))
    if names.count(column) > 1:
        raise UserError(f"{file}: its header names the column {column!r} twice; rename one")
    return names.index(column)


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The cells of each non-blank row, and the number of its first line."""
    source = lines(file)
    first = next(source)
    begin = 1

    def every() -> Iterator[str]:
        yield first
        yield from source

    reader: Any = csv.reader(every(), delimiter=_separator(file, first), strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _no_table(file, begin, str(error)) from None
        if cells is None:
            return
        if cells:
            yield begin, cells
        begin = reader.line_num + 1


def _separator(file: Path, header: str) -> str:
    """The separator of cells: a comma, or what the header uses instead."""
    if file.suffix.lower() == ".tsv":
        return "\t"
    return next((sign for sign in ",;\t|" if sign in header), ",")


def _no_table(file: Path, row: int, why: str) -> UserError:
    if "unexpected end" in why or "field limit" in why:
        why = "a quote is opened here and not closed"
    elif "new-line character" in why:
        why = "its lines end in carriage returns alone; save it with ordinary line endings"
    return UserError(f"{file}, row {row}: cannot be read as CSV: {why}")


@contextmanager
def _long_cells() -> Iterator[None]:
    """A context in which a cell may be as long as a line; Python's default limit is 128 KiB."""
    before = csv.field_size_limit(MOST_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)
