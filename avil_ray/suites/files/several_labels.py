"""Multiple labels per row: a list, a cell with a separator between labels, or a column of 0 and 1 for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from avil_ray.errors import UserError, shown
from avil_ray.suites.files.labels import Kind, Labels, Values, ordered_names
from avil_ray.suites.files.table import Column, Table

SEPARATOR = "|"
"""The default separator of multiple labels in a cell."""


def from_lists(table: Table, column: str, values: Column, kind: Kind | None) -> Labels:
    """Multiple labels per row, from lists."""
    if kind not in (None, "multi-label"):
        row = next(row for row, value in enumerate(values) if isinstance(value, list))
        raise table.wrong(row, f"label {column!r} is a list, but kind is {kind}; give kind: multi-label")
    for row, value in enumerate(values):
        if not isinstance(value, list) or not all(isinstance(name, str | int) and str(name).strip() for name in value):
            what = "is empty" if value is None else f"is {shown(value)}"
            raise table.wrong(row, f"label {column!r} {what}; a list of labels is needed, [] where there are none")
    names = ordered_names(chain.from_iterable(values))
    if not names:
        raise UserError(f"{table.sources[0]}: label {column!r} names no label in any of {len(table)} rows")
    number = {name: index for index, name in enumerate(names)}
    found = np.zeros((len(values), len(names)), dtype=np.float32)
    for row, value in enumerate(values):
        found[row, [number[str(name).strip()] for name in value]] = 1
    return _several(table, names, found, "" if kind else "multi-label, as labels are lists")


def from_cells(table: Table, column: str, values: Column, separator: str | None) -> Labels:
    """Multiple labels per row, from cells with a separator; an empty cell has none."""
    for row, value in enumerate(values):
        if not isinstance(value, str):
            what = "is empty" if value is None else f"is {shown(value)}"
            raise table.wrong(row, f"label {column!r} {what}; a list or text with labels is needed")
    if separator == "":
        raise UserError(f'separator must not be empty; leave it out for "{SEPARATOR}"')
    sign = SEPARATOR if separator is None else separator
    if separator is None and not any(sign in value for value in values):
        other = next((one for one in ";," if any(one in value for value in values)), None)
        if other is not None:
            raise UserError(
                f"{table.sources[0]}: label {column!r} has no {sign!r} between labels, but {other!r}; give "
                f'separator: "{other}"'
            )
    lists: list[Any] = [[name.strip() for name in value.split(sign) if name.strip()] for value in values]
    return from_lists(table, column, lists, "multi-label")


def from_columns(table: Table, columns: Sequence[str], kind: Kind | None) -> Labels:
    """Multiple labels per row, from columns of 0 and 1."""
    if kind not in (None, "multi-label"):
        raise UserError(
            f"label names {len(columns)} columns, but kind is {kind}; give one column, or kind: multi-label"
        )
    truth: Mapping[Any, int] = {"0": 0, "1": 1, "false": 0, "true": 1}
    found = np.zeros((len(table), len(columns)), dtype=np.float32)
    for index, column in enumerate(columns):
        for row, value in enumerate(table.column(column)):
            number = truth.get(str(value).strip().lower().removesuffix(".0"))
            if number is None:
                what = "is empty" if value in (None, "") else f"is {shown(value)}"
                raise table.wrong(row, f"label {column!r} {what}, but one of several label columns must hold 0 or 1")
            found[row, index] = number
    return _several(table, tuple(columns), found, "" if kind else "multi-label, as label names several columns")


def _several(table: Table, names: tuple[str, ...], values: Values, note: str) -> Labels:
    """Multiple labels per row, after checking that each label occurs in some rows but not in all."""
    counts = values.sum(axis=0)
    for index, name in enumerate(names):
        if counts[index] in (0, len(values)):
            where = "no row" if counts[index] == 0 else f"all {len(values)} rows"
            raise UserError(f"{table.sources[0]}: label {name!r} stands in {where}; leave it out")
    return Labels("multi-label", names, values, note=note)
