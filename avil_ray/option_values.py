"""Checks that a method's options are the numbers that their annotations declare, in Python as in YAML."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints

from avil_ray.errors import LARGEST, UserError, shown

MOST = 1_000_000
"""A larger integer is considered a mistake: no run would end."""


@dataclass(frozen=True)
class Above:
    """In an option's annotation: the number must be above this one."""

    bound: float

    def wrong(self, value: float) -> str | None:
        """What the value must be and is not."""
        return None if value > self.bound else f"above {self.bound:g}"


@dataclass(frozen=True)
class AtLeast:
    """In an option's annotation: the number must be at least this one."""

    bound: float

    def wrong(self, value: float) -> str | None:
        """What the value must be and is not."""
        return None if value >= self.bound else f"at least {self.bound:g}"


_INSIDE = {
    list: "a list of numbers, such as [0, 1]",
    tuple: "two numbers, such as [0, 4]",
    Mapping: "a mapping of names to numbers",
}


def check_numbers(method: Any) -> None:
    """Raise `UserError` if an option that must be a number, or contain numbers, does not.

    Single numbers must be finite and within the bounds of their annotation; methods check numbers in lists themselves.
    """
    for name, (hint, bounds) in _hints(cast(Hashable, type(method))).items():
        value, kinds = getattr(method, name), [hint, *get_args(hint)]
        if value is None and NoneType in kinds:
            continue
        for kind in kinds if NoneType in kinds else kinds[:1]:
            wrong = _wrong(value, kind)
            if wrong:
                raise UserError(f"{name} must be {wrong}, not {shown(value)}")
        for bound in bounds:
            if wrong := bound.wrong(value):
                raise UserError(f"{name} must be {wrong}, not {shown(value)}")


@cache
def _hints(cls: Any) -> dict[str, tuple[Any, list[Above | AtLeast]]]:
    """Each option's type, and its bounds."""
    hints, noted = get_type_hints(cls), get_type_hints(cls, include_extras=True)
    notes = {name: getattr(hint, "__metadata__", ()) for name, hint in noted.items()}
    bounds = {name: [note for note in found if isinstance(note, Above | AtLeast)] for name, found in notes.items()}
    return {field.name: (hints[field.name], bounds[field.name]) for field in fields(cls) if field.init}


def _wrong(value: Any, kind: Any) -> str | None:
    """What a value must be and is not; None if it is right, or if the annotation declares no number."""
    if kind is bool:
        return None if isinstance(value, bool) else "true or false"
    if kind is int:
        return None if _number(value, Integral) and abs(value) <= MOST else f"a whole number, at most {MOST:,}"
    if kind is float:
        if not _number(value, Real) or not math.isfinite(value):
            return "a finite number"
        return None if abs(value) <= LARGEST else f"at most {LARGEST:g} in absolute value"
    kind, inside = get_origin(kind), [one for one in get_args(kind) if one in (int, float)]
    if kind not in _INSIDE or not inside:
        return None
    several = isinstance(value, Mapping if kind is Mapping else Sequence) and not isinstance(value, str | bytes)
    values = list(value.values() if isinstance(value, Mapping) else value) if several else [None]
    right = all(_number(one, Integral if inside[0] is int else Real) for one in values)
    return None if right and (kind is not tuple or len(values) == len(inside)) else _INSIDE[kind]


def _number(value: Any, kind: type) -> bool:
    """Whether it is a number of this type; booleans are not."""
    return isinstance(value, kind) and not isinstance(value, bool)
