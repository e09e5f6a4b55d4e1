"""Which auxiliaries train along: a race of task sets, run side by side from one theta and judged on select.

    order   auxiliaries by the mean cosine of their delta with the target's, which alphaVIL's rounds have measured;
            without those that point against it
    sets    as many of the order as half of the auxiliaries; those whose cosine is above 0. Where none is above 0, the
            order says nothing, and one set runs: all of the order
    theta  <- where the set with the best figure on select got to                         one assignment for each set

Ours. What a task is worth over many steps shows in no single round: alpha is greedy, and on MultiMNIST it gives a task
that hurts in the end as much weight as one that helps. A cosine orders the tasks well, but does not say how many of
them pay; a few rounds of training on each candidate do. The target alone takes no part while an auxiliary can: helpful
tasks pay late, so it would win too often, and the run gives it rounds of its own. As in any sweep, select chooses
between configurations, and every candidate is paid for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector
from avil_ray.learning.splits import DevUse
from avil_ray.methods.joint import WEIGHTS, LearnedJoint
from avil_ray.methods.method import Facts, Method, Setting, State, dropped_facts

log = logging.getLogger(__name__)

OPPOSED = -0.15
"""A task whose cosine is below this takes no part: it is not worth the steps of a set that nobody expects to win."""

STEPS = "steps"
LEAST, MOST = 0.5, 2
"""A round of the winner takes at least and at most so many times the usual steps."""


@dataclass(frozen=True, kw_only=True)
class Race(Method):
    """A phase of one round, so many rounds long, that picks the auxiliaries for what follows. Not a name to choose."""

    source: ClassVar[str] = "ours"

    length: Annotated[int, Doc("how many rounds' steps each set trains for")]
    dev: Annotated[
        Literal["train", "hold"],
        Doc("dev examples join the target's training data (train), or are left unused (hold)"),
    ] = "train"

    def start(self, setting: Setting, before: State | None = None) -> State:
        """The cosines in `before`, under "cosines"; where no phase came before, all auxiliaries are aligned."""
        cosines: Mapping[str, float] = (before or {}).get("cosines", {})
        return {"cosines": {task: cosines.get(task, 1.0) for task in setting.suite.auxiliaries}}

    def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
        """One assignment for each set, the smallest first."""
        return [
            Assignment(
                name=f"with {len(auxiliaries)}",
                weights=dict.fromkeys((setting.suite.target, *auxiliaries), 1.0),
                steps=self.length * setting.steps,
                learning=self.learning(setting.suite),
                dev=DevUse(self.dev),
            )
            for auxiliaries in task_sets(state["cosines"])
        ]

    def combine(
        self, state: State, theta: Vector, updates: Sequence[Update], target: Target, number: int
    ) -> tuple[Vector, State, Facts]:
        """Go on from the set that is best on select, the smallest of equals; from theta where all of them diverged."""
        metric, sign = target.task.measure.name, 1.0 if target.task.measure.mode == "max" else -1.0
        scores = {update.assignment: target.evaluate("select", update.theta)[metric] for update in updates}
        finished = [update for update in updates if math.isfinite(scores[update.assignment])]
        facts = {f"race/{name.removeprefix('with ')}": score for name, score in scores.items()}
        lost = [update for update in updates if not math.isfinite(scores[update.assignment])]
        facts |= {"dropped": float(len(lost)), **dropped_facts(updates, lost)}
        if not finished:
            log.warning("round %d: every set of tasks diverged; theta stays, and the target goes on alone", number)
        best = max(finished, key=lambda update: sign * scores[update.assignment], default=None)
        trained = best.losses if best else {target.suite.target: 0.0}
        learned = {task: float(task in trained) for task in target.suite.task_names}
        facts |= {f"weight/{task}": weight for task, weight in learned.items()}
        return best.theta if best else theta, {**state, "learned": learned}, facts


@dataclass(frozen=True, kw_only=True)
class Winner(LearnedJoint):
    """The phase after a race: the set that won trains jointly, as long as the budget lasts. Not a name to choose.

    budget   joint training of every task for the whole run, of an opposed one up to the race; the target once more
    steps    of a round: what the budget leaves, without the fine-tuning that follows, shared out evenly

    So the fewer tasks are left, and the less was spent on dev and on the target alone, the longer they train; what a
    run costs does not depend on it. The budget is an eighth of a grid of 16 whose runs leave out half of the
    auxiliaries on average, as those of 0 and 1 for four do. Where the rounds before have used it up, a round takes half
    of its usual steps all the same.
    """

    run: Annotated[int, Doc("the rounds of the run, without those of the target alone")]
    raced: Annotated[int, Doc("how many of them the race has taken the place of")]
    rounds: Annotated[int, Doc("how many of them this phase has")]
    finish: Annotated[int, Doc("how many rounds of fine-tuning follow")]

    def start(self, setting: Setting, before: State | None = None) -> State:
        """The weights that the race has learned, and the steps of a round."""
        state = super().start(setting, before)
        opposed = sum(cosine < OPPOSED for cosine in (before or {}).get("cosines", {}).values())
        budget = self.run * (len(setting.suite.task_names) + 1) - (self.raced + self.rounds) * opposed - self.finish
        tasks = sum(weight > 0 for weight in state[WEIGHTS].values())
        steps = (budget * setting.steps - setting.spent) // max(1, self.rounds * tasks)
        least, most = ceil(LEAST * setting.steps), MOST * setting.steps
        if steps < least and before is not None:
            log.warning(
                "the rounds before have used up the budget: the winner of the race trains for half of its usual steps, "
                "and the run costs more than joint training would; a lower alpha_steps or fewer dev examples help"
            )
        return {**state, STEPS: min(max(steps, least), most)}

    def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
        """Joint training, in rounds of that many steps."""
        rest = {name: value for name, value in state.items() if name != STEPS}
        return super().assign(replace(setting, steps=state[STEPS]), rest, number)

    def combine(
        self, state: State, theta: Vector, updates: Sequence[Update], target: Target, number: int
    ) -> tuple[Vector, State, Facts]:
        """As in all joint training; the length of a round stays."""
        theta, after, facts = super().combine(state, theta, updates, target, number)
        return theta, {**after, STEPS: state[STEPS]}, facts


def task_sets(cosines: Mapping[str, float]) -> list[list[str]]:
    """The sets of auxiliaries that race, the smallest first, each once."""
    order = sorted((task for task in cosines if cosines[task] >= OPPOSED), key=lambda task: -cosines[task])
    aligned = sum(cosines[task] > 0 for task in order)
    half = min(ceil(len(cosines) / 2), len(order))
    return [order[:size] for size in sorted({half, aligned})] if aligned else [order]
