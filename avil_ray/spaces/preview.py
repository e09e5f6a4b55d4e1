"""What a sweep would run, and whether its resources are available: `avil-ray check`. Needs neither training nor Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from avil_ray.catalog import build_suite, build_trial
from avil_ray.config import flatten
from avil_ray.methods.method import Method
from avil_ray.pools.placement import ACCELERATOR, at_once, bundles, describe, missing, most_slots, number, total
from avil_ray.reports.formats import counted, options
from avil_ray.spaces import budget
from avil_ray.spaces.entries import Entry
from avil_ray.spaces.resources import shares
from avil_ray.spaces.search_space import SearchSpace
from avil_ray.spaces.vectorize import decide
from avil_ray.spaces.work import Work, frozen_in, parameters_of, work_of
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

Bundle = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One entry of the search space."""

    label: str
    configurations: int
    trials: int
    """Number of configurations times number of seeds."""
    works: tuple[Work, ...]
    """The work of a trial for each configuration; an example replaces those that will be proposed."""
    slots: int
    """The number of a trial's workers."""
    assignments: int
    """The maximum number that it could use."""
    asked: Bundle
    """The resources of a trial: {"CPU": 1.8, "GPU": 0.0}."""
    at_once: int
    """How many such trials fit the cluster at the same time."""
    lacking: str | None
    """What the cluster lacks for one trial; None if nothing."""
    parameters: int | None = None
    """The length of theta if the method trains a different model than the suite's; otherwise None."""

    @property
    def gradient_steps(self) -> int:
        """The gradient steps of all trials."""
        each = sum(work.gradient_steps + work.dev_steps for work in self.works)
        return round(each / len(self.works) * self.trials)

    @property
    def steps_of_one(self) -> str:
        """Gradient steps of one trial: a number, or a range if configurations differ."""
        steps = sorted({work.gradient_steps + work.dev_steps for work in self.works})
        return f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"


