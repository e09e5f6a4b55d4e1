"""Helpers of the suites' factories: checked numbers, and sizes of data sets.

Values come from a command line or a YAML file; a mistake is one line that says what is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from avil_ray.errors import UserError, between, unknown, whole

MOST_EXAMPLES = 10_000_000
"""The maximum number drawn for a split: more would not fit in memory."""


def absolute(path: str | PathLike[str]) -> Path:
    """A user's path, made absolute in the current folder: workers may run in another one."""
    return Path(path).expanduser().absolute()


def auxiliary_names(
    suite: str, target: str, names: Sequence[str] | None, known: Collection[str], usual: Sequence[str]
) -> tuple[str, ...]:
    """The auxiliaries' names, checked along with the target's; by default the usual ones except the target.

    Raises
    ------
    UserError
        A name is unknown, or an auxiliary is the target.
    """
    if not isinstance(target, str) or target not in known:
        raise unknown("target", target, known, suite)
    if names is None:
        return tuple(name for name in usual if name != target)
    if isinstance(names, str):
        example = ", ".join([name for name in known if name != target][:2])
        raise UserError(f"{suite}: auxiliaries must be a list of names such as [{example}], not {names!r}")
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise unknown("auxiliary", name, known, suite)
        if name == target:
            raise UserError(f"{suite}: {name!r} is the target; name other tasks as auxiliaries")
    return tuple(names)


def widths(where: str, value: object) -> tuple[int, ...]:
    """A user's widths of layers; `UserError` unless there is at least one and each is an integer from 1."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise UserError(f"{where} must be a list of one width or more, such as [64], not {value!r}")
    return tuple(whole(where, width, 1) for width in value)


def whole_if_given(where: str, value: object, lowest: int) -> int | None:
    """An integer of at least `lowest`, or None; a `UserError` otherwise."""
    return None if value is None else whole(where, value, lowest)


def dev_labels(target_labels: int, dev_fraction: float) -> int:
    """How many of the target's labelled examples are dev: one at least, and one at least is left to train."""
    return min(max(round(target_labels * dev_fraction), 1), target_labels - 1)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The number of examples that a suite draws, and how many of them are labelled for each task."""

    target_labels: int
    """Labelled examples of the target, train and dev together."""
    auxiliary_labels: int
    """Labelled examples of each auxiliary."""
    dev_fraction: float
    """The fraction of the target's labelled examples used as dev."""
    train: int
    """Training examples; no task has more labels."""
    select: int
    test: int

    @property
    def dev(self) -> int:
        """How many of the target's labelled examples are dev: one at least, and one at least is left to train."""
        return dev_labels(self.target_labels, self.dev_fraction)

    @property
    def target_train(self) -> int:
        """The number of the target's labelled examples used as train."""
        return self.target_labels - self.dev

    @property
    def splits(self) -> dict[str, int]:
        """The number of examples to draw for each split."""
        return {"train": self.train, "dev": self.dev, "select": self.select, "test": self.test}


def checked_sizes(
    suite: str,
    *,
    target_labels: int | None,
    auxiliary_labels: int | None,
    dev_fraction: float,
    train: int,
    select: int,
    test: int,
) -> Sizes:
    """The requested sizes, checked; None as a number of labels means all `train` examples.

    Raises
    ------
    UserError
        A number is out of range, or there are more labels than examples.
    """
    for name, count in (("train", train), ("select", select), ("test", test)):
        whole(f"{suite}: {name}", count, 2, MOST_EXAMPLES)

    def labels(name: str, value: int | None, lowest: int) -> int:
        why = "the largest is option train"
        return train if value is None else whole(f"{suite}: {name}", value, lowest, train, why)

    return Sizes(
        target_labels=labels("target_labels", target_labels, 2),
        auxiliary_labels=labels("auxiliary_labels", auxiliary_labels, 1),
        dev_fraction=between(f"{suite}: dev_fraction", dev_fraction, 0, 1),
        train=train,
        select=select,
        test=test,
    )
