"""What the suites' factories have in common: checked numbers, and how much data there is.

Values come from a command line or a YAML file; what is wrong with one is said in one line, with what would be right.
"""

from __future__ import annotations

from dataclasses import dataclass

from avil_ray.errors import UserError


def whole(where: str, value: object, lowest: int, highest: int | None = None, why: str = "") -> int:
    """`value` if it is a whole number within the bounds, both included.

    Parameters
    ----------
    where
        What the value is called: "multimnist: size", say.
    why
        Where the upper bound comes from, for the message.

    Raises
    ------
    UserError
        It is not; the message says what is allowed.
    """
    if isinstance(value, int) and not isinstance(value, bool) and lowest <= value and not (highest and value > highest):
        return value
    allowed = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
    raise UserError(f"{where} must be a whole number, {allowed}{why and f' ({why})'}, not {value!r}")


def between(where: str, value: object, low: float, high: float) -> float:
    """`value` if it is a number between the bounds, neither included; a `UserError` otherwise."""
    if isinstance(value, int | float) and low < value < high:
        return float(value)
    raise UserError(f"{where} must be a number above {low:g} and below {high:g}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many examples a suite draws, and how many of them are labelled for each task."""

    target_labels: int
    """Labelled examples of the target, train and dev together."""
    auxiliary_labels: int
    """Labelled examples of each auxiliary."""
    dev_fraction: float
    """The share of the target's labelled examples that is dev."""
    train: int
    """Examples to learn from; no task has more labels."""
    select: int
    test: int

    @property
    def dev(self) -> int:
        """How many of the target's labelled examples are dev: one at least, and one at least is left to train."""
        return min(max(round(self.target_labels * self.dev_fraction), 1), self.target_labels - 1)

    @property
    def target_train(self) -> int:
        """How many of the target's labelled examples are train."""
        return self.target_labels - self.dev

    @property
    def splits(self) -> dict[str, int]:
        """How many examples to draw for each split."""
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
    """The sizes a user asked for, checked; a number of labels that is None means all `train` examples.

    Raises
    ------
    UserError
        A number out of its range; more labels than there are examples.
    """
    for name, count in (("train", train), ("select", select), ("test", test)):
        whole(f"{suite}: {name}", count, 2)

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