@dataclass(frozen=True)
class Preview:
    """What a sweep would run; print it with Rich, or use `lines`."""

    space: SearchSpace
    suite: Suite
    data: str
    parameters: int
    there: Bundle
    rows: tuple[Row, ...]
    frozen: str = ""
    loaders: int = 0
    """The maximum number of a worker's data loader processes over configurations."""
    patient: bool = False
    """Whether runs may end early, after rounds without improvement."""
    details: tuple[str, ...] = ()
    """Details about the data for the first seed."""
    vectorize: str | None = None
    """Which trials are stacked, if worth mentioning; the decision is in `space`."""

    @property
    def shares(self) -> tuple[Bundle, Bundle]:
        """The resources of a trial's driver and of each of its workers."""
        return shares(self.space.resources, self.there, self.loaders)

    @property
    def lacking(self) -> str | None:
        """The line that says what the cluster lacks, None where there is room for every trial."""
        resources = self.space.resources
        for row in self.rows:
            if row.lacking:
                driver, per_task = self.shares
                slots = "" if resources.slots == "auto" else f", slots {resources.slots}"
                return (
                    f"{self.space.file}: resources: {row.lacking} (trials of {row.label!r}); "
                    f"request less: per_task is {describe(_some(per_task))}, driver {describe(_some(driver))}{slots}"
                )
        return None

    def summary(self) -> dict[str, Any]:
        """The whole as plain values, for `avil-ray check --json`."""
        space, suite = self.space, self.suite
        names = ("label", "configurations", "trials", "gradient_steps", "slots", "assignments", "at_once", "lacking")
        return {
            "sweep": space.name,
            "suite": suite.name,
            "target": suite.target,
            "auxiliaries": list(suite.auxiliaries),
            "parameters": self.parameters,
            "rounds": space.rounds,
            "steps_per_round": space.steps_per_round,
            "seeds": list(space.seeds),
            "search": vars(space.search),
            "gradient_steps": sum(row.gradient_steps for row in self.rows),
            "cluster": dict(self.there),
            "methods": [
                {**{name: getattr(row, name) for name in names}, "asked": dict(row.asked)} for row in self.rows
            ],
            "lacking": self.lacking,
        }

    def before(self) -> list[str]:
        """The lines above the table."""
        space, tasks = self.space, ", ".join(self.suite.auxiliaries) or "none"
        trials = sum(row.trials for row in self.rows)
        configurations = sum(row.configurations for row in self.rows)
        product = f"{counted(configurations, 'configuration')} x {counted(len(space.seeds), 'seed')}"
        return [
            f"{space.name}: {product} = {counted(trials, 'trial')}",
            f"suite {self.suite.name}: target {self.suite.target}, auxiliaries {tasks}; {self.data}",
            *self.details,
            f"model: {self.parameters:,} parameters; {counted(space.rounds, 'round')} of {space.steps_per_round} steps",
            *([f"       {self.frozen}"] if self.frozen else []),
            *(f"       {row.parameters:,} parameters with {row.label}" for row in self.rows if row.parameters),
            *([f"learning: {options(flatten(space.learning))}"] if space.learning else []),
            f"search: {space.search.algorithm}, scheduler {space.search.scheduler}",
            *budget.told(space),
            *([self.vectorize] if self.vectorize else []),
            *([self._loading()] if self.loaders else []),
            *([f"reference, compared with every other method: {space.reference}"] if len(space.entries) > 1 else []),
        ]

    def _loading(self) -> str:
        """The number of data loader processes, and whether a worker's CPUs cover them."""
        cpu = self.shares[1]["CPU"]
        short = "" if cpu >= 1 + self.loaders else "; that is too few for the worker and its loaders"
        processes = "loader process" if self.loaders == 1 else "loader processes"
        return f"workers: {number(cpu)} CPU each, {self.loaders} {processes} at most{short}"

    def table(self) -> Table:
        """One row per entry, with its trials as configurations x seeds."""
        asked = _some(total([row.asked for row in self.rows]))
        kinds = [name for name in asked if not name.startswith(ACCELERATOR)]
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("method", no_wrap=True)
        for name in ("trials", "steps per\ntrial", "steps\nin total", "slots", *kinds, "at\nonce"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            slots = str(row.slots) if row.slots == row.assignments else f"{row.slots} of {row.assignments}"
            amounts = [number(row.asked.get(name, 0.0)) for name in kinds]
            trials = f"{row.configurations:,} x {len(self.space.seeds)}"
            cells = (row.label, trials, row.steps_of_one, f"{row.gradient_steps:,}", slots, *amounts, str(row.at_once))
            table.add_row(*map(Text, cells))
        return table

    def after(self) -> list[str]:
        """The lines below the table."""
        asked = ("CPU", "GPU", *(name for row in self.rows for name in row.asked))
        there = f"the cluster has {describe({name: self.there[name] for name in asked if self.there.get(name)})}"
        every = f"{sum(row.gradient_steps for row in self.rows):,} gradient steps in total"
        works = [work for row in self.rows for work in row.works]
        if any(work.dev_steps for work in works):
            every += ", dev passes included (approximate)"
        if self.space.search.scheduler != "none":
            every += f"; {self.space.search.scheduler} will save some"
        if any(budget.limits(self.space, entry) for entry in self.space.entries):
            every += "; fewer where the budget ends a search"
        if self.patient:
            every += "; fewer where patience ends a run"
        narrow = [row.label for row in self.rows if row.slots < row.assignments and not row.lacking]
        queued = [f"fewer workers than tasks fit, so tasks queue: {', '.join(narrow)}"] if narrow else []
        return [every, there, *queued, self.lacking or "there is room for every trial"]

    def lines(self) -> list[str]:
        """Everything as plain text."""
        rows = [
            f"{row.label}: {counted(row.configurations, 'configuration')}, {counted(row.trials, 'trial')} of "
            f"{row.steps_of_one} steps, {counted(row.slots, 'slot')}, {describe(_some(row.asked))}, "
            f"{row.at_once} at once"
            for row in self.rows
        ]
        return [*self.before(), *rows, *self.after()]

    def __rich__(self) -> RenderableType:
        return Group(*map(Text, self.before()), self.table(), *map(Text, self.after()))


def preview(space: SearchSpace, there: Bundle | Sequence[Bundle]) -> Preview:
    """What a sweep over `space` would run, with `vectorize: auto` decided.

    Parameters
    ----------
    there
        The cluster's resources: {"CPU": 2.0, "GPU": 0.0}, or one such mapping for each of its nodes.

    Raises
    ------
    UserError
        The suite's data are not available, or the budget pays for no configuration of a search.
    """
    nodes = [there] if isinstance(there, Mapping) else list(there)
    suite, tasks = build_suite(space.suite), space.draw()
    trained = [
        [build_trial(suite, one.method, one.options) for one in entry.examples(space.search)] for entry in space.entries
    ]
    ways = [learned.learning for of_entry in trained for learned, _ in of_entry]
    loaders, patient = max(one.loader_processes for one in ways), any(one.patience for one in ways)
    asked = shares(space.resources, total(nodes), loaders)
    rows = tuple(
        _row(space, entry, of_entry, tasks, nodes, asked)
        for entry, of_entry in zip(space.entries, trained, strict=True)
    )
    for entry, row in zip(space.entries, rows, strict=True):
        budget.require_payable(space, entry, row.works)
    size = parameters_of(suite)
    details = () if suite.details is None else tuple(suite.details(space.seeds[0]))
    frozen = frozen_in(suite)
    stacks = decide(space, suite, tasks)
    space = replace(space, search=replace(space.search, vectorize=stacks.on))
    data, there = _data(suite, tasks), total(nodes)
    return Preview(space, suite, data, size, there, rows, frozen, loaders, patient, details, stacks.line)


def _row(
    space: SearchSpace,
    entry: Entry,
    trained: Sequence[tuple[Suite, Method]],
    tasks: Mapping[str, Task],
    nodes: Sequence[Bundle],
    asked: tuple[Bundle, Bundle],
) -> Row:
    search, (driver, per_task) = space.search, asked
    works = tuple(work_of(method, suite, tasks, space.rounds, space.steps_per_round) for suite, method in trained)
    suite, method = trained[0]
    prepared = method.prepare(suite)
    wanted, slots = _slots(space, works, suite, asked, nodes)
    parts = bundles(driver, per_task, slots)
    count = entry.count(search)
    trials = count * len(space.seeds)
    return Row(
        label=entry.label,
        configurations=count,
        trials=trials,
        works=works,
        slots=slots,
        assignments=wanted,
        asked=total(parts),
        at_once=at_once(parts, nodes, trials),
        lacking=missing(parts, nodes),
        parameters=None if prepared is suite else parameters_of(prepared),
    )


def _slots(
    space: SearchSpace, works: Sequence[Work], suite: Suite, asked: tuple[Bundle, Bundle], nodes: Sequence[Bundle]
) -> tuple[int, int]:
    """The number of workers that a trial could use, and the number it gets."""
    resources, assignments = space.resources, max(work.assignments for work in works)
    if resources.pool == "inline":
        return 1, 1
    if resources.pool == "train":  # a step of a single assignment is also distributed, by its tasks
        steps = space.rounds * space.steps_per_round
        assignments = max(assignments, math.ceil(max(work.gradient_steps for work in works) / steps))
    # at most one per task: an additional track is not worth its own slot
    wanted = min(assignments, len(suite.task_names))
    if resources.slots == "auto":
        return wanted, max(1, most_slots(*asked, nodes, wanted))
    if resources.pool == "train":  # if micro-batches are distributed too, more ranks than tasks can be useful
        return resources.slots, resources.slots
    return wanted, min(resources.slots, wanted)


def _data(suite: Suite, tasks: Mapping[str, Task]) -> str:
    target = tasks[suite.target]
    splits = ((split, getattr(target, split)) for split in ("train", "dev", "select", "test"))
    return ", ".join(f"{split} {len(examples):,}" for split, examples in splits if examples is not None)


def _some(bundle: Bundle) -> Bundle:
    """The bundle without resources with an amount of 0."""
    return {name: amount for name, amount in bundle.items() if amount > 0}
