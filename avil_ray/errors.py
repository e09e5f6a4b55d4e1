"""What can go wrong, told apart by whose move is next: the user's (exit status 2) or the work's (exit status 1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """The user's input is wrong. The message is one line: what is wrong, where, and what would be right."""


class WorkFailed(RuntimeError):
    """The input was right but the work could not be done: a trial diverged, a worker died, a wait timed out."""


def unknown(kind: str, name: object, choices: Iterable[str], where: str = "") -> UserError:
    """A `UserError` for a name that is not among `choices`; it suggests the nearest one, or lists them all."""
    names = sorted(choices)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
    return UserError(f"{where + ': ' if where else ''}unknown {kind} {str(name)!r}; {hint}")


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
