"""The methods of a search space: entries, the configurations they expand to, and their trials."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from math import prod
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from avil_ray.catalog import LEARNING, build_method, learning_apart, settled_options
from avil_ray.config import flatten
from avil_ray.errors import UserError
from avil_ray.randomness import numpy_generator
from avil_ray.reports.records import trial_key
from avil_ray.spaces.distributions import Distribution
from avil_ray.spaces.fields import NAME, STRICT, identity, whole

MOST_CONFIGURATIONS = 10_000
"""More configurations in an entry are considered a mistake, and would take hours to check."""


def _installed(algorithm: str) -> str:
    if algorithm == "optuna" and find_spec("optuna") is None:
        raise UserError("optuna is not installed; run: pip install 'avil-ray[optuna]'")
    return algorithm


@dataclass(frozen=True)
class Search:
    """How to search over free options.

    Parameters
    ----------
    algorithm
        `grid`: every combination of the grids, each with `samples` draws of the other distributions. `random`: each
        configuration is drawn; grids are treated as choices. `optuna`, `surrogate`: like random, but proposed from the
        results so far, by Optuna or by a Gaussian process (`sweeps/proposals.py`).
    scheduler
        `none`, or `asha`: configurations with poor scores on select are stopped early.
    trials
        The number of configurations for each entry with free options, unless `algorithm` is grid; an entry's `samples`
        takes precedence.
    vectorize
        Whether to train trials with fixed weights together, as rows of one stacked model: see `spaces.vectorize`.
        `auto`: if there are any, and the architecture and size of the model promise a gain.
    """

    __pydantic_config__ = STRICT

    algorithm: Annotated[Literal["grid", "random", "optuna", "surrogate"], AfterValidator(_installed)] = "grid"
    scheduler: Literal["none", "asha"] = "none"
    trials: Annotated[int | None, whole(1, MOST_CONFIGURATIONS)] = None
    vectorize: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.trials is not None and self.algorithm == "grid":
            raise UserError(
                "trials: a grid runs every combination; leave trials out, or use random, optuna or surrogate"
            )

    def document(self) -> dict[str, Any]:
        """The search as in YAML."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Configuration:
    """One method with all options set."""

    label: str
    """The entry's name in tables."""
    method: str
    """The method's name in the catalogue."""
    index: int
    """Its number within the label, from 0."""
    options: dict[str, Any]
    """All effective options, flat (`weights.right`), including those from `learning`; for `catalog.build_trial`.
    """
    chosen: dict[str, Any] = field(default_factory=dict)
    """The options chosen by the search, flat; empty if nothing was free."""


@dataclass(frozen=True)
class TrialPlan:
    """One configuration with one seed; it becomes a `reports.records.TrialRecord`."""

    key: str
    label: str
    method: str
    configuration: int
    options: dict[str, Any]
    seed: int

    @property
    def folder(self) -> str:
        """The name of the trial's folder."""
        return self.key.replace("/", "-")


@dataclass(frozen=True)
class Entry:
    """One entry of `methods`."""

    label: Annotated[str, NAME]
    method: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Option -> value, as given; those common to all methods are under `learning`."""
    free: Mapping[str, Distribution] = field(default_factory=dict)
    """Dotted option -> its distribution."""
    samples: Annotated[int | None, whole(1, MOST_CONFIGURATIONS)] = None
    """Draws per grid point, or the total number of configurations unless `algorithm` is grid; None if not given."""
    place: str = ""
    """Its place in the file: "methods[2]"."""

    def asked(self, search: Search) -> bool:
        """Whether the entry's configurations are proposed from results, and are thus not known beforehand."""
        return search.algorithm in ("optuna", "surrogate") and bool(self.free)

    def count(self, search: Search) -> int:
        """The number of the entry's configurations.

        Raises
        ------
        UserError
            More are requested than there are distinct ones, no number is given, or there are too many.
        """
        drawn = [one for one in self.free.values() if one.kind != "grid" or search.algorithm != "grid"]
        different = None if any(one.continuous for one in drawn) else prod(len(one.values) for one in drawn)
        if (self.samples or 1) > 1 and not drawn:
            raise UserError(f"{self.place}.samples: nothing is drawn here, so more than 1 would only repeat the grid")
        if different is not None and (self.samples or 1) > different:
            raise UserError(
                f"{self.place}.samples: {self.samples} requested, but there are only {different} distinct draws"
            )
        points, wanted = 1, self.samples or 1
        if search.algorithm == "grid":
            points = prod(len(one.values) for one in self.free.values() if one.kind == "grid")
        elif self.free and self.samples is None:
            if search.trials is None:
                raise UserError(
                    f"search: the key 'trials' is missing: how many configurations {search.algorithm} tries "
                    "of each entry with free options"
                )
            wanted = search.trials if different is None else min(search.trials, different)
        if points * wanted > MOST_CONFIGURATIONS:
            raise UserError(
                f"{self.place}: {points * wanted:,} configurations, but at most {MOST_CONFIGURATIONS:,} can run; "
                "search fewer values, or use algorithm: random"
            )
        return points * wanted

    def configurations(self, search: Search) -> list[Configuration]:
        """The entry's configurations, expanded; none for an entry with free options if they are proposed.

        Raises
        ------
        UserError
            As `count`, or a method or option is wrong.
        """
        self.count(search)
        if self.asked(search):
            return []
        return [self.configuration(index, chosen) for index, chosen in enumerate(self.points(search))]

    def examples(self, search: Search) -> list[Configuration]:
        """The entry's configurations; if they will be proposed, one possible example."""
        return self.configurations(search) or [self.configuration(0, next(self.points(search)))]

    def configuration(self, index: int, chosen: Mapping[str, Any]) -> Configuration:
        """The configuration with these values of the free options: dotted option -> value."""
        of_method, of_learning = learning_apart({**flatten(self.fixed), **chosen})
        options = settled_options(build_method(self.method, of_method))
        options |= {f"{LEARNING}.{name}": value for name, value in of_learning.items()}
        return Configuration(self.label, self.method, index, options, dict(chosen))

    def points(self, search: Search) -> Iterator[dict[str, Any]]:
        """The values of the free options for each configuration; if they will be proposed, as drawn by `random`.

        Every draw has its own generator, derived from (0, label, index, option): the same file gives the same
        configurations everywhere and under any --name, and adding an option does not change other draws.
        """
        grids = {key: one.values for key, one in self.free.items() if one.kind == "grid" and search.algorithm == "grid"}
        drawn = {key: one for key, one in self.free.items() if key not in grids}
        count = self.count(search)
        combinations = [dict(zip(grids, values, strict=True)) for values in itertools.product(*grids.values())]
        each = count // len(combinations)
        indices = itertools.count()
        for combination in combinations:
            seen: set[str] = set()
            for index in itertools.islice(indices, each):
                tries = (self._draw(drawn, index, attempt) for attempt in itertools.count())
                draw = next(one for one in tries if identity(one) not in seen)  # avoids running a trial twice
                seen.add(identity(draw))
                yield {key: {**combination, **draw}[key] for key in self.free}

    def _draw(self, free: Mapping[str, Distribution], index: int, attempt: int) -> dict[str, Any]:
        again = ("again", attempt) if attempt else ()
        return {
            key: one.draw(numpy_generator(0, "search space", self.label, index, key, *again))
            for key, one in free.items()
        }


def plan(configuration: Configuration, seed: int) -> TrialPlan:
    """The trial of a configuration for one seed."""
    one = configuration
    return TrialPlan(trial_key(one.label, one.index, seed), one.label, one.method, one.index, one.options, seed)
