"""A YAML search space, read strictly; every mistake is one clear line: what, where, and what is allowed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PlainValidator, ValidationInfo

from avil_ray.catalog import build_suite, build_trial, learning_line
from avil_ray.config import short
from avil_ray.errors import UserError, unknown
from avil_ray.spaces import reading
from avil_ray.spaces.budget import REFERENCE, read_budget
from avil_ray.spaces.entries import Configuration, Entry, Search, TrialPlan, plan
from avil_ray.spaces.fields import NAME, STRICT, Rule, distinct, filled, keys, must, read, whole
from avil_ray.spaces.resources import Resources
from avil_ray.spaces.settings import apply
from avil_ray.spaces.work import require_groups
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task
from avil_ray.yaml_text import read_yaml

Settings = Sequence[tuple[str, Any]]


def _suite(specification: Any) -> Any:
    reading.read_suite(specification)
    return copy.deepcopy(specification)


def _entries(document: Any, info: ValidationInfo) -> tuple[Entry, ...]:
    """Read the entries, checked against the preceding fields as far as these are valid."""
    there = info.data
    suite = build_suite(there["suite"]) if "suite" in there else None
    return reading.read_entries(
        document, there.get("search", Search()), suite, there.get("learning", {}), there.get("rounds", 1)
    )


def _learning(document: Any, info: ValidationInfo) -> Any:
    """Check `learning` against the suite, whose own settings apply to what is not given."""
    reading.check_learning(document, build_suite(info.data["suite"]) if "suite" in info.data else None)
    return copy.deepcopy(document)


def _reference(label: Any, info: ValidationInfo) -> Any:
    labels = [entry.label for entry in info.data.get("entries", ())]
    if labels and label not in labels:
        raise unknown("label", label, labels)
    return label


MAPPING: Rule = ("must be a mapping such as {name: multimnist}", lambda value: isinstance(value, Mapping))
LEARNED: Rule = ("must be a mapping such as {batch_size: 16}", lambda value: isinstance(value, Mapping))


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The contents of the file: what a sweep compares."""

    __pydantic_config__ = STRICT

    name: Annotated[str, NAME]
    """The sweep's name, unless the command line gives another."""
    suite: Annotated[Mapping[str, Any], PlainValidator(_suite), must(MAPPING)]
    """The suite's specification, for `build_suite`."""
    learning: Annotated[Mapping[str, Any], PlainValidator(_learning), must(LEARNED)] = field(default_factory=dict)
    """Options of `Learning` that override the suite's own; free ones multiply every method's configurations."""
    rounds: Annotated[int, whole(1, 100_000)]
    steps_per_round: Annotated[int, whole(1, 10_000_000)]
    seeds: Annotated[
        tuple[Annotated[int, whole(0, 2**63 - 1)], ...],
        filled("seed such as [0, 1, 2]"),
        distinct("; give each seed once"),
    ]
    """Every configuration runs with each seed."""
    resources: Resources = field(default_factory=Resources)
    search: Search = field(default_factory=Search)
    entries: Annotated[tuple[Entry, ...], PlainValidator(_entries), filled("{method: …}"), Field(alias="methods")]
    """The methods, in the order of tables and figures."""
    reference: Annotated[str, PlainValidator(_reference)] = ""
    """The label of the method that the report compares all others with; by default the first."""
    budget: Annotated[int | Literal["reference"] | None, PlainValidator(read_budget)] = None
    """What each search may cost, in gradient steps over all seeds: a number, or as many as the reference takes. A grid
    still runs in full: the report then says what each kind of search would have found at that cost."""

    def __post_init__(self) -> None:
        if not self.reference:
            object.__setattr__(self, "reference", self.entries[0].label)


