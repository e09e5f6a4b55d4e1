"""HOW tasks combine: the seam that every method fills.

A method is a small frozen dataclass of options. Each round it says what to train (`assign`) and turns what came back
into the next theta (`combine`). What it remembers from round to round is its state: plain values and arrays, so that a
run can be stored and resumed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from typing_extensions import Doc

from avil_ray.choices import check_choices
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector
from avil_ray.learning.splits import DevUse
from avil_ray.methods.values import check_numbers
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

State = Mapping[str, Any]
"""What a method remembers: name -> a JSON value or a NumPy array."""

Facts = Mapping[str, float]
"""What a method tells about a round: the columns that it adds to the history."""


@dataclass(frozen=True)
class Setting:
    """What a method knows of the run: the suite, the length of a round in gradient steps, and the tasks' data.

    At the start of a phase it also knows the gradient steps that the phases before have cost, dev passes included, and
    whether the rounds set aside, if any, are ahead of those that it goes on from, on select.
    """

    suite: Suite
    steps: int
    tasks: Mapping[str, Task]
    spent: int = 0
    behind: bool = False


@dataclass(frozen=True)
class Phase:
    """A stretch of rounds under one method. A run is its phases, one after the other."""

    method: Method
    rounds: int
    start: Literal["last", "initial", "aside", "best"] = "last"
    """Where theta starts.

    last      where the phase before ended
    initial   as the run did; the rounds before are set aside
    aside     where those ended, which change places with the rounds since
    best      at the best round so far, by select; of the two lines of rounds, if there are two, it is the one set aside
              that has it unless the other is ahead (`rounds.ahead`)
    """


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to combine tasks; its fields are its options, on the command line and in YAML as in Python."""

    source: ClassVar[str]
    """The paper or origin, for `avil-ray list methods`."""

    learning_rate: Annotated[
        float | None, Doc("learning rate of the gradient steps; the suite's own where not given")
    ] = None

    def __post_init__(self) -> None:
        check_choices(type(self), vars(self))
        check_numbers(self)
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise UserError(f"learning_rate must be above 0, not {self.learning_rate}")

    def require_positive(self, *names: str) -> None:
        """Raise `UserError` where one of these options is no number above 0."""
        for name in names:
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name} must be a number above 0, not {getattr(self, name)}")

    def require_at_least(self, least: int, *names: str) -> None:
        """Raise `UserError` where one of these options is less."""
        for name in names:
            if not getattr(self, name) >= least:
                raise UserError(f"{name} must be at least {least}, not {getattr(self, name)}")

    def check(self, suite: Suite) -> None:  # noqa: B027 (most methods fit every suite)
        """Raise `UserError` where an option does not fit the suite (weights of tasks that it does not have, say)."""

    def prepare(self, suite: Suite) -> Suite:
        """The suite as this method trains it; most train it as it is."""
        return suite

    @property
    def finishes(self) -> bool:
        """Whether it is a phase that trains the target alone, beside the method proper: curves show it apart."""
        return False

    def phases(self, rounds: int) -> tuple[Phase, ...]:
        """The run's phases for a budget of `rounds`."""
        return (Phase(self, rounds),)

    @abstractmethod
    def start(self, setting: Setting, before: State | None = None) -> State:
        """The state before the first round; `before` is what the phase before it ended with."""

    @abstractmethod
    def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
        """What to train in the method's round `number` (from 0)."""

    @abstractmethod
    def combine(
        self, state: State, theta: Vector, updates: Sequence[Update], target: Target, number: int
    ) -> tuple[Vector, State, Facts]:
        """The next theta [P] from this round's updates, with the next state and the facts to log.

        `number` is the run's round, which random choices derive from.
        """

    def dev_passes(self, tasks: int) -> tuple[DevUse, int]:
        """How a round adapts to dev: to which examples, and in how many passes over them at most. Most never do."""
        return DevUse(), 0

    def learning(self, suite: Suite) -> Learning:
        """The suite's way of learning, with the method's own options in place."""
        if self.learning_rate is None:
            return suite.learning
        return replace(suite.learning, learning_rate=self.learning_rate)


def dropped_facts(updates: Sequence[Update], dropped: Sequence[Update]) -> dict[str, float]:
    """Which tasks' training was dropped, as history columns: `dropped/<task>` is 1 for those to blame, else 0.

    A task whose training is kept in another update of the round is not to blame.
    """
    gone = {update.assignment for update in dropped}
    kept = {task for update in updates if update.assignment not in gone for task in update.losses}
    blamed = {task for update in dropped for task in update.blamed} - kept
    return {f"dropped/{task}": float(task in blamed) for update in updates for task in update.losses}


def delta_norms(theta: Vector, updates: Sequence[Update], parameters: slice) -> dict[str, float]:
    """The 2-norms of the updates' deltas over the `parameters` of theta (not its buffers), as history columns."""
    norms = (float(np.linalg.norm(update.delta(theta)[parameters].astype(np.float64))) for update in updates)
    return {f"delta_norm/{update.assignment}": norm for update, norm in zip(updates, norms, strict=True)}
