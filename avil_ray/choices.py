"""Options with a fixed set of values, which are read from the annotations so that they are defined only once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from avil_ray.errors import UserError, unknown

Words = tuple[str | bool | None, ...]


@cache
def choices(described: Callable[..., Any]) -> dict[str, Words]:
    """The dataclass fields or function arguments with a fixed set of values: name -> the values.

    Booleans are included; None is a value if the option is optional.
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
    """Check every option of `described` that has a fixed set of values or is boolean; `values` maps names to values.

    Raises
    ------
    UserError
        A value is not allowed; the nearest allowed one is suggested.
    """
    for name, words in choices(described).items():
        value = values[name]
        if True in words and not isinstance(value, bool):
            raise UserError(f"{where + ': ' if where else ''}{name} must be true or false, not {value!r}")
        if not isinstance(value, str | bool | NoneType) or value not in words:
            raise unknown(name, value, [word for word in words if isinstance(word, str)], where)
