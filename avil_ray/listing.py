"""What `avil-ray list` prints: suites and methods with their options, from the code itself."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

from typing_extensions import Doc

from avil_ray.catalog import INNER, METHODS, SUITES, load, method_name, method_options, settled_options, summary
from avil_ray.errors import unknown

CATALOGUES = {"suites": SUITES, "methods": METHODS}


def listing(what: str, name: str | None) -> Iterator[str]:
    """The lines of `avil-ray list WHAT [NAME]`.

    Raises
    ------
    UserError
        For another word than suites or methods, or a name that is not in the catalogue.
    """
    if what not in CATALOGUES:
        raise unknown("list", what, CATALOGUES)
    names = CATALOGUES[what]
    if name is None:
        width = max(map(len, names))
        return (f"{one:{width}}  {summary(load(names[one]))}" for one in names)
    if name not in names:
        raise unknown(what.removesuffix("s"), name, names)
    described = load(names[name])
    return _method(described) if what == "methods" else _suite(described)


def _method(cls: Any) -> Iterator[str]:
    yield summary(cls)
    yield f"source: {cls.source}"
    yield "options:"
    hints, method = get_type_hints(cls, include_extras=True), cls()
    values = settled_options(method)
    for field in (field for field in dataclasses.fields(cls) if field.init):
        docs = [note.documentation for note in getattr(hints[field.name], "__metadata__", ()) if isinstance(note, Doc)]
        value = values.get(field.name, getattr(method, field.name))
        yield f"  {field.name}{'' if value is None else f' = {value}'}: {'; '.join(docs)}"
    if INNER in method_options(method_name(method)):
        yield f"  {INNER} = {{}}: options of that method, such as {{learning_rate: 0.1}}; those left out are its own"


def _suite(factory: Any) -> Iterator[str]:
    yield summary(factory)
    yield "options:"
    described = _described(inspect.getdoc(factory) or "")
    for name, parameter in inspect.signature(factory).parameters.items():
        default = "(required)" if parameter.default is parameter.empty else parameter.default
        yield f"  {name} = {default}: {described.get(name, '')}"


def _described(docstring: str) -> dict[str, str]:
    """Parameter -> its description, from a NumPy docstring."""
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
