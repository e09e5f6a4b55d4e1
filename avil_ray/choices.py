"""Options that are one of a few words: the words are read off the annotations, so they stand in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from avil_ray.errors import UserError, unknown

Words = tuple[str | bool | None, ...]


@cache
def choices(described: Callable[..., Any]) -> dict[str, Words]:
    """The fields of a dataclass, or the arguments of a function, that are one of a few words: name -> the words.

    Those that are true or false are among them; None is a word where the option may be left open.
    """
    found: dict[str, Words] = {}
    for name, hint in get_type_hints(described).items():
        parts = (hint, *get_args(hint))
        words = tuple(word for part in parts if get_origin(part) is Literal for word in get_args(part))
        if hint is bool:
            words = (True, False)
        if words:
            found[name] = (*words, None) if NoneType in parts else words
    return found


def check_choices(described: Callable[..., Any], values: Mapping[str, Any], where: str = "") -> None:
    """Check every option of `described` that is one of a few words, or true or false; `values` has them by name.

    Raises
    ------
    UserError
        A value is none of the words; the nearest one is suggested.
    """
    for name, words in choices(described).items():
        value = values[name]
        if True in words and not isinstance(value, bool):
            raise UserError(f"{where + ': ' if where else ''}{name} must be true or false, not {value!r}")
        if not isinstance(value, str | bool | NoneType) or value not in words:
            raise unknown(name, value, [word for word in words if isinstance(word, str)], where)
