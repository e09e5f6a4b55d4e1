"""The output of `avil-ray list`: suites and methods with their options, taken from the code."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

from typing_extensions import Doc

from avil_ray.catalog import (
    INNER,
    METHODS,
    SUITES,
    build_method,
    load,
    method_class,
    method_options,
    settled_options,
    suite_factory,
    summary,
)
from avil_ray.config import option_names
from avil_ray.errors import UserError, unknown

CATALOGUES = {"suites": SUITES, "methods": METHODS}


def listing(what: str, name: str | None) -> Iterator[str]:
    """The lines of `avil-ray list WHAT [NAME]`; WHAT may also be a user's factory or method, "package.module:name".

    Raises
    ------
    UserError
        WHAT is neither suites nor methods, or a name is not in the catalogue.
    """
    if ":" in what and name is None:
        return _method(what) if inspect.isclass(load(what)) else _suite(suite_factory(what))
    if what not in CATALOGUES:
        raise unknown("list", what, CATALOGUES)
    names = CATALOGUES[what]
    if name is None:
        width = max(map(len, names))
        return (f"{one:{width}}  {summary(load(names[one]))}" for one in names)
    return _method(name) if what == "methods" else _suite(suite_factory(name))


def _method(name: str) -> Iterator[str]:
    cls = method_class(name)
    yield summary(cls) or "(it has no docstring)"
    yield f"source: {getattr(cls, 'source', 'not given')}"
    yield "options:"
    hints, values = get_type_hints(cls, include_extras=True), _defaults(name)
    for field in (field for field in dataclasses.fields(cls) if field.init):
        docs = [note.documentation for note in getattr(hints[field.name], "__metadata__", ()) if isinstance(note, Doc)]
        value = values.get(field.name)
        yield f"  {field.name}{'' if value is None else f' = {value}'}{': ' if docs else ''}{'; '.join(docs)}"
    if INNER in method_options(name):
        yield f"  {INNER} = {{}}: options of that method, such as {{learning_rate: 0.1}}; others keep their defaults"


def _defaults(name: str) -> dict[str, Any]:
    """A method's default options; for a method with required options, only those that have a default."""
    try:
        method = build_method(name, {})
    except UserError:
        fields = dataclasses.fields(method_class(name))
        return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    values = {field.name: getattr(method, field.name) for field in dataclasses.fields(method) if field.init}
    return {**values, **settled_options(method)}


def _suite(factory: Any) -> Iterator[str]:
    yield summary(factory) or "(it has no docstring)"
    yield "options:"
    described = _described(inspect.getdoc(factory) or "")
    for name in option_names(factory):
        parameter = inspect.signature(factory).parameters[name]
        default = "(required)" if parameter.default is parameter.empty else parameter.default
        about = described.get(name)
        yield f"  {name} = {default}{': ' + about if about else ''}"


def _described(docstring: str) -> dict[str, str]:
    """Parameter -> its description, from a NumPy-style docstring."""
    section = re.split(
        r"\n(?:Returns|Raises|Notes|Examples)\n-+\n", docstring.partition("Parameters\n----------\n")[2]
    )[0]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.split("\n"):
        if line and not line[0].isspace():
            names = [name.strip() for name in line.partition(":")[0].split(",")]
        elif line.strip():
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found
