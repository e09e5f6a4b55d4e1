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
