"""How tasks are combined: the interface that every method implements.

A method is a small frozen dataclass of options. In each round it decides what to train (`assign`) and turns the updates
into the next state of the run's tracks (`combine`). Its state between rounds is a separate object, a `Memory`, so that
a run can be stored and resumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import Doc

from avil_ray.choices import check_choices
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import MAIN, Track
from avil_ray.option_values import Above, check_numbers
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

Facts = Mapping[str, float]
"""What a method reports about a round: the columns that it adds to the history."""


@dataclass(frozen=True)
class Memory:
    """A method's state between rounds: a dataclass whose fields are NumPy arrays or plain JSON values.

    JSON has lists but no tuples, and only strings as keys.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Wins(Memory):
    ...     count: int = 0
    >>> Wins(3).stored()
    ({}, {'count': 3})
    """

    def stored(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Its fields by name, as arrays and as plain values; `UserError` if one could not be restored unchanged."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in values.items() if name not in arrays}
        for name, value in plain.items():
            if not _is_json(value):
                kinds = "a NumPy array, or numbers, text, lists and mappings from text"
                raise UserError(f"{type(self).__name__}.{name} cannot be stored: it must be {kinds}, not {value!r}")
        return arrays, plain

    @classmethod
    def restored(cls, arrays: Mapping[str, npt.NDArray[Any]], values: Mapping[str, Any]) -> Self:
        """The inverse of `stored`; TypeError if a field is missing or unknown."""
        return cls(**arrays, **values)


@dataclass(frozen=True)
class Setting:
    """What a method knows about a run in advance.

    Attributes
    ----------
    suite, tasks
        The suite, as prepared by the method, and the tasks' data.
    rounds, steps
        The requested number of rounds, and the gradient steps of each task in a round.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> setting = avil.Setting(suite, suite.draw(0), rounds=20, steps=24)
    >>> setting.goal.name, len(setting.goal.select)
    ('target', 30)
    """

    suite: Suite
    tasks: Mapping[str, Task]
    rounds: int
    steps: int

    @property
    def goal(self) -> Task:
        """The target, with its data."""
        return self.tasks[self.suite.target]


@dataclass(frozen=True)
class Run:
    """A run between two rounds: everything needed to continue it.

    Attributes
    ----------
    tracks
        Name -> track; `main` is always present. Names must not contain "/", as columns and checkpoints are named after
        them.
    memory
        The method's state.
    rows
        The history so far, one row per round.

    Examples
    --------
    >>> import numpy as np
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> setting = avil.Setting(suite, suite.draw(0), rounds=20, steps=24)
    >>> run = avil.Run(setting, {"main": avil.Track(np.zeros(3, np.float32))}, avil.Memory())
    >>> run = run.with_tracks({"alone": run.main})
    >>> sorted(run.tracks), run.gradient_steps
    (['alone', 'main'], 0)
    """

    setting: Setting
    tracks: Mapping[str, Track]
    memory: Any
    rows: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.memory, Memory):
            raise UserError(f"a method's memory must be an avil_ray.Memory, not a {type(self.memory).__name__}")
        if MAIN not in self.tracks:
            raise UserError(f"a run must have a track {MAIN!r}, beside {', '.join(self.tracks) or 'none'}")
        for name in self.tracks:
            if not name or "/" in name:
                raise UserError(f"a track's name must not be empty or hold a '/', such as {name!r}")

    @property
    def main(self) -> Track:
        """The track whose best round is the run's result."""
        return self.tracks[MAIN]

    @property
    def gradient_steps(self) -> int:
        """The cost of the rounds so far, including dev passes."""
        return round(sum(row["cost/gradient_steps"] for row in self.rows))

    def with_tracks(self, tracks: Mapping[str, Track]) -> Run:
        """The run with these tracks replacing those with the same names."""
        return replace(self, tracks={**self.tracks, **tracks})

    def with_main(self, track: Track) -> Run:
        """The run with this main track."""
        return self.with_tracks({MAIN: track})


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to combine tasks. Its fields are its options, in Python, in YAML and on the command line.

    Examples
    --------
    >>> import avil_ray as avil
    >>> method = avil.GCS(form="unweighted")
    >>> isinstance(method, avil.Method), dict(method.in_force())["form"]
    (True, 'unweighted')
    """

    source: ClassVar[str]
    """The paper or other origin, for `avil-ray list methods`."""

    learning_rate: Annotated[
        float | None, Above(0), Doc("learning rate of the gradient steps; default: the suite's own")
    ] = None

    def __post_init__(self) -> None:
        check_choices(type(self), vars(self))
        check_numbers(self)

    def check(self, suite: Suite) -> None:  # noqa: B027 (most methods fit every suite)
        """Raise `UserError` if an option does not fit the suite (such as weights of tasks that it does not have)."""

    def prepare(self, suite: Suite) -> Suite:
        """The suite as this method trains it; unchanged for most methods."""
        return suite

    def in_force(self) -> Mapping[str, Any]:
        """The effective options, including defaults that the method itself decides: name -> value."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init}

    def rounds(self, setting: Setting) -> int:
        """The total number of rounds of a run: those requested plus, for example, a fine-tuning."""
        return setting.rounds

    @property
    def plans_ahead(self) -> bool:
        """Whether rounds depend on their number, so that `patience` must not end a run early."""
        return False

    def start(self, setting: Setting) -> Memory:
        """The state before the first round."""
        return Memory()

    def begin(self, run: Run, number: int) -> Run:
        """Prepare the run for round `number`, before anything is assigned: open, restart or end tracks."""
        return run

    def reads_select(self, setting: Setting, number: int) -> bool:
        """Whether round `number` needs the last round's scores on select when it begins.

        It does if `begin` or `assign` read them or change tracks. Otherwise select is evaluated in parallel with the
        round's training. They are always available in `combine`.
        """
        return True

    @abstractmethod
    def assign(self, run: Run, number: int) -> list[Assignment]:
        """What to train in round `number` (from 0): at least one assignment.

        It must depend only on the memory, the cost so far and the number, so that the cost can be estimated before a
        run.
        """

    @abstractmethod
    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """The run after this round's updates, and the facts to log. Random choices must derive from `number`."""

    def dev_passes(self, run: Run, number: int) -> tuple[DevUse, int]:
        """How round `number` adapts to dev: on which examples, and in at most how many passes. Most methods do not."""
        return DevUse(), 0

    def learning(self, suite: Suite) -> Learning:
        """The suite's learning settings, overridden by the method's options."""
        if self.learning_rate is None:
            return suite.learning
        return replace(suite.learning, learning_rate=self.learning_rate)


