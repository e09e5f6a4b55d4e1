"""Reads the suite and the methods of a search space from plain values; every mistake becomes one line."""

from __future__ import annotations

import difflib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from avil_ray.catalog import (
    LEARNING,
    build_suite,
    build_trial,
    find_factory,
    label_of,
    learned,
    learning_apart,
    learning_line,
    method_options,
    method_problems,
)
from avil_ray.config import argument_problems, flatten, nest, option_names, short
from avil_ray.errors import UserError, one_line, unknown
from avil_ray.spaces.distributions import Distribution, split
from avil_ray.spaces.entries import Entry, Search
from avil_ray.spaces.fields import Mistakes, joined, read
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.training import require_no_patience

ENTRY = ("method", "label", "samples")
"""The keys of an entry other than its method's options."""

MOST_TRIED = 1000
"""The number of combinations of `learning` that are checked; other invalid combinations show in their trial."""


def read_suite(specification: Mapping[str, Any]) -> Suite:
    """The suite; raises `Mistakes` if the specification is wrong."""
    options = {key: value for key, value in specification.items() if key not in ("name", "factory")}
    try:
        found = argument_problems(find_factory(specification)[0], options)
        if not found:
            return build_suite(specification)
    except UserError as error:
        found = [str(error)]
    raise Mistakes([suite_line(specification, line) for line in found])


def suite_line(specification: Mapping[str, Any], text: str) -> str:
    """A message of a suite or its factory, with its place in the file: `suite.size must be …`."""
    name, factory = specification.get("name", ""), specification.get("factory", "")
    for call in ("suite: ", f"suite {name}: ", f"suite {name!r}: ", f"{name}: ", f"suite factory {factory}: "):
        text = text.removeprefix(call)
    try:
        names = option_names(find_factory(specification)[0])
    except UserError:
        names = ("name", "factory")
    return joined("suite", text, names)


def check_learning(document: Mapping[str, Any], suite: Suite | None) -> None:
    """Raise `Mistakes` if an option of `learning` is unknown or wrong, given the suite's other settings."""
    names = option_names(Learning)
    lines = [str(unknown("option", key, names, LEARNING)) for key in document if key not in names]
    fixed, free, mistakes = split(document, LEARNING)
    if suite is not None and not lines and not mistakes:
        for point in _points(free):
            try:
                learned(suite, {**flatten(fixed), **flatten(point)})
            except UserError as error:
                lines.append(str(error))
    if lines or mistakes:
        raise Mistakes(list(dict.fromkeys([*lines, *mistakes])))


def _points(free: Mapping[str, Distribution]) -> Iterator[dict[str, Any]]:
    """Every combination of values (of ranges, the bounds); if too many, the first ones and each value once."""
    values = [one.values for one in free.values()]
    for combination in itertools.islice(itertools.product(*values), MOST_TRIED):
        yield dict(zip(free, combination, strict=True))
    if math.prod(map(len, values)) > MOST_TRIED:
        yield from ({key: value} for key, one in free.items() for value in one.values)


def read_entries(
    document: list[Any], search: Search, suite: Suite | None, learning: Mapping[str, Any], rounds: int
) -> tuple[Entry, ...]:
    """The entries, checked against the suite if there is one; raises `Mistakes` if one is wrong.

    The options of `learning` are added to every entry's own.
    """
    entries: list[Entry] = []
    lines: list[str] = []
    places: dict[str, str] = {}
    for index, item in enumerate(document):
        entry, mistakes = _entry(item, f"methods[{index}]", learning)
        lines += mistakes
        if entry is None:
            continue
        earlier = places.setdefault(entry.label.lower(), entry.place)  # some file systems ignore case
        if earlier != entry.place:
            lines.append(
                f"{entry.place}: the label {entry.label!r} is also that of {earlier}; "
                "entries of the same method need different labels"
            )
        lines += _entry_problems(entry, search, suite, rounds)
        entries.append(entry)
    if lines:
        raise Mistakes(lines)
    return tuple(entries)


