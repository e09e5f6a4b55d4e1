"""Tables of examples with several yes-or-no labels each: yeast, and any CSV file."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError, unknown
from avil_ray.suites.sources import packaged_file

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float32]

SEPARATOR = "|"
"""What stands between the names in a column of names: ChestX-ray14's way."""

NONE = {"", "No Finding", "None"}
"""Names that say that an example has none of the labels; the first words are ChestX-ray14's."""

EMPTY = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "<NA>", "#N/A"]
"""What stands in a cell about which nobody knows. pandas' own list has `None` too, which is a name here."""


@dataclass(frozen=True)
class Answers:
    """Several yes-or-no labels for each of N examples.

    Parameters
    ----------
    names
        The labels, as tasks are named.
    values
        [N, labels] of float32: 1, 0, or NaN where nobody knows.
    groups
        [N]: examples of one number (a patient's) must not be split up.
    """

    names: tuple[str, ...]
    values: Floats
    groups: npt.NDArray[np.int64]

    def of(self, name: str) -> Floats:
        """One label's values, [N]."""
        return self.values[:, self.names.index(name)]


def yeast_file() -> Path:
    """Yeast genes, as river ships them: 2,417 x 103 numbers, labels Class1 to Class14 (Elisseeff and Weston, 2001)."""
    return packaged_file("river", "datasets/yeast.csv.gz")


def read_csv(file: Path) -> pd.DataFrame:
    """The table in a CSV file, gzipped or not, with its columns' names in the first line.

    Raises
    ------
    UserError
        The file is not there, or is no such table.
    """
    import pandas as pd

    try:
        table = pd.read_csv(file, keep_default_na=False, na_values=EMPTY)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: cannot be read as a CSV table ({reason})") from error
    if table.empty:
        raise UserError(f"{file}: holds no rows; a line of column names and a line for each example are needed")
    return table


def read_answers(file: Path, table: pd.DataFrame, labels: Sequence[str] | str, group: str | None) -> Answers:
    """The labels of a table.

    Parameters
    ----------
    file
        Where the table is from, for messages.
    labels
        Columns that hold 1, 0 or nothing each; or the one column that holds names with `|` between them.
    group
        The column whose value examples share that must not be split up; each stands alone where None.

    Raises
    ------
    UserError
        A column is not there, or holds something else.
    """
    if isinstance(labels, str):
        names, values = _from_names(file, column(file, table, labels))
    else:
        names = list(labels)
        values = np.stack([_from_column(file, column(file, table, name)) for name in names], axis=1)
    tasks = [task_name(name) for name in names]
    for index, task in enumerate(tasks):
        if task in tasks[:index]:
            other = names[tasks.index(task)]
            raise UserError(f"{file}: labels {other!r} and {names[index]!r} would both be task {task}; rename one")
    return Answers(tuple(tasks), values, _groups(file, table, group))


def read_features(file: Path, table: pd.DataFrame, names: Sequence[str]) -> Floats:
    """The inputs of a table, [N, names]; NaN where a cell is empty.

    Raises
    ------
    UserError
        A column is not there, or holds something else than finite numbers.
    """
    for name in names:
        kind = column(file, table, name).dtype.kind
        if kind not in "iufb":
            hint = "encode it as numbers, or leave it out with features: [...]"
            raise UserError(f"{file}: column {name!r} holds words, but inputs must be numbers; {hint}")
    numbers = table[list(names)].to_numpy(np.float32)
    if np.isinf(numbers).any():
        where = names[int(np.isinf(numbers).any(axis=0).argmax())]
        raise UserError(f"{file}: column {where!r} holds an infinite number; leave the cell empty where it is unknown")
    return numbers


def column(file: Path, table: pd.DataFrame, name: str) -> pd.Series[float]:
    """One column of a table; `UserError` where there is no such one."""
    if name not in table.columns:
        raise unknown("column", name, map(str, table.columns), str(file))
    return table[name]


def task_name(label: str) -> str:
    """A label as a task is named: what is no letter, digit or underscore becomes an underscore."""
    name = re.sub(r"\W", "_", label.strip())
    return name if name.isidentifier() else f"label_{name}"


def _groups(file: Path, table: pd.DataFrame, name: str | None) -> npt.NDArray[np.int64]:
    if name is None:
        return np.arange(len(table))
    values = column(file, table, name)
    if values.isna().any():
        row = int(values.isna().argmax()) + 1
        raise UserError(f"{file}: column {name!r} is empty in row {row}; every example must belong to a group")
    _, groups = np.unique(values.astype(str).to_numpy(), return_inverse=True)
    return groups


def _from_column(file: Path, values: pd.Series[float]) -> Floats:
    for value in values.dropna().unique():
        if value not in (0, 1):
            hint = "a label is 1, 0, or empty where nobody knows"
            raise UserError(f"{file}: label column {values.name!r} holds {str(value)!r}; {hint}")
    return values.to_numpy(np.float32, na_value=np.nan)


def _from_names(file: Path, values: pd.Series[float]) -> tuple[list[str], Floats]:
    """The names that stand in a column, in alphabetical order, and who has which; an empty cell says nothing."""
    if values.dtype.kind in "iufb":
        hint = f"write labels: [{values.name}] for a column of 0 and 1"
        raise UserError(f"{file}: labels column {values.name!r} must hold names with {SEPARATOR} between them; {hint}")
    known = values.notna().to_numpy()
    sets = [{name.strip() for name in str(cell).split(SEPARATOR)} - NONE for cell in values[known]]
    names = sorted(set().union(*sets))
    if not names:
        raise UserError(f"{file}: labels column {values.name!r} names no label")
    answers = np.full((len(values), len(names)), np.nan, dtype=np.float32)
    answers[known] = [[name in one for name in names] for one in sets]
    return names, answers
