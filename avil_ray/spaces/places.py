"""Checks that the parts of a search space share. A place says where a mistake stands: `methods[2].weights`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from avil_ray.errors import UserError, unknown
from avil_ray.errors import whole as whole

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def require_keys(
    document: Any, place: str, allowed: Iterable[str], problems: list[str], required: Sequence[str] = ()
) -> bool:
    """Whether `document` is a mapping; a line is added to `problems` where not, and for each key unknown or missing."""
    if not isinstance(document, Mapping):
        example = ", ".join(f"{key}: …" for key in list(allowed)[:2])
        problems.append(f"{place} must be a mapping such as {{{example}}}, not {short(document)}")
        return False
    lines = [str(unknown("key", key, allowed, place)) for key in document if key not in set(allowed)]
    problems += lines
    for key in required:
        # one line is enough where a key is misspelt
        if key not in document and not any(line.endswith(f"did you mean {key!r}?") for line in lines):
            problems.append(f"{place + ': ' if place else ''}the key {key!r} is missing")
    return True


def safe_name(place: str, value: Any) -> str:
    """A name that folders and MLflow runs can bear.

    Raises
    ------
    UserError
        It cannot; the message says what is allowed.
    """
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise UserError(
        f"{place} must be 1 to 64 letters, digits, '-', '_' or '.', beginning with a letter or digit, "
        f"as folders and MLflow runs are called by it, not {short(value)}"
    )


def joined(place: str, text: str, names: Iterable[str]) -> str:
    """A message at its place; an option that it begins with becomes part of that: `methods[2].weights: …`."""
    first = re.match(r"\w*", text)
    return f"{place}.{text}" if first and first.group() in set(names) else f"{place}: {text}"


def short(value: Any) -> str:
    """A value in one line of bearable length."""
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