def _entry(document: Any, place: str, learning: Mapping[str, Any]) -> tuple[Entry | None, list[str]]:
    """The entry if its method, label, samples and distributions are valid; a line for each mistake in its keys."""
    if not isinstance(document, Mapping):
        return None, [f"{place} must be a mapping such as {{method: equal}}, not {short(document)}"]
    if "method" not in document:
        misspelt = next((str(key) for key in document if difflib.get_close_matches(str(key), ["method"])), None)
        line = f"{place}: the key 'method' is missing"
        return None, [str(unknown("key", misspelt, ["method"], place)) if misspelt else line]
    method = document["method"]
    try:
        options = method_options(method)
    except UserError as error:
        return None, [f"{place}: {error}"]
    wrong = [
        str(unknown("option", key, (*options, *ENTRY), place)) for key in document if key not in (*options, *ENTRY)
    ]
    fixed, free, mistakes = split({key: value for key, value in document.items() if key in options}, place)
    beside = {"label": label_of(method)} | {key: value for key, value in document.items() if key in ENTRY}
    shared, shared_free = _shared(fixed, free, learning)
    given = {"fixed": {**fixed, **shared}, "free": {**free, **shared_free}, "place": place}
    entry, lines = read(Entry, {**beside, **given}, place)
    return None if mistakes else entry, [*wrong, *mistakes, *lines]


def _shared(
    fixed: Mapping[str, Any], free: Mapping[str, Distribution], learning: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Distribution]]:
    """What `learning` adds to an entry; not its learning rate if the method always sets its own."""
    own = free["learning_rate"].values if "learning_rate" in free else [fixed.get("learning_rate")]
    kept = {key: value for key, value in learning.items() if key != "learning_rate" or None in own}
    shared, shared_free, _ = split(kept, LEARNING)
    prefixed = {f"{LEARNING}.{key}": one for key, one in shared_free.items()}
    return ({LEARNING: shared} if shared else {}), prefixed


def _entry_problems(entry: Entry, search: Search, suite: Suite | None, rounds: int) -> list[str]:
    """The mistakes in an entry's configurations: each is built and, if there is a suite, checked against it."""
    try:
        entry.count(search)
    except UserError as error:
        return [str(error)]
    points = list(entry.points(search))
    if entry.asked(search):  # any value within the bounds may be proposed
        points += [{key: one.values[end] for key, one in entry.free.items()} for end in (0, -1)]
    lines = [_configuration_problems(entry, point, suite, rounds) for point in points]
    often = Counter(line for found in lines for line in found)
    told: dict[str, str] = {}
    for point, found in zip(points, lines, strict=True):
        for line in found:
            told.setdefault(line, _with_point(line, point) if often[line] < len(points) else line)
    names = method_options(entry.method)
    return [
        line if line.startswith(f"{LEARNING}.") else joined(entry.place, line, names)
        for line in list(told.values()) or _same_values(entry)
    ]


def _configuration_problems(entry: Entry, point: Mapping[str, Any], suite: Suite | None, rounds: int) -> list[str]:
    of_method, of_learning = learning_apart({**flatten(entry.fixed), **point})
    try:
        options = nest(of_method)
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
        suite, method = build_trial(suite, entry.method, {**of_method, LEARNING: of_learning})
        with one_line("it failed"):  # a class of the user's may raise anything
            method.check(suite)
        require_no_patience(suite, method)
    except UserError as error:
        line = str(error)
        return [f"{learning_line(line)} ({entry.place})" if line.startswith(f"{LEARNING}: ") else line]
    return []


def _with_point(line: str, point: Mapping[str, Any]) -> str:
    """The line, with the values that it refers to unless it names them itself."""
    if any(line.startswith(f"{key} ") for key in point):
        return line
    return f"{line} (where {', '.join(f'{key} = {value}' for key, value in point.items())})"


def _same_values(entry: Entry) -> list[str]:
    """A line for each value of a grid or choice that the method reads as equal to another, such as 1 and '1'."""
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
