"""The suite and the methods of a search space, read from plain values: everything that is wrong becomes one line."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from avil_ray.catalog import METHODS, build_method, build_suite, find_factory, method_options, method_problems
from avil_ray.config import argument_problems, flatten, nest, option_names, short
from avil_ray.errors import UserError, unknown
from avil_ray.spaces.distributions import split
from avil_ray.spaces.entries import Entry, Search
from avil_ray.spaces.fields import Mistakes, joined, read
from avil_ray.tasks.suite import Suite

ENTRY = ("method", "label", "samples")
"""What an entry says beside its method's options."""


def read_suite(specification: Mapping[str, Any]) -> Suite:
    """The suite; raises `Mistakes` where the specification is wrong."""
    options = {key: value for key, value in specification.items() if key not in ("name", "factory")}
    try:
        found = argument_problems(find_factory(specification)[0], options)
        if not found:
            return build_suite(specification)
    except UserError as error:
        found = [str(error)]
    raise Mistakes([suite_line(specification, line) for line in found])


def suite_line(specification: Mapping[str, Any], text: str) -> str:
    """What a suite or its factory says, at its place in the file: `suite.size must be …`."""
    name, factory = specification.get("name", ""), specification.get("factory", "")
    for call in ("suite: ", f"suite {name}: ", f"suite {name!r}: ", f"{name}: ", f"suite factory {factory}: "):
        text = text.removeprefix(call)
    try:
        names = option_names(find_factory(specification)[0])
    except UserError:
        names = ("name", "factory")
    return joined("suite", text, names)


def read_entries(document: list[Any], search: Search, suite: Suite | None) -> tuple[Entry, ...]:
    """The entries, checked against the suite where there is one; raises `Mistakes` where one is wrong."""
    entries: list[Entry] = []
    lines: list[str] = []
    places: dict[str, str] = {}
    for index, item in enumerate(document):
        entry, mistakes = _entry(item, f"methods[{index}]")
        lines += mistakes
        if entry is None:
            continue
        earlier = places.setdefault(entry.label.lower(), entry.place)  # some file systems know no capitals
        if earlier != entry.place:
            lines.append(
                f"{entry.place}: the label {entry.label!r} is that of {earlier} too; "
                "give each a label of its own where one method is given twice"
            )
        lines += _entry_problems(entry, search, suite)
        entries.append(entry)
    if lines:
        raise Mistakes(lines)
    return tuple(entries)


def _entry(document: Any, place: str) -> tuple[Entry | None, list[str]]:
    """The entry where its method, label, samples and distributions are right; a line for each mistake in its keys."""
    if not isinstance(document, Mapping):
        return None, [f"{place} must be a mapping such as {{method: equal}}, not {short(document)}"]
    if "method" not in document:
        misspelt = next((str(key) for key in document if difflib.get_close_matches(str(key), ["method"])), None)
        line = f"{place}: the key 'method' is missing"
        return None, [str(unknown("key", misspelt, ["method"], place)) if misspelt else line]
    method = document["method"]
    if not isinstance(method, str) or method not in METHODS:
        return None, [str(unknown("method", method, METHODS, place))]
    options = method_options(method)
    wrong = [
        str(unknown("option", key, (*options, *ENTRY), place)) for key in document if key not in (*options, *ENTRY)
    ]
    fixed, free, mistakes = split({key: value for key, value in document.items() if key in options}, place)
    beside = {"label": method} | {key: value for key, value in document.items() if key in ENTRY}
    entry, lines = read(Entry, {**beside, "fixed": fixed, "free": free, "place": place}, place)
    return None if mistakes else entry, [*wrong, *mistakes, *lines]


def _entry_problems(entry: Entry, search: Search, suite: Suite | None) -> list[str]:
    """What is wrong with an entry's configurations: each is built and, where there is a suite, checked against it."""
    try:
        entry.count(search)
    except UserError as error:
        return [str(error)]
    points = list(entry.points(search))
    if entry.asked(search):  # Optuna may propose anything between the bounds
        points += [{key: one.values[end] for key, one in entry.free.items()} for end in (0, -1)]
    lines = [_configuration_problems(entry, point, suite) for point in points]
    often = Counter(line for found in lines for line in found)
    told: dict[str, str] = {}
    for point, found in zip(points, lines, strict=True):
        for line in found:
            told.setdefault(line, _with_point(line, point) if often[line] < len(points) else line)
    names = method_options(entry.method)
    return [joined(entry.place, line, names) for line in list(told.values()) or _same_values(entry)]


def _configuration_problems(entry: Entry, point: Mapping[str, Any], suite: Suite | None) -> list[str]:
    try:
        options = nest({**flatten(entry.fixed), **point})
    except UserError as error:
        return [str(error)]
    found = method_problems(entry.method, options)
    for key, one in entry.free.items():
        if one.continuous:
            hint = "; draw whole numbers with choice"
            found = [line + hint if line.startswith(f"{key} should be a whole number") else line for line in found]
    if found or suite is None:
        return found
    try:
        build_method(entry.method, options).check(suite)
    except UserError as error:
        return [str(error)]
    return []


def _with_point(line: str, point: Mapping[str, Any]) -> str:
    """The line, with the values it holds for where it does not tell them itself."""
    if any(line.startswith(f"{key} ") for key in point):
        return line
    return f"{line} (where {', '.join(f'{key} = {value}' for key, value in point.items())})"


def _same_values(entry: Entry) -> list[str]:
    """A line for each value of a grid or choice that the method reads as another one of them, as 1 and '1' may be."""
    found = []
    first = {key: one.values[0] for key, one in entry.free.items()}
    for key, one in entry.free.items():
        settled: list[dict[str, Any]] = []
        for value in one.values if not one.continuous else ():
            options = entry.configuration(0, {**first, key: value}).options
            if options in settled:
                earlier = one.values[settled.index(options)]
                found.append(f"{key}.{one.kind}: {short(earlier)} and {short(value)} mean the same")
            settled.append(options)
    return found
