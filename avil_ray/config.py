"""Converts plain values (from YAML or the command line) to typed options; every mistake becomes one clear line."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from avil_ray.errors import UserError, unknown
from avil_ray.yaml_text import read_yaml

T = TypeVar("T")


def read_options(cls: type[T], options: Mapping[str, Any], where: str) -> T:
    """Build an options dataclass from plain values; keys may be dotted (`weights.right`).

    Raises
    ------
    UserError
        An option is unknown (the nearest one is suggested), has the wrong type, or is rejected by the class.
    """
    checked, problems = _fields_read(cls, options, where)
    if problems:
        raise UserError(said(where, problems[0]))
    try:
        return cls(**checked)
    except UserError as error:
        raise UserError(said(where, str(error))) from None


def option_problems(cls: type, options: Mapping[str, Any]) -> list[str]:
    """All mistakes in the options, one line each, whereas `read_options` stops at the first."""
    try:
        _, problems = _fields_read(cls, options, "")
        if not problems:
            read_options(cls, options, "")
    except UserError as error:
        problems = [str(error)]
    return problems


def _fields_read(cls: type[Any], options: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """The valid options, each converted to its type, and a line for each that is wrong or missing."""
    given, empty = nest(options, where), dataclasses.MISSING
    checked, problems = _checked(_field_types(cls), given)
    needed = [one.name for one in dataclasses.fields(cls) if one.init and one.default is one.default_factory is empty]
    return checked, [*problems, *(f"the option {name!r} is missing" for name in needed if name not in given)]


def option_names(described: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a dataclass's options or a function's arguments."""
    if inspect.isclass(described) and dataclasses.is_dataclass(described):
        return tuple(_field_types(described))
    return tuple(_argument_types(described))


def call(function: Callable[..., T], options: Mapping[str, Any], where: str) -> T:
    """Call a factory with plain values, checked against its signature; keys may be dotted.

    A factory with `**more` receives other arguments unchanged.

    Raises
    ------
    UserError
        As `read_options`, or an argument is missing. Exceptions of the factory itself propagate.
    """
    checked, problems = _arguments(function, options, where)
    if problems:
        raise UserError(said(where, problems[0]))
    return function(**checked)


def argument_problems(function: Callable[..., Any], options: Mapping[str, Any]) -> list[str]:
    """All mistakes in the arguments, one line each, whereas `call` stops at the first."""
    return _arguments(function, options, "")[1]


def _arguments(
    function: Callable[..., Any], options: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], list[str]]:
    """The valid arguments, each converted to its type, and a line for each that is wrong or missing."""
    signature, types = _parameters(function), _argument_types(function)
    given = nest(options, where)
    takes_more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values())
    more = {name: value for name, value in given.items() if takes_more and name not in types}
    checked, problems = _checked(types, {name: value for name, value in given.items() if name not in more})
    missing = [name for name in types if signature[name].default is inspect.Parameter.empty and name not in given]
    return {**checked, **more}, [*problems, *(f"the argument {name!r} is missing" for name in missing)]


def said(where: str, text: str) -> str:
    """`where: text`, or just the text if `where` is empty."""
    return f"{where}: {text}" if where else text


