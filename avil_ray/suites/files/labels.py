"""Labels of a table's rows: classes, multiple labels, numbers, or a tag for each word."""

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
        The labels' names, in the order of the model's outputs; empty for regression.
    values
        Classes: int64 [N]; multiple labels: float32 [N, labels], 0 or 1; numbers: float32 [N]; tokens: the concatenated
        tags of all rows' words, int64 [words].
    ends
        For tokens, [N], the end of each row's tags; None otherwise.
    note
        What was inferred; empty if the user specified it.
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
        """[N], each row's stratum for stratified splits: its label, or its rarest one if it has several."""
        if self.kind == "regression":
            return np.zeros(self.rows, dtype=np.int64)
        if self.kind == "classes":
            return self.values
        rows, labels = self.named()
        order = np.argsort(-np.bincount(labels, minlength=len(self.names)), kind="stable")  # the rarest is last
        rank = np.empty_like(order)
        rank[order] = np.arange(1, len(order) + 1)
        found = np.zeros(self.rows, dtype=np.int64)
        np.maximum.at(found, rows, rank[labels])
        return found

    def named(self) -> tuple[Integers, Integers]:
        """The (row, label) indices of all labels that rows have."""
        if self.kind == "multi-label":
            rows, labels = np.nonzero(self.values)
            return rows, labels
        if self.ends is not None:
            return np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0)), self.values
        return np.arange(len(self.values)), self.values

    def counts(self, rows: Integers) -> Integers:
        """The frequency of each label among some rows, [labels]."""
        there, labels = self.named()
        wanted = np.zeros(self.rows, dtype=bool)
        wanted[rows] = True
        return np.bincount(labels[wanted[there]], minlength=len(self.names))


def ordered_names(values: Iterable[Any]) -> tuple[str, ...]:
    """Distinct names: integers by value, then words alphabetically."""
    found = {str(value).strip() for value in values}
    return tuple(sorted(found, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name)))
