"""Training on a weighted sum of losses: static baselines, rules that weigh every step, and how other runs end.

One assignment trains all tasks and keeps its optimizer and its order of examples from round to round, so the run equals
an ordinary PyTorch loop on sum_i w_i L_i, step for step; a round's end only adds an evaluation on select.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Annotated, ClassVar, Literal

import numpy as np
from typing_extensions import Doc

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector
from avil_ray.learning.splits import DevUse
from avil_ray.learning.weighting import Fixed, Rule
from avil_ray.methods.method import Facts, Method, Phase, Setting, State, delta_norms, dropped_facts
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite

FINE_TUNE_SHARE = 0.35
FINE_TUNE_RATE = 0.3
WEIGHTS = "weights"
MEMORY = "memory/"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Joint(Method):
    """Training on the weighted sum of the tasks' losses; a rule may weigh it anew at every step."""

    assignment_name: ClassVar[str] = "joint"
    """The assignment's name, which its random choices derive from."""

    drops: ClassVar[bool] = False
    """Whether a round that diverges is dropped, as there was something before it to keep; otherwise the run fails."""

    @property
    def dev_use(self) -> DevUse:
        """How the target's dev examples are spent."""
        return DevUse()

    def task_weights(self, suite: Suite) -> dict[str, float]:
        """Task -> weight; tasks with weight 0 do not train. 1 for all unless said otherwise."""
        return dict.fromkeys(suite.task_names, 1.0)

    @abstractmethod
    def rule(self, setting: Setting) -> Rule:
        """What sets the weights at every step."""

    def start(self, setting: Setting, before: State | None = None) -> State:
        """The weights; the optimizer's arrays, and what the rule remembers, join them after the first round."""
        return {WEIGHTS: self.task_weights(setting.suite)}

    def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
        """One assignment over all tasks with a weight, going on where the last one stopped."""
        assignment = Assignment(
            name=self.assignment_name,
            weights={task: weight for task, weight in state[WEIGHTS].items() if weight},
            steps=setting.steps,
            learning=self.learning(setting.suite),
            dev=self.dev_use,
            first_step=number * setting.steps,
            keep_optimizer=True,
            optimizer={name: value for name, value in state.items() if name != WEIGHTS and not name.startswith(MEMORY)},
            rule=self.rule(setting),
            memory={name.removeprefix(MEMORY): value for name, value in state.items() if name.startswith(MEMORY)},
        )
        return [assignment]

    def combine(
        self, state: State, theta: Vector, updates: Sequence[Update], target: Target, number: int
    ) -> tuple[Vector, State, Facts]:
        """Go on from where the assignment ended; from where it began, with a fresh optimizer, where it is dropped."""
        (update,) = updates
        facts = {f"weight/{task}": update.weights.get(task, 0.0) for task in state[WEIGHTS]}
        diverged = self.drops and not np.isfinite(update.theta).all()
        if self.drops:
            facts |= {"dropped": float(diverged), **dropped_facts(updates, updates if diverged else ())}
        if diverged:
            why = f": {update.trouble.text}" if update.trouble else ""
            log.warning("round %d: the update of %r is not finite; it is dropped%s", number, update.assignment, why)
            return theta, {WEIGHTS: state[WEIGHTS]}, facts
        memory = {MEMORY + name: value for name, value in update.memory.items()}
        state = {WEIGHTS: state[WEIGHTS], **update.optimizer, **memory}
        return update.theta, state, {**facts, **delta_norms(theta, updates, target.space.parameters)}


@dataclass(frozen=True, kw_only=True)
class Adaptive(Joint):
    """Joint training whose weights adapt to the target's dev loss, on examples that do not train in the same round."""

    dev: Annotated[
        Literal["crossfit", "hold"],
        Doc("crossfit: each round another part of train and dev moves the weights; hold: dev does, train trains"),
    ] = "crossfit"

    @property
    def dev_use(self) -> DevUse:
        """As the option says."""
        return DevUse(self.dev)


@dataclass(frozen=True, kw_only=True)
class FixedWeights(Joint):
    """Joint training on weights that stay as they are."""

    dev: Annotated[
        Literal["train", "hold"],
        Doc("dev examples join the target's training data (train), or are left unused (hold)"),
    ] = "train"

    @property
    def dev_use(self) -> DevUse:
        """As the option says."""
        return DevUse(self.dev)

    def rule(self, setting: Setting) -> Rule:
        """The weights of the assignment."""
        return Fixed()


@dataclass(frozen=True, kw_only=True)
class TargetOnly(FixedWeights):
    """The target alone: what the auxiliaries have to beat."""

    source: ClassVar[str] = "single-task learning"

    def task_weights(self, suite: Suite) -> dict[str, float]:
        """1 for the target, 0 for the others."""
        return {task: float(task == suite.target) for task in suite.task_names}


@dataclass(frozen=True, kw_only=True)
class TargetAlone(TargetOnly):
    """A phase of a longer run: the target alone, as a target-only run trains it. Not a name to choose."""

    drops: ClassVar[bool] = True

    @property
    def finishes(self) -> bool:
        """It stands beside the method proper."""
        return True


@dataclass(frozen=True, kw_only=True)
class TargetLonger(TargetAlone):
    """The phase after `TargetAlone`: more of its rounds, unless those set aside are ahead. Not a name to choose."""

    after: Annotated[int, Doc("how many rounds came before")]

    def start(self, setting: Setting, before: State | None = None) -> State:
        """What the phase before ended with; no task has a weight where the target alone is behind."""
        if setting.behind:
            return {WEIGHTS: {}}
        return before or super().start(setting)

    def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
        """As if there had been one phase; nothing where no task has a weight."""
        return super().assign(setting, state, self.after + number) if state[WEIGHTS] else []


@dataclass(frozen=True, kw_only=True)
class FineTune(TargetAlone):
    """The last phase of a run: the target alone, at a lower learning rate. Not a name to choose."""

    assignment_name: ClassVar[str] = "fine-tune"

    def learning(self, suite: Suite) -> Learning:
        """As in the run, at 0.3 times its learning rate."""
        usual = super().learning(suite)
        return replace(usual, learning_rate=FINE_TUNE_RATE * usual.learning_rate)


@dataclass(frozen=True, kw_only=True)
class LearnedJoint(FixedWeights):
    """A phase that trains all tasks jointly, with the weights that the one before has learned. Not a name to choose."""

    source: ClassVar[str] = "ours"
    drops: ClassVar[bool] = True

    def start(self, setting: Setting, before: State | None = None) -> State:
        """The weights in `before`, under "learned"; 1 for every task where no phase came before."""
        learned: Mapping[str, float] = (before or {}).get("learned") or self.task_weights(setting.suite)
        return {WEIGHTS: dict(learned)}


def fine_tune(method: Method, rounds: int, dev: Literal["train", "hold"]) -> Phase:
    """The phase that fine-tunes the best theta on the target: 0.35 times the rounds (7 of 20), at 0.3 times the rate.

    Dev examples that the method holds back are not trained on here either.
    """
    tuning = FineTune(learning_rate=method.learning_rate, dev=dev)
    return Phase(tuning, ceil(FINE_TUNE_SHARE * rounds), start="best")
