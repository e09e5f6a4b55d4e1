"""Reads dataclasses from plain values with pydantic, strictly by their fields' types; every mistake is one line.

A type defines the valid values of a field, for the file, for `--set` and for messages alike:

    rounds: Annotated[int, whole(1, 100_000)]                       rounds must be a whole number, 1 or more, not 0
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import AfterValidator, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from avil_ray.config import short
from avil_ray.errors import UserError, unknown

T = TypeVar("T")
Place = Sequence[int | str]
Rule = tuple[str, Callable[[Any], object]]

STRICT = ConfigDict(extra="forbid")
"""As `__pydantic_config__` of a dataclass: unknown keys are mistakes."""


class Mistakes(ValueError):
    """Mistakes in a field read by its own function: lines that already name their places."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(*lines)
        self.lines = lines


def must(*rules: Rule) -> BeforeValidator:
    """Accept only values that satisfy every rule (a text and a predicate); otherwise report the first violated one."""

    def check(value: Any) -> Any:
        for text, right in rules:
            if not right(value):
                raise PydanticCustomError("rule", "{text}", {"text": text})
        return value

    return BeforeValidator(check)


def whole(least: int, most: int = 1_000_000) -> BeforeValidator:
    """An integer; more than `most` is considered a mistake."""
    right = (f"must be a whole number, {least} or more", lambda value: type(value) is int and value >= least)
    return must(right, (f"must be at most {most:,}", lambda value: value <= most))


def filled(what: str) -> BeforeValidator:
    """A list that is not empty."""
    return must((f"must be a list with at least one {what}", lambda value: isinstance(value, list) and value))


def number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf


def distinct(advice: str = "") -> AfterValidator:
    """A list without duplicates."""

    def check(values: Sequence[Any]) -> Sequence[Any]:
        seen = list(map(identity, values))
        for index, value in enumerate(values):
            if seen[index] in seen[:index]:
                raise UserError(f"{short(value)} is given twice{advice}")
        return values

    return AfterValidator(check)


def identity(value: Any) -> str:
    """A text that is equal for equal values: 1 and 1.0 are equal, 1 and true or '1' are not."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(identity, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{identity(key)}: {identity(inner)}' for key, inner in value.items()))}}}"
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CHARACTERS = "1 to 64 letters, digits, '-', '_' or '.', beginning with a letter or digit"
_CALLED: Rule = (
    f"must be {_CHARACTERS}, as folders and MLflow runs are named after it",
    lambda value: isinstance(value, str) and _NAME.fullmatch(value),
)
NAME = must(_CALLED)


def read(kind: type[T], document: Any, place: str = "") -> tuple[T | None, list[str]]:
    """A dataclass from plain values, or None and a line for each mistake, in reading order."""
    try:
        return _adapter(cast(Hashable, kind)).validate_python(document), []
    except ValidationError as error:
        lines = [line for mistake in error.errors(include_url=False) for line in _lines(mistake, kind, place)]
    # one line is enough for a misspelt key
    meant = [line.rpartition("; did you mean ")[2] for line in lines if line.endswith("'?")]
    return None, [line for line in lines if not line.endswith(tuple(f"the key {key[:-1]} is missing" for key in meant))]


def keys(kind: Any, place: Place = ()) -> tuple[str, ...]:
    """The keys allowed at a place of a document; none if there is no dataclass."""
    for part in place:
        kind = _fields(kind).get(part)
    return tuple(_fields(kind))


def joined(place: str, text: str, names: Iterable[str]) -> str:
    """A message with its place; an option at its start becomes part of the place: `methods[2].weights: …`."""
    first = re.match(r"\w*", text)
    return f"{place}.{text}" if first and first.group() in set(names) else f"{place}: {text}"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@cache
def _fields(kind: Any) -> dict[Any, Any]:
    """Key -> type for a dataclass; empty for anything else."""
    if not (inspect.isclass(kind) and dataclasses.is_dataclass(kind)):
        return {}
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        alias = next((one.alias for one in getattr(hint, "__metadata__", ()) if isinstance(one, FieldInfo)), None)
        found[alias or name] = hint
    return found


def _lines(mistake: ErrorDetails, kind: Any, place: str) -> Sequence[str]:
    what, inside, error = mistake["type"], mistake["loc"], mistake.get("ctx", {}).get("error")
    here, above, last = written(place, inside), written(place, inside[:-1]), str(inside[-1] if inside else "")
    text = mistake["msg"]
    if isinstance(error, Mistakes):
        return error.lines
    if isinstance(error, UserError):
        return [joined(here, str(error), keys(kind, inside))]
    if what == "missing":
        return [f"{above and above + ': '}the key {last!r} is missing"]
    if what in ("unexpected_keyword_argument", "invalid_key"):
        return [str(unknown("key", last, keys(kind, inside[:-1]), above))]
    if what == "literal_error":
        return [str(unknown(last, mistake["input"], re.findall("'([^']*)'", mistake["ctx"]["expected"]), here))]
    if what == "dataclass_type":
        text = f"must be a mapping such as {{{', '.join(f'{key}: …' for key in keys(kind, inside)[:2])}}}"
    return [f"{here}{' ' if text.startswith('must') else ': '}{text}, not {short(mistake['input'])}"]


def written(place: str, inside: Place) -> str:
    """A place as written in messages: `methods[2].weights`."""
    for part in inside:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return place
