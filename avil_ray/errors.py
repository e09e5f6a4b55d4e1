"""Errors, distinguished by cause: wrong input by the user (exit status 2) or failed work (exit status 1)."""

from __future__ import annotations

import difflib
import math
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import TypeGuard

LARGEST = 1e38
"""About the largest float32 number; PyTorch refuses to compute with larger ones."""

MOST_NAMED = 50
"""The number of names listed in a message; the others are counted."""


class UserError(ValueError):
    """The user's input is wrong. The message is one line: what is wrong, where, and what would be right.

    Examples
    --------
    >>> import avil_ray as avil
    >>> avil.Learning(batch_size=0)
    Traceback (most recent call last):
    ...
    avil_ray.errors.UserError: learning: batch_size must be a whole number, 1 to 1000000, not 0
    """


class WorkFailed(RuntimeError):
    """The input was right but the work could not be done: a trial diverged, a worker died, a wait timed out.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> avil.train(suite, avil.TargetOnly(learning_rate=1e30), rounds=3, steps_per_round=4)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    avil_ray.errors.WorkFailed: ...
    """


def unknown(kind: str, name: object, choices: Iterable[str], where: str = "") -> UserError:
    """A `UserError` for a name that is not among `choices`; it suggests the nearest one, or lists all."""
    names = sorted(choices)
    near = nearest(name, names)
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    hint = f"available: {', '.join(names[:MOST_NAMED]) or 'none'}{more}" if near is None else f"did you mean {near!r}?"
    return UserError(f"{where + ': ' if where else ''}unknown {kind} {str(name)!r}; {hint}")


def nearest(name: object, names: Iterable[str]) -> str | None:
    """The one of `names` most similar to `name`, ignoring case; None if none is similar."""
    folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None


def told(error: BaseException) -> str:
    """An error in one line: its type, its message, and the line of code that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" (in {Path(place[0].filename).name}, line {place[0].lineno})" if place else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """A context for running user code: any exception, including `SystemExit`, becomes one line."""
    try:
        yield
    except (UserError, WorkFailed):
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{what}: {told(error)}") from error


def whole(where: str, value: object, lowest: int, highest: int | None = None, why: str = "") -> int:
    """`value` if it is an integer within the bounds, both inclusive.

    Parameters
    ----------
    where
        The value's name, such as "multimnist: size".
    why
        The reason for the upper bound, for the message.

    Raises
    ------
    UserError
        It is not; the message says what is allowed.
    """
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    if number is not None and lowest <= number and not (highest and number > highest):
        return number
    allowed = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
    raise UserError(f"{where} must be a whole number, {allowed}{why and f' ({why})'}, not {shown(value)}")


def between(where: str, value: object, low: float, high: float) -> float:
    """`value` if it is a number between the bounds, both exclusive; a `UserError` otherwise."""
    if _is_number(value) and low < value < high:
        return _single(where, value)
    raise UserError(f"{where} must be a number above {low:g}{_below(high)}, not {shown(value)}")


def at_least(where: str, value: object, low: float, high: float = math.inf) -> float:
    """`value` if it is a finite number, at least `low` and below `high`; a `UserError` otherwise."""
    if _is_number(value) and low <= value < high:
        return _single(where, value)
    raise UserError(f"{where} must be a number, at least {low:g}{_below(high)}, not {shown(value)}")


def shown(value: object) -> str:
    """A value in one line, shortened."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer with thousands of digits
        return f"a value of type {type(value).__name__} that is too long to show"
    return text if len(text) < 80 else f"{text[:77]}..."


def _single(where: str, value: float) -> float:
    if value > LARGEST:
        raise UserError(f"{where} must be at most {LARGEST:g}, not {shown(value)}")
    return float(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _below(high: float) -> str:
    return f" and below {high:g}" if high < math.inf else ", and finite"
