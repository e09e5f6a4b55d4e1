"""Draws a suite's data from a user's files: splits the target's rows, and drops held-out ones from auxiliaries."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from avil_ray.errors import UserError
from avil_ray.randomness import numpy_generator
from avil_ray.suites.files.described import labels_line, positive_line, rows_line, splits_line
from avil_ray.suites.files.splits import Division, divided
from avil_ray.suites.files.table import Integers
from avil_ray.suites.files.tasks import LOSSES, METRICS, FileTask
from avil_ray.suites.options import whole_if_given
from avil_ray.tasks.checks import SPLITS
from avil_ray.tasks.heads import check_name
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.task import Task

log = logging.getLogger(__name__)

RATES = {"none": 5e-5, "lora": 3e-4, "frozen": 1e-3}
"""Default learning rates for AdamW: for a whole encoder, for adapters, and for the layers above a frozen encoder."""

T = TypeVar("T", bound=FileTask)


@dataclass(frozen=True, kw_only=True)
class Plan(ABC, Generic[T]):
    """How the tasks' data are drawn: a small description that is cheap to send.

    Parameters
    ----------
    tasks
        The target, then the auxiliaries.
    auxiliary_labels
        The maximum number of rows of an auxiliary; None: all.
    """

    suite: ClassVar[str]
    """The suite's name, for messages and random choices."""
    item: ClassVar[str]
    """The word for one input in messages."""

    tasks: tuple[T, ...]
    division: Division
    auxiliary_labels: int | None

    def __post_init__(self) -> None:
        whole_if_given("auxiliary_labels", self.auxiliary_labels, 1)

    @property
    def target(self) -> T:
        """The target task."""
        return self.tasks[0]

    @abstractmethod
    def examples(self, task: T, parts: Mapping[str, Integers]) -> dict[str, Any]:
        """The arguments of `Task` for some splits: the examples of each, and collate or augment if needed."""

    @abstractmethod
    def inputs_line(self, task: T) -> str:
        """A line that describes a task's inputs."""

    def draws(self) -> dict[str, Callable[[int], Task]]:
        """Task -> the function of the seed that draws it."""
        first, *others = self.tasks
        return {first.name: self.draw_target, **{task.name: partial(self.draw_auxiliary, task=task) for task in others}}

    def draw_target(self, seed: int) -> Task:
        """The target's data for one seed."""
        return self._task(self.target, self.parts(seed))

    def draw_auxiliary(self, seed: int, *, task: T) -> Task:
        """An auxiliary's data for one seed, without rows that have an input held out by the target."""
        kept, dropped = self.without_overlap(task, seed)
        if len(kept) == 0:
            raise UserError(
                f"{self.suite}: auxiliaries.{task.name}: the {self.item}s of all its rows are in the dev, select or "
                f"test split of {self.target.name}; leave it out"
            )
        if dropped:
            log.warning("%s: %s: %s", self.suite, task.name, self.dropped_line(task, dropped))
        rows = numpy_generator(seed, self.suite, task.name).permutation(kept)[: self.auxiliary_labels]
        return self._task(task, {"train": rows})

    def parts(self, seed: int) -> Mapping[str, Integers]:
        """The target's rows in each split."""
        return _parts(self, seed, self.target.version())

    def without_overlap(self, task: T, seed: int) -> tuple[Integers, int]:
        """The rows of an auxiliary without inputs in the target's dev, select or test, and the number of other rows."""
        parts, rows = self.parts(seed), task.read()
        held_out = np.concatenate([parts["dev"], parts["select"], parts["test"]])
        found = rows.keys.overlap(self.target.read().keys, held_out)
        return np.setdiff1d(np.arange(len(rows.table)), found), len(found)

    def details(self, seed: int) -> list[str]:
        """Lines that describe the files of each task."""
        lines = []
        for task in self.tasks:
            rows = task.read()
            found = [labels_line(rows.labels), self.inputs_line(task)]
            if task is self.target:
                found += positive_line(rows.labels, task.metric or METRICS[rows.labels.kind])
                found += [splits_line(self.parts(seed), rows.given)]
            else:
                found += [self.dropped_line(task, self.without_overlap(task, seed)[1])]
            lines += [f"  {task.name}: {rows_line(rows.table)}", *(f"    {line}" for line in found)]
        return lines

    def dropped_line(self, task: T, dropped: int) -> str:
        """A line about an auxiliary's dropped rows."""
        if dropped == 0:
            return f"no row's {self.item} is in dev, select or test of {self.target.name}"
        rows = f"{dropped:,} of {len(task.read().table):,} rows are dropped"
        return f"{rows}, as their {self.item}s are in dev, select or test of {self.target.name}"

    def _task(self, task: T, parts: Mapping[str, Integers]) -> Task:
        kind = task.read().labels.kind
        loss, metric = task.loss or LOSSES[kind][0], task.metric or METRICS[kind]
        return Task(task.name, **self.examples(task, parts), loss=loss, metric=metric, also=task.also)


@lru_cache(maxsize=16)
def _parts(plan: Plan[Any], seed: int, version: tuple[int, ...]) -> Mapping[str, Integers]:
    del version  # part of the cache key
    rows, generator = plan.target.read(), numpy_generator(seed, plan.suite, "splits")
    with told_of(plan.suite), told_of("target"):
        found = divided(rows.table, rows.keys.rows(), rows.labels, rows.given, plan.division, generator, plan.item)
    return {split: found[split] for split in SPLITS}


def find_tasks(
    target: Mapping[str, Any],
    auxiliaries: Mapping[str, Mapping[str, Any]] | None,
    make: Callable[[str | None, Mapping[str, Any]], T],
) -> tuple[T, ...]:
    """The target and auxiliaries specified by a user, with their files located and read.

    Parameters
    ----------
    make
        A name (None for the target, whose options may name it) and options -> the task.

    Raises
    ------
    UserError
        A specification is wrong: `auxiliaries.topic: …`.
    """
    with told_of("target"):
        tasks = [make(None, target)]
        check_name("name", tasks[0].name)
        tasks[0].output()
    for name, options in (auxiliaries or {}).items():
        with told_of(f"auxiliaries.{name}"):
            check_name("name", name)
            if name == tasks[0].name:
                raise UserError("the target has that name; give target another one with name")
            tasks.append(make(name, options))
            tasks[-1].output()
    return tuple(tasks)


def encoder_learning(peft: str) -> Learning:
    """Default learning settings for an encoder, for adapters, or for the layers above a frozen encoder."""
    return Learning(
        optimizer="adamw",
        learning_rate=RATES[peft],
        weight_decay=0.01,
        batch_size=16,
        clip=1.0,
        warmup=20,
        evaluation_batch=64,
    )


@contextmanager
def told_of(place: str) -> Iterator[None]:
    """A context that adds the place to the messages of mistakes."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
