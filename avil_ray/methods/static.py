"""Joint training on a weighted sum of losses: the baselines. Rounds change nothing in them.

One assignment trains all tasks and keeps its optimizer and its order of examples from round to round, so the run equals
an ordinary PyTorch loop on sum_i w_i L_i, step for step; a round's end only adds an evaluation on select.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, isfinite
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from avil_ray.errors import UserError, unknown
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector
from avil_ray.learning.splits import DevUse
from avil_ray.methods.method import Facts, Method, Phase, Setting, State, delta_norms
from avil_ray.suites.suite import Suite

FINISH_SHARE = 0.35
FINISH_RATE = 0.3


@dataclass(frozen=True, kw_only=True)
class Joint(Method):
    """Training on fixed task weights."""

    dev: Annotated[
        Literal["train", "hold"],
        Doc("dev examples join the target's training data (train), or are left unused (hold)"),
    ] = "train"

    @abstractmethod
    def task_weights(self, suite: Suite) -> dict[str, float]:
        """Task -> weight; tasks with weight 0 do not train."""

    def start(self, setting: Setting) -> State:
        """Nothing to remember yet."""
        return {}

    def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
        """One assignment over all tasks with a weight, going on where the last one stopped."""
        suite = setting.suite
        assignment = Assignment(
            name=self.assignment_name,
            weights={task: weight for task, weight in self.task_weights(suite).items() if weight},
            steps=setting.steps,
            learning=self.learning(suite),
            dev=DevUse(self.dev),
            first_step=number * setting.steps,
            keep_optimizer=True,
            optimizer=state,
        )
        return [assignment]

    @property
    def assignment_name(self) -> str:
        """The assignment's name, which its random choices derive from."""
        return "joint"

    def combine(
        self, state: State, theta: Vector, updates: Sequence[Update], target: Target, number: int
    ) -> tuple[Vector, State, Facts]:
        """Go on from where the assignment ended."""
        (update,) = updates
        weights = self.task_weights(target.suite)
        facts = {f"weight/{task}": weight for task, weight in weights.items()}
        return update.theta, update.optimizer, {**facts, **delta_norms(theta, updates)}


@dataclass(frozen=True, kw_only=True)
class Static(Joint):
    """Fixed weights: the target's is 1 unless said otherwise, an auxiliary's is 0 unless said otherwise."""

    source: ClassVar[str] = (
        "weighted sum of losses; a strong baseline once tuned (Xin et al., Kurin et al., NeurIPS 2022)"
    )

    weights: Annotated[
        Mapping[str, float], Doc("task -> weight of its loss; target 1 and auxiliaries 0 where not given")
    ] = field(default_factory=dict)
    finish: Annotated[
        Literal["fine-tune", "none"], Doc("fine-tune: train the best theta on the target alone at the end")
    ] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        for task, weight in self.weights.items():
            if not (isfinite(weight) and weight >= 0):
                raise UserError(f"weights: {task}: a weight must be a number of at least 0, not {weight}")

    def check(self, suite: Suite) -> None:
        """Every weight must belong to a task of the suite, and one weight must be above 0."""
        for task in self.weights:
            if task not in suite.task_names:
                raise unknown("task", task, suite.task_names, "weights")
        if not any(self.task_weights(suite).values()):
            raise UserError("weights: all are 0, so nothing would train; give one task a weight above 0")

    def task_weights(self, suite: Suite) -> dict[str, float]:
        """The weights given, 1 for the target and 0 for auxiliaries where none is."""
        return {task: float(self.weights.get(task, task == suite.target)) for task in suite.task_names}

    def phases(self, rounds: int) -> tuple[Phase, ...]:
        """All rounds jointly, then the finish if asked for."""
        main = Phase(self, rounds)
        return (main, finish(self, rounds)) if self.finish == "fine-tune" else (main,)


@dataclass(frozen=True, kw_only=True)
class Equal(Joint):
    """Every task with weight 1: plain multi-task learning."""

    source: ClassVar[str] = "plain multi-task learning (Caruana 1997)"

    def task_weights(self, suite: Suite) -> dict[str, float]:
        """1 for every task."""
        return dict.fromkeys(suite.task_names, 1.0)


@dataclass(frozen=True, kw_only=True)
class EqualFineTune(Equal):
    """Every task with weight 1, then the target alone from the best theta."""

    source: ClassVar[str] = "multi-task pre-training, then fine-tuning on the target"

    def phases(self, rounds: int) -> tuple[Phase, ...]:
        """All rounds jointly, then the finish."""
        return (Phase(self, rounds), finish(self, rounds))


@dataclass(frozen=True, kw_only=True)
class TargetOnly(Joint):
    """The target alone: what the auxiliaries have to beat."""

    source: ClassVar[str] = "single-task learning"

    def task_weights(self, suite: Suite) -> dict[str, float]:
        """1 for the target, 0 for the others."""
        return {task: float(task == suite.target) for task in suite.task_names}


@dataclass(frozen=True, kw_only=True)
class Finish(TargetOnly):
    """The last phase of a run: the target alone, on train and dev, at a lower learning rate.

    Not a method to choose by name: `finish` makes it.
    """

    rate: float = FINISH_RATE

    @property
    def assignment_name(self) -> str:
        """Another name than the main phase's, so that its examples come in another order."""
        return "finish"

    def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
        """As the target alone, with the learning rate scaled."""
        (assignment,) = super().assign(setting, state, number)
        learning = replace(assignment.learning, learning_rate=self.rate * assignment.learning.learning_rate)
        return [replace(assignment, learning=learning)]


def finish(method: Method, rounds: int) -> Phase:
    """The phase that fine-tunes the best theta on the target: 0.35 times the rounds (7 after 20), at 0.3 times the rate."""
    return Phase(Finish(learning_rate=method.learning_rate), ceil(FINISH_SHARE * rounds), from_best=True)
