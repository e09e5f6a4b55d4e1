"""The texts in a table's columns, and the keys that identify equal ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avil_ray.errors import shown
from avil_ray.suites.files.table import Integers, Table
from avil_ray.suites.held_out import text_keys

JOINT = "\n"
"""The separator of columns joined into one text."""


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys that are equal for texts that differ only in case, spaces and punctuation.

    Parameters
    ----------
    texts
        [N, texts], a key for each text given to the encoder: one, or two for pairs.
    columns
        [N, columns], a key for each column that makes up the texts.
    """

    texts: Integers
    columns: Integers

    def rows(self) -> Integers:
        """[N], equal for rows with equal texts."""
        if self.texts.shape[1] == 1:
            return self.texts[:, 0]
        _, found = np.unique(self.texts, axis=0, return_inverse=True)
        return found.reshape(-1)

    def overlap(self, other: Keys, rows: Integers) -> Integers:
        """The rows that share a text, or a column that is part of one, with given rows of the other."""
        texts, columns = other.texts[rows], other.columns[rows]
        whole = np.isin(self.texts, np.concatenate([texts.ravel(), columns.ravel()])).any(axis=1)
        return np.flatnonzero(whole | np.isin(self.columns, texts).any(axis=1))


def read_texts(table: Table, columns: Sequence[str]) -> list[str]:
    """The text of each row; several columns are concatenated, without empty cells.

    Raises
    ------
    UserError
        A value is not text, or a row's text is empty; the message names file and row.
    """
    parts = [table.column(column) for column in columns]
    for column, values in zip(columns, parts, strict=True):
        row = next((row for row, value in enumerate(values) if not isinstance(value, str | None)), None)
        if row is not None and values[row] == values[row]:  # false for NaN, pandas's missing value
            raise table.wrong(row, f"text {column!r} must be text, not {shown(values[row])}")
    if len(parts) == 1:
        texts = [value if isinstance(value, str) else "" for value in parts[0]]
    else:
        rows = zip(*parts, strict=True)
        texts = [JOINT.join(value for value in row if isinstance(value, str) and value) for row in rows]
    empty = [row for row, text in enumerate(texts) if not text or text.isspace()]
    if empty:
        several = f" ({len(empty)} of {len(texts)} rows have none)" if len(empty) > 1 else ""
        hint = "fill it in, or leave such rows out"
        raise table.wrong(empty[0], f"text {', '.join(map(repr, columns))} is empty{several}; {hint}")
    return texts


def keys_of(table: Table, texts: Sequence[Sequence[str]], columns: Sequence[str]) -> Keys:
    """The keys of rows: of their texts, and of the columns if a text consists of several."""
    found = np.stack([text_keys(each) for each in texts], axis=1)
    if len(columns) == len(texts):
        return Keys(found, found)
    parts = [text_keys(value or "" for value in table.column(column)) for column in columns]
    return Keys(found, np.stack(parts, axis=1))
