"""Splits a table's rows into train, dev, select and test: by a column or files, the rest by fraction and seed.

Rows with the same key (such as equal texts) are never in two splits. Splits that are not given are taken from the
training rows: test, then select, then dev, each with about the same label frequencies. Rows with rare labels go to
train first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avil_ray.errors import UserError, between, unknown, whole
from avil_ray.suites.files.labels import Labels
from avil_ray.suites.files.table import Integers, Table
from avil_ray.suites.options import dev_labels
from avil_ray.tasks.checks import SPLITS

SHARES = {"select": 0.2, "test": 0.2}
MOST = {"dev": 1000, "select": 2000, "test": 10_000}
"""The default fractions of the splits, and the maximum number of rows if no fraction is given."""

USUAL_DEV = 1 / 3
"""The default fraction of dev among the target's labelled rows."""

SYNONYMS = {
    "train": ("train", "training"),
    "dev": ("dev", "development"),
    "select": ("select", "selection", "validation", "valid", "val", "eval"),
    "test": ("test", "testing"),
}
"""Common values of a column of splits."""


@dataclass(frozen=True, kw_only=True)
class Division:
    """The number of rows in each split; None: the default fraction.

    Parameters
    ----------
    target_labels
        The number of labelled rows in train and dev together; None: all remaining.
    dev_fraction
        The fraction of them used as dev.
    select_fraction, test_fraction
        The fractions of all rows used as select and test.
    """

    target_labels: int | None = None
    dev_fraction: float | None = None
    select_fraction: float | None = None
    test_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.target_labels is not None:
            whole("target_labels", self.target_labels, 2)
        for name in ("dev_fraction", "select_fraction", "test_fraction"):
            if getattr(self, name) is not None:
                between(name, getattr(self, name), 0, 1)

    def count(self, split: str, rows: int) -> int:
        """The number of rows in select or test, out of `rows`."""
        share = getattr(self, f"{split}_fraction")
        return (
            max(round(rows * share), 1) if share is not None else min(max(round(rows * SHARES[split]), 1), MOST[split])
        )

    def dev(self, labels: int) -> int:
        """The number of rows in dev, out of `labels` labelled ones."""
        if self.dev_fraction is not None:
            return dev_labels(labels, self.dev_fraction)
        return min(dev_labels(labels, USUAL_DEV), MOST["dev"])


def named_splits(table: Table, column: str, names: Mapping[str, Sequence[str]]) -> Integers:
    """The split of each row [N] given by a column, as an index into `SPLITS`.

    Parameters
    ----------
    names
        Split -> its values; if empty, the common ones (`SYNONYMS`).

    Raises
    ------
    UserError
        A value matches no split.
    """
    known = names or SYNONYMS
    split = {str(value): SPLITS.index(name) for name, values in known.items() for value in values}
    found = np.empty(len(table), dtype=np.int64)
    for row, value in enumerate(table.column(column)):
        text = str(value).strip()
        number = split.get(text, split.get(text.lower()))
        if number is None:
            raise unknown("split", value, split, f"{table.place(row)}: column {column!r}")
        found[row] = number
    return found