def nest(options: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """`{"weights.right": 1}` -> `{"weights": {"right": 1}}`; the inverse of `flatten`.

    Raises
    ------
    UserError
        A key is not a string, appears both on its own and with parts, or has an empty part.
    """
    nested: dict[str, Any] = {}
    for key, value in options.items():
        if not isinstance(key, str) or "" in key.split("."):
            raise UserError(said(where, f"an option's name must be text, not {key!r}"))
        *above, last = key.split(".")
        inner = nested
        for part in above:
            found = inner.setdefault(part, {})
            if not isinstance(found, Mapping):
                raise UserError(said(where, f"{key}: {part} is already {found!r}; set it or its parts"))
            inner[part] = inner = dict(found)
        if isinstance(value, Mapping) and isinstance(inner.get(last), Mapping):
            value = {**inner[last], **value}
        inner[last] = value
    return nested


def flatten(options: Mapping[str, Any]) -> dict[str, Any]:
    """`{"weights": {"right": 1}}` -> `{"weights.right": 1}`. An empty mapping is kept."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            flat.update({f"{key}.{inner}": item for inner, item in flatten(value).items()})
        else:
            flat[str(key)] = value
    return flat


def _field_types(cls: type[Any]) -> dict[str, Any]:
    hints = _kept_hints(cast(Hashable, cls))
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


@cache
def _kept_hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _argument_types(function: Callable[..., Any]) -> dict[str, Any]:
    """The arguments that may be given by name, and their types: Any if an annotation cannot be read."""
    try:
        hints = get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)
    except Exception:  # noqa: BLE001 (names imported only for type checking, objects without annotations, any string)
        hints = {}
    named = [p.name for p in _parameters(function).values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {name: hints.get(name, Any) for name in named}


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function; none if Python cannot determine them, as for some written in C."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _checked(types: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The valid options, each converted to its type, and a line for each that is wrong."""
    checked, problems = {}, []
    for name, value in options.items():
        if name not in types:
            problems.append(str(unknown("option", name, types)))
            continue
        try:
            read = _adapter(types[name]).validate_python(value)
        except ValidationError as error:
            problems.append(explain(error, name))
            continue
        misread = _truth_as_number(value, read, name)
        if misread:
            problems.append(misread)
        checked[name] = read
    return checked, problems


def _adapter(kind: Any) -> TypeAdapter[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return _kept_adapter(kind)
        except TypeError:  # an unhashable annotation
            return _new_adapter(kind)
        except (PydanticUserError, UserWarning):  # an annotation that is not a type: nothing to check
            return TypeAdapter(Any)


def _new_adapter(kind: Any) -> TypeAdapter[Any]:
    # Pydantic rejects a configuration for types that have their own
    brings_own = inspect.isclass(kind) and dataclasses.is_dataclass(kind)
    return TypeAdapter(kind, config=None if brings_own else ConfigDict(arbitrary_types_allowed=True))


_kept_adapter = cache(_new_adapter)


def _truth_as_number(value: Any, read: Any, place: str) -> str | None:
    """A line if `true` was read as the number 1, to which Python and pydantic convert it; otherwise None."""
    if isinstance(value, bool) and isinstance(read, int | float) and not isinstance(read, bool):
        return f"{place} should be a number, not {value!r}"
    pairs: list[tuple[Any, Any, str]] = []
    if isinstance(value, Mapping) and isinstance(read, Mapping):
        pairs = [(value[key], read[key], f"{place}.{key}") for key in value if key in read]
    elif isinstance(value, list | tuple) and isinstance(read, list | tuple):
        pairs = [(*pair, f"{place}[{index}]") for index, pair in enumerate(zip(value, read, strict=False))]
    return next((line for line in (_truth_as_number(*pair) for pair in pairs) if line), None)


_WORDS = {
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a word",
    "dict_type": "a mapping such as {name: value}",
    "mapping_type": "a mapping such as {name: value}",
    "list_type": "a list such as [a, b]",
    "tuple_type": "a list such as [a, b]",
    "sequence_str": "a list such as [a, b]",
}
"""Pydantic's error types -> what was expected, in YAML's terms rather than Python's."""


def explain(error: ValidationError, name: str = "") -> str:
    """The first mistake, in one line: where, what is allowed, and what was given."""
    first, *others = error.errors(include_url=False)
    place, inside = name, [part for part in first["loc"] if not str(part).startswith(("function-", "tuple[", "list["))]
    should = _should(first)
    if others and first["loc"] == ("str",):  # `str | …`: the innermost error is the most specific
        deepest = max(others, key=lambda other: len(other["loc"]))
        inside = list(deepest["loc"][1:])
        either = [should, *(_should(other).removeprefix("should be ") for other in others)]
        first, should = (deepest, _should(deepest)) if inside else (first, " or ".join(either))
    if inside and inside[-1] == "[key]":
        return f"{place or 'input'} should have text as keys, not {first['input']!r}"
    if first["type"] == "missing" and inside and isinstance(inside[-1], int):
        inside = inside[:-1]
    for part in inside:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    return f"{place or 'input'} {should}, not {short(first['input'])}"


def short(value: Any) -> str:
    """A value in one line, shortened."""
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


def _should(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _WORDS:
        return f"should be {_WORDS[kind]}"
    if kind == "is_instance_of":
        return f"should be {_WORDS['list_type'] if context['class'] == 'Sequence' else 'of type ' + context['class']}"
    if kind == "too_long":
        return f"should have {context['max_length']} items at most"
    if kind == "missing":
        return f"has too few items: item {int(error['loc'][-1]) + 1} is missing"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("\n", " ")
    return message[:1].lower() + message[1:]


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value` from the command line, the value read as YAML: `rounds=3`, `weights.right=0.5`, `tasks=[a, b]`.

    Raises
    ------
    UserError
        There is no `=` or no key, or the value is not YAML.
    """
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator or not key or not key.isprintable():
        raise UserError(f"--set {text if text.isprintable() else short(text)}: write it as key=value")
    return key, read_yaml(value, f"--set {key}")
