"""From plain values (YAML, the command line) to typed options; every mistake becomes one clear line."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from avil_ray.errors import UserError, unknown

T = TypeVar("T")


def read_options(cls: type[T], options: Mapping[str, Any], where: str) -> T:
    """An options dataclass from plain values.

    Raises
    ------
    UserError
        For an unknown option (with the nearest right one), a wrong type, or a value that the class itself refuses.
    """
    names = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    hints = get_type_hints(cls, include_extras=True)
    return cls(**_checked({name: hints[name] for name in names}, options, where))


def call(function: Callable[..., T], options: Mapping[str, Any], where: str) -> T:
    """Call a factory with plain values, checked against its signature.

    Raises
    ------
    UserError
        As `read_options`, and for an argument that is missing.
    """
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        return function(**options)
    missing = [n for n, p in signature.parameters.items() if p.default is p.empty and n not in options]
    if missing:
        raise UserError(f"{where}: the argument {missing[0]!r} is missing")
    return function(**_checked({name: hints.get(name, Any) for name in signature.parameters}, options, where))


def _checked(types: Mapping[str, Any], options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options, each converted to its type."""
    checked = {}
    for name, value in options.items():
        if name not in types:
            raise unknown("option", name, types, where)
        try:
            adapter = TypeAdapter(types[name], config=_CONFIG if _configurable(types[name]) else None)
            checked[name] = adapter.validate_python(value)
        except ValidationError as error:
            raise UserError(f"{where}: {name}: {explain(error)}") from None
    return checked


_CONFIG = ConfigDict(arbitrary_types_allowed=True)


def _configurable(kind: Any) -> bool:
    """Pydantic refuses a configuration for types that bring their own."""
    return not (inspect.isclass(kind) and dataclasses.is_dataclass(kind))


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: where, what is right, what was given."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("function-", "tuple[", "list[")))
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("\n", " ")
    given = repr(first["input"])
    return f"{place + ': ' if place else ''}{message}, not {given if len(given) < 80 else given[:77] + '...'}"


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value` from the command line, the value read as YAML: `rounds=3`, `weights.right=0.5`, `tasks=[a, b]`.

    Raises
    ------
    UserError
        Where there is no `=`, or the value is not YAML.
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UserError(f"--set {text}: write it as key=value")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {key}: {value!r} is not a value that YAML can read") from None
