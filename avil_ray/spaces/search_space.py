"""A YAML search space: read strictly, every mistake one clear line that says what, where, and what would be right."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from avil_ray.catalog import build_suite
from avil_ray.errors import UserError
from avil_ray.spaces import reading
from avil_ray.spaces.entries import Configuration, Entry, Search, TrialPlan, plan
from avil_ray.spaces.places import short
from avil_ray.spaces.resources import Resources, read_resources
from avil_ray.spaces.settings import apply
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task
from avil_ray.yaml_text import read_yaml

Settings = Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class SearchSpace:
    """What a sweep compares.

    Attributes
    ----------
    name
        The sweep's own name unless the command line gives another.
    suite
        The suite's specification: `build_suite` makes a suite of it.
    rounds, steps_per_round
        The length of every run.
    seeds
        Every configuration runs with each of them.
    resources
        What trials may occupy.
    entries
        The methods, in the order of tables and figures.
    search
        How free options are searched.
    file
        What messages call the file.
    document
        The whole as plain values, settings included.
    """

    name: str
    suite: Mapping[str, Any]
    rounds: int
    steps_per_round: int
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]
    resources: Resources = field(default_factory=Resources)
    search: Search = field(default_factory=Search)
    file: str = field(default="search space", compare=False)
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def configurations(self) -> list[Configuration]:
        """Every configuration, in file order; those that Optuna will propose are not among them (see `asked`)."""
        return [one for entry in self.entries for one in entry.configurations(self.search)]

    def trials(self) -> list[TrialPlan]:
        """Every configuration with every seed, in file order."""
        return [plan(configuration, seed) for configuration in self.configurations() for seed in self.seeds]

    def asked(self) -> list[Entry]:
        """The entries whose configurations Optuna proposes, in the space `entry.free`; see `entry.configuration`."""
        return [entry for entry in self.entries if entry.asked(self.search)]

    def draw(self) -> dict[str, Task]:
        """The suite's data for the first seed, as a check before anything runs: some mistakes show only there.

        Raises
        ------
        UserError
            Where the data cannot be had, or are less than the options ask for.
        """
        try:
            return build_suite(self.suite).draw(self.seeds[0])
        except UserError as error:
            raise UserError(f"{self.file}: {reading.suite_line(self.suite, str(error))}") from error

    def dump(self) -> str:
        """The space as run, in YAML, settings and defaults included."""
        defaults = {"resources": self.resources.document(), "search": self.search.document()}
        document = {**self.document, **defaults}
        return yaml.dump(
            document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
        )

    def require_same(self, stored: Path) -> None:
        """Raise `UserError`, with the first difference, where the space in the file `stored` gives other trials.

        Resources other than threads may differ, and so may the file's comments and layout.
        """
        other = read_search_space(stored)
        for name in ("name", "suite", "rounds", "steps_per_round", "seeds", "search"):
            before, now = getattr(other, name), getattr(self, name)
            if before != now:
                raise UserError(f"{stored}: was run with {name} {_shown(before)}, asked is {_shown(now)}; {_OTHERWISE}")
        if other.resources.threads != self.resources.threads:
            threads = f"threads {other.resources.threads}, asked is {self.resources.threads}"
            raise UserError(f"{stored}: was run with {threads}; {_OTHERWISE}")
        before_labels, labels = ([entry.label for entry in space.entries] for space in (other, self))
        if before_labels != labels:
            raise UserError(
                f"{stored}: was run with methods {_shown(before_labels)}, asked is {_shown(labels)}; {_OTHERWISE}"
            )
        for before, now in zip(other.entries, self.entries, strict=True):
            if before != now:
                raise UserError(f"{stored}: was run with other options of {now.label}; {_OTHERWISE}")


_OTHERWISE = "resume with the same search space, or give the sweep another --name"


def _shown(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)


class _Dumper(yaml.SafeDumper):
    """Short lists and mappings in one line each, and no anchors: what stands twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def read_search_space(path: Path | str, settings: Settings = ()) -> SearchSpace:
    """The search space in a YAML file.

    Parameters
    ----------
    settings
        `--set key=value` overrides, applied before anything is checked: `("rounds", 3)`,
        `("suite.target_labels", 100)`, `("methods.alpha-vil.alpha_steps", 5)` (an entry is named by its label).

    Raises
    ------
    UserError
        The first mistake found.
    """
    space, found = _read(Path(path), settings)
    if space is None:
        raise UserError(found[0])
    return space


def problems(path: Path | str, settings: Settings = (), *, data: bool = True) -> list[str]:
    """Every mistake in the file, a line each, in the order of reading; with `data`, the suite's data are drawn too."""
    space, found = _read(Path(path), settings)
    if space is not None and data:
        try:
            space.draw()
        except UserError as error:
            found = [str(error)]
    return found


def _read(path: Path, settings: Settings) -> tuple[SearchSpace | None, list[str]]:
    """The space, or None and what is wrong."""
    try:
        document, places = apply(_document(path), settings)
    except UserError as error:
        return None, [str(error)]
    found: list[str] = []
    parts = _parts(document, found)
    if found:
        return None, list(dict.fromkeys(_told(path.name, line, places) for line in found))
    return SearchSpace(**parts, file=path.name, document=document), []


def _document(path: Path) -> dict[str, Any]:
    """The file's one mapping."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path.name}: not YAML: it is no UTF-8 text") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    document = read_yaml(text, path.name)
    if document is None:
        raise UserError(f"{path.name}: is empty; a search space has at least {', '.join(reading.REQUIRED)}")
    if not isinstance(document, dict):
        raise UserError(f"{path.name}: must be a mapping such as {{name: …, suite: …}}, not {short(document)}")
    return document


def _parts(document: Mapping[str, Any], found: list[str]) -> dict[str, Any]:
    """The fields of a `SearchSpace`, as far as they are right; the rest is told in `found`."""
    reading.require_top(document, found)
    parts = reading.read_numbers(document, found)
    suite: Suite | None = None
    if "suite" in document:
        parts["suite"] = copy.deepcopy(document["suite"])
        suite = reading.read_suite(document["suite"], found)
    if "resources" in document:
        parts["resources"] = read_resources(document["resources"], found)
    if "search" in document:
        parts["search"] = reading.read_search(document["search"], found)
    if "methods" in document:
        entries = reading.read_entries(document["methods"], found)
        parts["entries"] = tuple(entries)
        for entry in entries:
            found += reading.entry_problems(entry, parts.get("search", Search()), suite)
    return parts


def _told(file: str, line: str, places: Mapping[str, str]) -> str:
    """A line with its origin: the file, or the setting that put the wrong value there."""
    for place, key in places.items():
        rest = line.removeprefix(place)
        if rest != line and not rest[0].isalnum() and rest[0] not in "_-":
            return f"--set {key}{rest}"
    return f"{file}: {line}"