def divided(
    table: Table,
    keys: Integers,
    labels: Labels,
    given: Integers | None,
    division: Division,
    generator: np.random.Generator,
    item: str = "text",
) -> dict[str, Integers]:
    """The rows of train, dev, select and test.

    Parameters
    ----------
    keys
        [N], equal for rows that must be in the same split.
    given
        [N], the split of each row, as an index into `SPLITS`; splits without rows are taken from train. None: no split
        is given.
    item
        The word in messages for what rows with the same key share.

    Raises
    ------
    UserError
        Rows with the same key are given in two splits; there are too few rows; or a label is missing in the training
        rows.
    """
    given = np.zeros(len(table), dtype=np.int64) if given is None else given
    _require_apart(table, keys, given, item)
    parts = {split: np.flatnonzero(given == index) for index, split in enumerate(SPLITS)}
    free = _evenly(parts.pop("train"), keys, labels.strata(), generator)
    found = {split: generator.permutation(rows) for split, rows in parts.items() if len(rows)}
    for split in ("test", "select"):
        if split not in found:
            found[split], free = _taken(free, keys, division.count(split, len(table)))
    count = len(free) + len(found.get("dev", ()))
    wanted = count if division.target_labels is None else division.target_labels
    if wanted > count or len(free) == 0:
        sizes = ", ".join(f"{split} {len(rows):,}" for split, rows in found.items())
        raise UserError(
            f"{table.sources[0]}: {len(free):,} rows are left to train on after {sizes}, too few"
            + (f" for {wanted:,} target_labels" if division.target_labels else "; give more rows")
        )
    if "dev" not in found:
        found["dev"], free = _taken(free, keys, division.dev(wanted))
    train = free[len(free) - max(wanted - len(found["dev"]), 0) :]
    if len(train) == 0:
        raise UserError(f"{table.sources[0]}: no row is left to train on after dev {len(found['dev'])}; give more rows")
    found = {"train": generator.permutation(train), **{split: found[split] for split in SPLITS[1:]}}
    _require_learned(table, labels, found, "" if division.target_labels is None else "; or ask for more target_labels")
    return found


def _require_apart(table: Table, keys: Integers, given: Integers, item: str) -> None:
    """Raise `UserError` if two rows with the same key are given in different splits."""
    order = np.lexsort((given, keys))
    same = (keys[order][1:] == keys[order][:-1]) & (given[order][1:] != given[order][:-1])
    if not same.any():
        return
    others = int(same.sum())
    place = int(same.argmax())
    one, other = sorted((int(order[place]), int(order[place + 1])))
    several = f", and {others - 1} more do" if others > 1 else ""
    raise table.wrong(
        other,
        f"is in {SPLITS[given[other]]}, but its {item} is also in {SPLITS[given[one]]} "
        f"({table.place(one)}){several}; "
        f"no {item} may be in two splits",
    )


def _evenly(rows: Integers, keys: Integers, strata: Integers, generator: np.random.Generator) -> Integers:
    """The rows in a random stratified order: every section has about the same strata; equal keys stay together.

    The last rows of each stratum come last.
    """
    if len(rows) == 0:
        return rows
    _, first, group = np.unique(keys[rows], return_index=True, return_inverse=True)
    shuffled = generator.permutation(len(first))
    stratum = strata[rows][first][shuffled]
    order = np.argsort(stratum, kind="stable")
    _, starts, sizes = np.unique(stratum[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    height = np.empty(len(order))
    height[shuffled[order]] = (rank + 1) / np.repeat(sizes, sizes)
    place = np.empty(len(order), dtype=np.int64)
    place[np.lexsort((generator.permutation(len(order)), height))] = np.arange(len(order))
    return rows[np.argsort(place[group], kind="stable")]


def _taken(rows: Integers, keys: Integers, count: int) -> tuple[Integers, Integers]:
    """The first `count` rows, extended to the end of the last one's key; and the others."""
    end = min(count, len(rows))
    while 0 < end < len(rows) and keys[rows[end]] == keys[rows[end - 1]]:
        end += 1
    return rows[:end], rows[end:]


def _require_learned(table: Table, labels: Labels, parts: Mapping[str, Integers], hint: str) -> None:
    """Raise `UserError` if select or test has a label that no training row has."""
    if labels.kind == "regression":
        return
    learned = labels.counts(np.concatenate([parts["train"], parts["dev"]]))
    for split in ("select", "test"):
        alone = np.flatnonzero((labels.counts(parts[split]) > 0) & (learned == 0))
        if len(alone):
            rows, found = labels.named()
            row = np.intersect1d(rows[found == alone[0]], parts[split])[0]
            raise table.wrong(
                int(row),
                f"label {labels.names[alone[0]]!r} is in {split}, but in no training row; add rows of it to "
                f"train, or leave it out{hint}",
            )