def _is_json(value: object) -> bool:
    """Whether the value survives a round trip through JSON."""
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(one) for key, one in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def dropped_facts(updates: Sequence[Update], dropped: Sequence[Update] | None = None) -> dict[str, float]:
    """The number of dropped updates and the tasks affected, as history columns.

    `dropped/<task>` is 1 for tasks to blame, otherwise 0. A task whose training is kept in another update of the round
    is not to blame. Unless `dropped` is given, these are the updates that are not finite.
    """
    if dropped is None:
        dropped = [update for update in updates if not np.isfinite(update.theta).all()]
    gone = {update.assignment for update in dropped}
    kept = {task for update in updates if update.assignment not in gone for task in update.losses}
    blamed = {task for update in dropped for task in update.blamed} - kept
    of_tasks = {f"dropped/{task}": float(task in blamed) for update in updates for task in update.losses}
    return {"dropped": float(len(dropped)), **of_tasks}


def delta_norms(theta: Vector, updates: Sequence[Update], parameters: slice) -> dict[str, float]:
    """The 2-norms of the updates' deltas over the `parameters` of theta (not its buffers), as history columns."""
    norms = (float(np.linalg.norm(update.delta(theta)[parameters].astype(np.float64))) for update in updates)
    return {f"delta_norm/{update.assignment}": norm for update, norm in zip(updates, norms, strict=True)}
