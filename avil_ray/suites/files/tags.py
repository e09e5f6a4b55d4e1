"""Words and their labels: lists in each row, or text separated by spaces."""

from __future__ import annotations

from itertools import chain
from typing import Any, cast

import numpy as np

from avil_ray.errors import UserError, shown
from avil_ray.suites.files.labels import Labels, ordered_names
from avil_ray.suites.files.table import Table


def read_tags(table: Table, words: str, tags: str) -> tuple[list[list[str]], Labels]:
    """The words of each row and a label for each word: lists, or text with words and tags separated by spaces.

    Raises
    ------
    UserError
        A row has no words, or a different number of tags; the message names file and row.
    """
    sentences, found = read_words(table, words), read_words(table, tags)
    for row, (one, other) in enumerate(zip(sentences, found, strict=True)):
        if len(one) != len(other):
            raise table.wrong(row, f"{words!r} has {len(one)} words, but {tags!r} has {len(other)} labels")
    names = ordered_names(chain.from_iterable(found))
    if len(names) < 2:
        raise UserError(f"{table.sources[0]}: label {tags!r} is {names[0]!r} for all words; two labels are needed")
    number = {name: index for index, name in enumerate(names)}
    values = np.fromiter((number[tag] for one in found for tag in one), dtype=np.int64)
    return sentences, Labels("tokens", names, values, ends=np.cumsum(list(map(len, found)), dtype=np.int64))


def read_words(table: Table, column: str) -> list[list[str]]:
    """The words of each row, or their labels: a list, or text separated by spaces.

    Raises
    ------
    UserError
        A row has none; the message names file and row.
    """
    return [_listed(table, row, column, value) for row, value in enumerate(table.column(column))]


def _listed(table: Table, row: int, column: str, value: Any) -> list[str]:
    """A row's words, or their labels."""
    parts = value.split() if isinstance(value, str) else value
    right = isinstance(parts, list) and all(isinstance(part, str | int) and str(part).strip() for part in parts)
    if not right or not parts:
        what = "is empty" if value in (None, "", []) else f"is {shown(value)}"
        raise table.wrong(row, f"{column!r} {what}; a list of words, or of a label for each, is needed")
    return [str(part).strip() for part in cast("list[str | int]", parts)]
