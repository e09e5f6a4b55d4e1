"""Splits of a table of examples, some of which belong together, such as a patient's images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError
from avil_ray.suites.options import dev_labels

Integers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """Row numbers of the target's four splits, and of `shared`: all rows for training (with the target's train)."""

    train: Integers
    dev: Integers
    select: Integers
    test: Integers
    shared: Integers


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How examples are divided.

    Parameters
    ----------
    select, test
        Fractions of all groups.
    target_labels
        The target's number of labelled examples, train and dev together; None: all.
    dev
        The fraction of these used as dev.
    """

    select: float
    test: float
    target_labels: int | None
    dev: float


def partition(
    target: npt.NDArray[np.float32],
    groups: Integers,
    shares: Shares,
    generator: np.random.Generator,
    official: tuple[Truths, Truths] | None = None,
) -> Parts:
    """Divide examples so that no group is in two splits and the target's class frequencies match.

    Parameters
    ----------
    target
        The target's labels [N]: 1, 0, or NaN if unknown.
    groups
        [N], the group of each row; groups stay together.
    official
        The given rows for training and for the test; others are left out, and `shares.test` is ignored.

    Raises
    ------
    UserError
        More labels are requested than exist, or a group is in both official parts.
    """
    _, groups = np.unique(groups, return_inverse=True)
    learn, select, test = (_rows(part, groups) for part in _split(target, groups, shares, generator, official))
    labelled = learn[~np.isnan(target[learn])]
    asked = len(labelled) if shares.target_labels is None else shares.target_labels
    if not 2 <= asked <= len(labelled):
        raise UserError(
            f"target_labels must be 2 to {len(labelled)} (what is left of the target's labels beside select and test), "
            f"not {asked}"
        )
    dev = labelled[-dev_labels(asked, shares.dev) :]  # from the end, so that fewer labels are a subset of more
    shared = learn[~np.isin(groups[learn], groups[dev])]
    train = shared[~np.isnan(target[shared])][: asked - len(dev)]
    if len(train) == 0:
        raise UserError("the target's train split would be empty, as its groups are too large; give more target_labels")
    select, test = (part[~np.isnan(target[part])] for part in (select, test))
    return Parts(train, dev, select, test, shared)


def _split(
    target: npt.NDArray[np.float32],
    groups: Integers,
    shares: Shares,
    generator: np.random.Generator,
    official: tuple[Truths, Truths] | None,
) -> list[Integers]:
    """The groups for training, select and test, each in random order."""
    count = int(groups.max()) + 1
    kinds = np.zeros(count, dtype=np.int64)  # 2: the target is 1 in some row of the group; 1: it is 0; 0: unknown
    np.maximum.at(kinds, groups, np.nan_to_num(target + 1).astype(np.int64))
    free, tested = np.arange(count), np.array([], dtype=np.int64)
    if official is not None:
        free, tested = (np.unique(groups[rows]) for rows in official)
        both = np.intersect1d(free, tested)
        if len(both):
            rows = np.flatnonzero(groups == both[0]) + 1
            raise UserError(f"the official lists put rows {', '.join(map(str, rows[:5]))} of one group into both parts")
    parts: list[list[Integers]] = [[], [], [tested]]
    test = 0.0 if official is not None else shares.test
    for kind in range(3):
        order = generator.permutation(free[kinds[free] == kind])
        ends = np.cumsum([round(share * len(order)) for share in (test, shares.select)])
        for part, found in zip((2, 1, 0), np.split(order, ends), strict=True):
            parts[part].append(found)
    return [generator.permutation(np.concatenate(part)) for part in parts]


def _rows(part: Integers, groups: Integers) -> Integers:
    """The rows of some groups, in the order of the groups."""
    places = np.full(int(groups.max()) + 1, -1)
    places[part] = np.arange(len(part))
    rows = np.flatnonzero(places[groups] >= 0)
    return rows[np.argsort(places[groups[rows]], kind="stable")]