@dataclass(frozen=True, kw_only=True)
class SearchSpace(Contents):
    """A search space."""

    file: str = field(default="search space", compare=False)
    """The file's name in messages."""
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Everything as plain values, including settings."""

    def configurations(self) -> list[Configuration]:
        """Every configuration, in file order, except those that will be proposed (see `asked`)."""
        return [one for entry in self.entries for one in entry.configurations(self.search)]

    def trials(self) -> list[TrialPlan]:
        """Every configuration with every seed, in file order."""
        return [plan(configuration, seed) for configuration in self.configurations() for seed in self.seeds]

    def draw(self) -> Mapping[str, Task]:
        """Draw the suite's data for the first seed, as a check: some mistakes only show there.

        Raises
        ------
        UserError
            The data are not available, or are fewer than the options require.
        """
        try:
            suite = build_suite(self.suite)
            tasks = suite.draw(self.seeds[0])
            for _ in tasks.values():  # tasks drawn on access are checked then
                pass
        except UserError as error:
            raise UserError(f"{self.file}: {reading.suite_line(self.suite, str(error))}") from error
        if suite.learning.groups or "groups" in self.learning:
            self._require_groups(suite)
        return tasks

    def _require_groups(self, suite: Suite) -> None:
        """Raise `UserError` if a named parameter group does not exist in a model to be trained."""
        seen = set()
        for one in (one for entry in self.entries for one in entry.examples(self.search)):
            trained, method = build_trial(suite, one.method, one.options)
            names = (one.label, *trained.learning.groups)
            if names in seen:
                continue
            seen.add(names)
            try:
                require_groups(method.prepare(trained))
            except UserError as error:
                raise UserError(f"{self.file}: {learning_line(str(error))}") from error

    def dump(self) -> str:
        """The space as run, in YAML, including settings and defaults."""
        defaults = {"resources": self.resources.document(), "search": self.search.document()}
        settled = {**self.document, **defaults, "reference": self.reference}
        options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 110}
        return str(yaml.dump(settled, Dumper=_Dumper, **options))

    def require_same(self, stored: Path, called: str = "") -> None:
        """Raise `UserError`, with the first difference, if the space in the file `stored` defines other trials.

        Resources other than threads may differ, as may the reference and the file's comments and layout. `vectorize:
        auto` is compared by its decision. The message names the file by its path, or as `called`.
        """
        other, where = read_search_space(stored), called or stored
        if self.search.vectorize == "auto":
            other = replace(other, search=replace(other.search, vectorize="auto"))
        for name, now in self._settled().items():
            before = other._settled()[name]  # noqa: SLF001 (of another instance)
            if before != now:
                raise UserError(f"{where}: was run with {name} {before}, but this one has {now}; {_OTHERWISE}")
        for entry, earlier in zip(self.entries, other.entries, strict=True):
            if earlier != entry:
                raise UserError(f"{where}: was run with other options of {entry.label}; {_OTHERWISE}")

    def _settled(self) -> dict[str, Any]:
        """The settings that must match to resume a sweep, except the methods' options."""
        names = ("name", "suite", "learning", "rounds", "steps_per_round", "search")
        same = {name: getattr(self, name) for name in names}
        if self.search.algorithm != "grid":
            same["budget"] = f"as {self.reference} takes" if self.budget == REFERENCE else self.budget
        labels = [entry.label for entry in self.entries]
        return same | {"seeds": list(self.seeds), "threads": self.resources.threads, "methods": labels}


_OTHERWISE = "resume with the same search space, or give the sweep another --name"


class _Dumper(yaml.SafeDumper):
    """Writes short lists and mappings on one line, and repeated values without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def read_search_space(space: Mapping[str, Any] | PathLike[str] | str, settings: Settings = ()) -> SearchSpace:
    """A search space.

    Parameters
    ----------
    space
        The path of a YAML file, or its contents as plain values.
    settings
        `--set key=value` overrides, applied before anything is checked: `("rounds", 3)`,
        `("suite.target_labels", 100)`, `("methods.alpha-vil.alpha_steps", 5)` (entries are identified by label).

    Raises
    ------
    UserError
        The first mistake found.
    """
    read_one, found = _read(space, settings)
    if read_one is None:
        raise UserError(found[0])
    return read_one


def problems(path: Path | str, settings: Settings = (), *, data: bool = True) -> list[str]:
    """All mistakes in the file, one line each, in reading order; with `data`, the suite's data are also drawn."""
    space, found = _read(path, settings)
    if space is not None and data:
        try:
            space.draw()
        except UserError as error:
            found = [str(error)]
    return found


def _read(space: Mapping[str, Any] | PathLike[str] | str, settings: Settings) -> tuple[SearchSpace | None, list[str]]:
    """The space, or None and the mistakes."""
    name = "search space"
    try:
        if isinstance(space, Mapping):
            written = _as_yaml(space)
        elif isinstance(space, str | PathLike):
            name = Path(space).name
            written = _document(Path(space))
        else:
            raise UserError(f"a search space must be the path of a YAML file, or a mapping, not {short(space)}")
        document, places = apply(written, settings, Contents)
    except UserError as error:
        return None, [str(error)]
    contents, found = read(Contents, document)
    if contents is None:
        return None, list(dict.fromkeys(_told(name, line, places) for line in found))
    return SearchSpace(**vars(contents), file=name, document=document), []


def _as_yaml(space: Mapping[str, Any]) -> dict[str, Any]:
    """A search space from Python in the form read from a file: lists instead of tuples, and plain values only."""
    try:
        document: dict[str, Any] = read_yaml(yaml.dump(dict(space), Dumper=_Dumper), "search space")
    except (yaml.YAMLError, RecursionError) as error:
        reason = "it refers to itself" if isinstance(error, RecursionError) else " ".join(map(str, error.args))
        raise UserError(f"search space: must be plain values, as in YAML: {reason[:200]}") from None
    return document


def _document(path: Path) -> dict[str, Any]:
    """The single mapping in the file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except ValueError:
        raise UserError(f"{path.name}: not YAML: it is not UTF-8 text") from None
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise UserError(f"{path}: {'no such file' if missing else f'cannot be read: {error.strerror}'}") from None
    document = read_yaml(text, path.name)
    if document is None:
        optional = ("learning", "resources", "search", "reference", "budget")
        least = [key for key in keys(Contents) if key not in optional]
        raise UserError(f"{path.name}: is empty; a search space has at least {', '.join(least)}")
    if not isinstance(document, dict):
        raise UserError(f"{path.name}: must be a mapping such as {{name: …, suite: …}}, not {short(document)}")
    return document


def _told(file: str, line: str, places: Mapping[str, str]) -> str:
    """A line with its origin: the file, or the setting that introduced the wrong value."""
    for place, key in places.items():
        rest = line.removeprefix(place)
        if rest != line and not (rest[:1].isalnum() or rest[:1] in ("_", "-")):
            return f"--set {key}{rest}"
    return f"{file}: {line}"
