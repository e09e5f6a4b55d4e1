"""Rows of a file with named columns, and each row's place in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError, unknown

Integers = npt.NDArray[np.int64]

Column = Sequence[Any]
"""The values of a column: text from CSV, otherwise values from JSON or Arrow; None if missing."""


@dataclass(frozen=True, eq=False)
class Table:
    """N rows of one or several concatenated sources.

    Parameters
    ----------
    columns
        Name -> its values [N].
    sources
        The names of the rows' files in messages.
    source
        [N], the index of each row's source.
    numbers
        [N], each row's number in its file, as shown in an editor: lines count from 1, including a header.
    """

    columns: Mapping[str, Column]
    sources: tuple[str, ...]
    source: Integers
    numbers: Integers

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> Column:
        """The values of a column, [N].

        Raises
        ------
        UserError
            There is no such column; the nearest one is suggested.
        """
        if name not in self.columns:
            raise unknown("column", name, self.columns, self.sources[0])
        return self.columns[name]

    def place(self, row: int) -> str:
        """A row's name in messages: `churn.csv, row 17`."""
        return f"{self.sources[self.source[row]]}, row {self.numbers[row]}"

    def wrong(self, row: int, text: str) -> UserError:
        """An error about a row."""
        return UserError(f"{self.place(row)}: {text}")

    def take(self, rows: Integers) -> Table:
        """Some of the rows, in that order."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return Table(columns, self.sources, self.source[rows], self.numbers[rows])


def one_source(name: str, columns: Mapping[str, Column], numbers: Integers) -> Table:
    """The rows of one file.

    Raises
    ------
    UserError
        There are none.
    """
    if len(numbers) == 0:
        raise UserError(f"{name}: holds no rows; give at least a few examples")
    return Table(columns, (name,), np.zeros(len(numbers), dtype=np.int64), numbers)


def stacked(tables: Sequence[Table]) -> Table:
    """The concatenated rows of several tables, with the columns that all of them have."""
    shared = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
    before = np.cumsum([0, *(len(table.sources) for table in tables)])
    return Table(
        {name: [value for table in tables for value in table.columns[name]] for name in shared},
        tuple(source for table in tables for source in table.sources),
        np.concatenate([table.source + start for table, start in zip(tables, before, strict=False)]),
        np.concatenate([table.numbers for table in tables]),
    )
