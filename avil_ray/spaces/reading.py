"""The parts of a search space, one function each: a part is read as far as it is right, each mistake is one line."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from avil_ray.catalog import METHODS, build_method, build_suite, find_factory, method_class
from avil_ray.config import flatten, nest, option_names, option_problems
from avil_ray.errors import UserError, unknown
from avil_ray.spaces.distributions import split
from avil_ray.spaces.entries import Entry, Search
from avil_ray.spaces.places import joined, require_keys, safe_name, short, whole
from avil_ray.spaces.settings import ENTRY, SEARCH, TOP
from avil_ray.tasks.suite import Suite

REQUIRED = ("name", "suite", "rounds", "steps_per_round", "seeds", "methods")
ALGORITHMS = ("grid", "random", "optuna")
SCHEDULERS = ("none", "asha")


def require_top(document: Mapping[str, Any], problems: list[str]) -> None:
    """Check the keys of the whole."""
    require_keys(document, "", TOP, problems, REQUIRED)


def read_numbers(document: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Name, rounds, steps per round and seeds."""
    readers = {
        "name": lambda value: safe_name("name", value),
        "rounds": lambda value: whole("rounds", value, 1),
        "steps_per_round": lambda value: whole("steps_per_round", value, 1),
        "seeds": _seeds,
    }
    found: dict[str, Any] = {}
    for key, read in readers.items():
        try:
            if key in document:
                found[key] = read(document[key])
        except UserError as error:
            problems.append(str(error))
    return found


def _seeds(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise UserError(f"seeds must be a list with at least one seed such as [0, 1, 2], not {short(value)}")
    for index, seed in enumerate(value):
        whole(f"seeds[{index}]", seed, 0)
        if seed in value[:index]:
            raise UserError(f"seeds: {seed} stands twice; give each seed once")
    return tuple(value)


def read_suite(specification: Any, problems: list[str]) -> Suite | None:
    """The suite; None where the specification is wrong."""
    if not isinstance(specification, Mapping):
        problems.append(f"suite must be a mapping such as {{name: multimnist}}, not {short(specification)}")
        return None
    try:
        return build_suite(specification)
    except UserError as error:
        problems.append(suite_line(specification, str(error)))
        return None


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


def read_search(document: Any, problems: list[str]) -> Search:
    """How options are searched; the defaults stand in for what is wrong."""
    found = Search()
    if not require_keys(document, "search", SEARCH, problems):
        return found
    algorithm, scheduler = document.get("algorithm", "grid"), document.get("scheduler", "none")
    trials = document.get("trials")
    try:
        if algorithm not in ALGORITHMS:
            raise unknown("algorithm", algorithm, ALGORITHMS, "search.algorithm")
        if algorithm == "optuna" and find_spec("optuna") is None:
            raise UserError("search.algorithm: optuna is not installed; run: pip install 'avil-ray[optuna]'")
        if scheduler not in SCHEDULERS:
            raise unknown("scheduler", scheduler, SCHEDULERS, "search.scheduler")
        if "trials" in document:
            whole("search.trials", trials, 1)
            if algorithm == "grid":
                raise UserError(
                    "search.trials: a grid runs every combination; leave trials out, or use random or optuna"
                )
    except UserError as error:
        problems.append(str(error))
        return found
    return Search(algorithm, scheduler, trials)


def read_entries(document: Any, problems: list[str]) -> list[Entry]:
    """The entries whose method, label and samples are right."""
    if not isinstance(document, list) or not document:
        problems.append(f"methods must be a list with at least one {{method: …}}, not {short(document)}")
        return []
    entries: list[Entry] = []
    places: dict[str, str] = {}
    for index, item in enumerate(document):
        entry = _entry(item, f"methods[{index}]", problems)
        if entry is None:
            continue
        earlier = places.setdefault(entry.label.lower(), entry.place)  # some file systems know no capitals
        if earlier != entry.place:
            problems.append(
                f"{entry.place}: the label {entry.label!r} stands at {earlier} too; "
                "label: needed where one method stands twice"
            )
        entries.append(entry)
    return entries


def _entry(document: Any, place: str, problems: list[str]) -> Entry | None:
    if not isinstance(document, Mapping):
        problems.append(f"{place} must be a mapping such as {{method: equal}}, not {short(document)}")
        return None
    method = document.get("method")
    if not isinstance(method, str) or method not in METHODS:
        if "method" in document:
            problems.append(str(unknown("method", method, METHODS, place)))
        else:
            misspelt = next((str(key) for key in document if difflib.get_close_matches(str(key), ["method"])), None)
            line = f"{place}: the key 'method' is missing"
            problems.append(str(unknown("key", misspelt, ["method"], place)) if misspelt else line)
        return None
    known = option_names(method_class(method))
    wrong = [str(unknown("option", key, (*known, *ENTRY), place)) for key in document if key not in (*known, *ENTRY)]
    options = {key: value for key, value in document.items() if key in known}
    fixed, free, mistakes = split(options, place)
    problems += [*wrong, *mistakes]
    try:
        label = safe_name(f"{place}.label", document.get("label", method))
        samples = whole(f"{place}.samples", document["samples"], 1) if "samples" in document else None
    except UserError as error:
        problems.append(str(error))
        return None
    return None if mistakes else Entry(label, method, fixed, free, samples, place)


def entry_problems(entry: Entry, search: Search, suite: Suite | None) -> list[str]:
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
    names = option_names(method_class(entry.method))
    return [joined(entry.place, line, names) for line in told.values()]


def _configuration_problems(entry: Entry, point: Mapping[str, Any], suite: Suite | None) -> list[str]:
    try:
        options = nest({**flatten(entry.fixed), **point})
    except UserError as error:
        return [str(error)]
    found = option_problems(method_class(entry.method), options)
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
