"""Tables of examples with several binary labels each: yeast, and any CSV file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError
from avil_ray.suites.files.several_labels import SEPARATOR
from avil_ray.suites.files.table import Integers, Table
from avil_ray.suites.sources import packaged_file

Floats = npt.NDArray[np.float32]

NONE = {"", "No Finding", "None"}
"""Names for examples without any label; "No Finding" is ChestX-ray14's."""

EMPTY = {"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "<NA>", "#N/A"}
"""Values of cells for unknown labels."""

TRUTH = {"true": 1.0, "false": 0.0}
"""Words for numbers."""


@dataclass(frozen=True)
class Answers:
    """Several binary labels for each of N examples.

    Parameters
    ----------
    names
        The labels, as names of tasks.
    values
        float32 [N, labels]: 1, 0, or NaN if unknown.
    groups
        [N]: examples with the same number (such as a patient's) must stay together.
    """

    names: tuple[str, ...]
    values: Floats
    groups: Integers

    def of(self, name: str) -> Floats:
        """One label's values, [N]."""
        return self.values[:, self.names.index(name)]


def yeast_file() -> Path:
    """Yeast genes, shipped with river: 2,417 x 103 numbers, labels Class1 to Class14 (Elisseeff and Weston, 2001)."""
    return packaged_file("river", "datasets/yeast.csv.gz")


def read_answers(table: Table, labels: Sequence[str] | str, group: str | None) -> Answers:
    """The labels of a table.

    Parameters
    ----------
    labels
        Columns of 1, 0 or empty cells; or a single column of names separated by `|`.
    group
        The column with equal values for examples that must stay together; None: no groups.

    Raises
    ------
    UserError
        A column is missing, or contains other values.
    """
    if isinstance(labels, str):
        names, values = _from_names(table, labels)
    else:
        names = list(labels)
        values = np.stack([_from_column(table, name) for name in names], axis=1)
    tasks = [task_name(name) for name in names]
    for index, task in enumerate(tasks):
        if task in tasks[:index]:
            both = f"labels {names[tasks.index(task)]!r} and {names[index]!r}"
            raise UserError(f"{table.sources[0]}: {both} would both be task {task}; rename one")
    return Answers(tuple(tasks), values, _groups(table, group))


def read_features(table: Table, names: Sequence[str]) -> Floats:
    """The inputs of a table, [N, names]; NaN for empty cells.

    Raises
    ------
    UserError
        A column is missing, or contains values other than finite numbers.
    """
    hint = "encode it as numbers, or leave it out with features: [...]"
    columns = [
        _numbers(table, name, f"column {name!r} holds words, but inputs must be numbers; {hint}") for name in names
    ]
    numbers = np.stack(columns, axis=1)
    if np.isinf(numbers).any():
        row, place = np.argwhere(np.isinf(numbers))[0]
        hint = "leave the cell empty where it is unknown"
        raise table.wrong(row, f"column {names[place]!r} holds an infinite number; {hint}")
    return numbers


def task_name(label: str) -> str:
    """A label as a task's name: characters other than letters, digits and underscores become underscores."""
    name = re.sub(r"\W", "_", label.strip())
    return name if name.isidentifier() else f"label_{name}"


def _number(cell: str) -> float | None:
    """A cell as a number: NaN if it is empty, None if it is a word."""
    if cell in EMPTY:
        return np.nan
    try:
        return TRUTH[cell.lower()] if cell.lower() in TRUTH else float(cell)
    except ValueError:
        return None


def _numbers(table: Table, name: str, otherwise: str) -> Floats:
    """A column's numbers, [N]; if it contains a word, a `UserError` that explains what is expected `otherwise`."""
    found = [_number(cell) for cell in table.column(name)]
    if None in found:
        raise table.wrong(found.index(None), otherwise)
    return np.array(found, dtype=np.float64).astype(np.float32)


def _groups(table: Table, name: str | None) -> Integers:
    if name is None:
        return np.arange(len(table))
    cells = table.column(name)
    empty = next((row for row, cell in enumerate(cells) if cell in EMPTY), None)
    if empty is not None:
        raise table.wrong(empty, f"column {name!r} is empty; every example must belong to a group")
    if all(cell.strip().isdecimal() for cell in cells):  # 7 and 007 are the same patient
        cells = [str(int(cell)) for cell in cells]
    _, groups = np.unique(np.array(cells, dtype=np.str_), return_inverse=True)
    return groups


def _from_column(table: Table, name: str) -> Floats:
    cells = table.column(name)
    found = [_number(cell) for cell in cells]
    wrong = next((row for row, number in enumerate(found) if number not in (0, 1) and number == number), None)
    if wrong is not None:
        raise table.wrong(wrong, f"label column {name!r} holds {cells[wrong]!r}; a label is 1, 0, or empty")
    return np.array(found, dtype=np.float32)


def _from_names(table: Table, column: str) -> tuple[list[str], Floats]:
    """The names in a column, in alphabetical order, and which rows have them; empty cells are unknown."""
    cells = table.column(column)
    if all(_number(cell) is not None for cell in cells):
        what = f"labels column {column!r} must hold names with {SEPARATOR} between them"
        raise UserError(f"{table.sources[0]}: {what}; write labels: [{column}] for a column of 0 and 1")
    known = np.array([cell not in EMPTY for cell in cells])
    sets = [{name.strip() for name in cell.split(SEPARATOR)} - NONE for cell in cells if cell not in EMPTY]
    names = sorted(set().union(*sets))
    if not names:
        raise UserError(f"{table.sources[0]}: labels column {column!r} names no label")
    answers = np.full((len(cells), len(names)), np.nan, dtype=np.float32)
    answers[known] = [[name in one for name in names] for one in sets]
    return names, answers
