"""Splits of one table of examples, some of which belong together: a patient's images, say."""

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
    """Row numbers: the target's four splits, and `shared`, all that tasks may learn from (the target's train too)."""

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
        Shares of all groups.
    target_labels
        How many labelled examples the target has to learn from, train and dev together; None: all that there are.
    dev
        The share of these that is dev.
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
    """Divide examples; no group is in two splits, and the target's classes are as frequent in each.

    Parameters
    ----------
    target
        The target's labels [N]: 1, 0, or NaN where nobody knows.
    groups
        [N]: rows of one number stay together.
    official
        Which rows are given to learn from and which for the test; others are left out. `shares.test` says nothing then.

    Raises
    ------
    UserError
        More labels are asked for than there are, or a group is in both official parts.
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
    dev = labelled[-dev_labels(asked, shares.dev) :]  # from the end: fewer labels are among more
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
    """The groups of learn, select and test, each in random order."""
    count = int(groups.max()) + 1
    kinds = np.zeros(count, dtype=np.int64)  # 2: the target is 1 somewhere in the group; 1: it is 0; 0: nobody knows
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
