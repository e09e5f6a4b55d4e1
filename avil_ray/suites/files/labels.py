"""Labels of a table's rows: classes, several labels at once, numbers, or a tag for each word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from avil_ray.suites.files.table import Integers

Kind = Literal["classes", "multi-label", "regression", "tokens"]

Values = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of N rows.

    Parameters
    ----------
    kind
        classes, multi-label, regression or tokens.
    names
        The labels by name, in the order of the model's outputs; none for a regression.
    values
        Classes [N] of int64; several labels [N, labels] of float32, 0 or 1; numbers [N] of float32; of tokens the tags
        of all words, one row after the other, [words] of int64.
    ends
        Of tokens, [N]: where each row's tags end; None otherwise.
    note
        What was decided for the user; nothing where the user said it.
    """

    kind: Kind
    names: tuple[str, ...]
    values: Values
    ends: Integers | None = None
    note: str = ""

    @property
    def rows(self) -> int:
        """N."""
        return len(self.values if self.ends is None else self.ends)

    def strata(self) -> Integers:
        """[N]: a number for each row by which rows are divided evenly: its label, of several the rarest one."""
        if self.kind == "regression":
            return np.zeros(self.rows, dtype=np.int64)
        if self.kind == "classes":
            return self.values
        rows, labels = self.named()
        order = np.argsort(-np.bincount(labels, minlength=len(self.names)), kind="stable")  # the rarest comes last
        rank = np.empty_like(order)
        rank[order] = np.arange(1, len(order) + 1)
        found = np.zeros(self.rows, dtype=np.int64)
        np.maximum.at(found, rows, rank[labels])
        return found

    def named(self) -> tuple[Integers, Integers]:
        """The rows and the labels of all places at which a row has a label."""
        if self.kind == "multi-label":
            rows, labels = np.nonzero(self.values)
            return rows, labels
        if self.ends is not None:
            return np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0)), self.values
        return np.arange(len(self.values)), self.values

    def counts(self, rows: Integers) -> Integers:
        """How often some rows have each label, [labels]."""
        there, labels = self.named()
        wanted = np.zeros(self.rows, dtype=bool)
        wanted[rows] = True
        return np.bincount(labels[wanted[there]], minlength=len(self.names))


def ordered_names(values: Iterable[Any]) -> tuple[str, ...]:
    """Different names: whole numbers by size, then words by letters."""
    found = {str(value).strip() for value in values}
    return tuple(sorted(found, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name)))
