"""alphaVIL: each task trains alone from theta, and alpha decides how much of each delta the target keeps.

    delta_i  = (theta after K steps on w_i L_i) - theta                                   for every task i, in parallel
    alpha    = argmin L_target(dev; theta + sum_i alpha_i delta_i)
    theta   <- theta + sum_i alpha_i delta_i                w_i <- w_i + (alpha_i - its neutral value)

Source: Kourdis, Gordon-Hall, Gorinski, "alphaVIL: Learning to Leverage Auxiliary Tasks for Multitask Learning",
arXiv 2405.07769. `variant: paper` is that form, in every round: alpha starts at 1, so theta moves by the *sum* of the
deltas, ten plain gradient steps fit alpha, and w_i += alpha_i - 1 without bounds. Initial values, the optimiser of
alpha and the w rule are not spelled out in the text we could read; they are reconstructions.

`variant: robust`, the default, is ours. A round differs in this (`alpha_round.py`): alpha starts at 1/n, the *mean* of
the deltas, and projected Adam fits it inside a box; each round another part of train and dev fits it; auxiliary heads
move in full; a step that does not lower the dev loss is turned down; w is bounded and keeps its sum. And such rounds
are one part of a run, here of 20 rounds (`Plan`), on two tracks that train side by side:

    rounds    main                                                                   target-only
    0 - 2     all tasks jointly                                                      the target alone
    3 - 6     alphaVIL's rounds: they measure how each delta points                  the target alone
    7 - 9     a race: candidate sets of tasks train jointly, each on its own track   the target alone
    10 - 19   the best set on select trains on jointly, as long as the budget has it  the target alone
    20 - 26   the target alone at a lower rate, from the best round: of target-only unless main is ahead

Candidates: auxiliaries in the order of their deltas' mean cosine with the target's, without those that point against
it; half of them, and those whose cosine is above 0. Why a race: alpha is greedy, and what a task is worth over many
steps shows in no single round; a cosine orders the tasks well, but does not say how many of them pay. Ahead: by more
than noise (`ahead`). Budget: what joint training of all tasks and the target once more cost (`Plan.steps`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from typing_extensions import Doc

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import MAIN, Track
from avil_ray.methods import fine_tuning
from avil_ray.methods.alpha_fit import AlphaOptimizer
from avil_ray.methods.alpha_round import PAPER, ROBUST, Recipe, fit_round
from avil_ray.methods.joint import follow, train_jointly
from avil_ray.methods.method import Facts, Memory, Method, Run, Setting, dropped_facts
from avil_ray.tasks.task import Task

log = logging.getLogger(__name__)

ALONE = "target-only"
WARM_UP, FIT, RACE = 0.15, 0.2, 0.15
"""Shares of the rounds that train jointly at first, fit alpha, and race."""

OPPOSED = -0.15
"""An auxiliary whose mean cosine is below this is no candidate: it is not worth the steps."""

LEAST, MOST = 0.5, 2
"""A round after the race takes at least and at most so many times the usual steps."""

AHEAD = 0.2
"""How far a track has to lead on select, in units of 1 / sqrt(N) for its N examples: half a standard error."""


@dataclass(frozen=True)
class Found(Memory):
    """What the rounds so far have found out.

    Attributes
    ----------
    weights
        w of each task, in alphaVIL's rounds.
    cosines, fitted
        Each auxiliary's mean cosine with the target's delta, over the rounds that fitted alpha, and their number.
    candidates
        Track -> its auxiliaries, while the race lasts; the smallest set first.
    kept, steps
        The auxiliaries that train jointly with the target, and the gradient steps of such a round.
    own
        Whether the fine-tuning started from the target-only track, as main was not ahead.
    """

    weights: dict[str, float]
    kept: list[str]
    steps: int
    own: bool = False
    cosines: dict[str, float] = field(default_factory=dict)
    fitted: int = 0
    candidates: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The rounds at which the parts of a run begin, the joint training of all tasks at 0."""

    fit: int
    race: int
    joint: int
    tuning: int
    end: int


@dataclass(frozen=True, kw_only=True)
class AlphaVIL(Method):
    """alphaVIL; options left out are the variant's."""

    source: ClassVar[str] = "Kourdis, Gordon-Hall, Gorinski, arXiv 2405.07769; robust: our recipe"

    variant: Annotated[
        Literal["robust", "paper"], Doc("robust: never diverges, the default; paper: the published form")
    ] = "robust"
    dev: Annotated[
        Literal["crossfit", "hold"] | None,
        Doc("crossfit: each round another part of train and dev fits alpha; hold: dev fits alpha, train trains"),
    ] = None
    crossfit_fraction: Annotated[float | None, Doc("share of train and dev that trains in a cross-fitted round")] = None
    alpha_optimizer: Annotated[AlphaOptimizer | None, Doc("what fits alpha: adam, lbfgs or sgd")] = None
    alpha_steps: Annotated[int | None, Doc("most steps of that optimizer in a round")] = None
    alpha_bounds: Annotated[
        tuple[float, float] | None, Doc("least and greatest alpha, in units of 1/n (1 for paper)")
    ] = None
    learn_weights: Annotated[bool | None, Doc("whether alpha moves the weights of the tasks' losses")] = None
    weight_bounds: Annotated[tuple[float, float] | None, Doc("least and greatest weight")] = None
    auxiliary_heads: Annotated[
        Literal["full", "scaled"] | None,
        Doc("full: an auxiliary's own head takes its whole delta; scaled: alpha scales it like the trunk"),
    ] = None
    granularity: Annotated[
        Literal["task", "layer"],
        Doc("task: one alpha for each task; layer: one for each task and layer, ours after TAPS; n x layers rows of P"),
    ] = "task"
    safeguard: Annotated[bool | None, Doc("turn a step down that does not lower the dev loss")] = None
    finish: Annotated[
        Literal["joint", "fine-tune", "none"] | None,
        Doc("joint: the run described above; fine-tune: alphaVIL's rounds, then the target alone; none: these alone"),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.recipe  # checks the options

    @property
    def recipe(self) -> Recipe:
        """The options in force: those given, the variant's for the others."""
        variant = PAPER if self.variant == "paper" else ROBUST
        given = {name: getattr(self, name, None) for name in asdict(variant)}
        return replace(variant, **{name: value for name, value in given.items() if value is not None})

    def in_force(self) -> Mapping[str, Any]:
        """The options, with the variant's in place of those left out."""
        return {name: getattr(self.recipe, name, value) for name, value in super().in_force().items()}

    @property
    def plans_ahead(self) -> bool:
        """Whether anything follows alphaVIL's rounds."""
        return self.recipe.finish != "none"

    def plan(self, setting: Setting) -> Plan:
        """The parts of a run of so many rounds."""
        total, tuned = setting.rounds, setting.rounds + fine_tuning.rounds(setting)
        if self.recipe.finish != "joint":
            return Plan(0, total, total, total, tuned if self.recipe.finish == "fine-tune" else total)
        fit = round(WARM_UP * total)
        race = fit + math.ceil(FIT * total)
        return Plan(fit, race, race + round(RACE * total), total, tuned)

    def rounds(self, setting: Setting) -> int:
        """The rounds asked for, and the fine-tuning."""
        return self.plan(setting).end

    def start(self, setting: Setting) -> Found:
        """Every weight is 1, every auxiliary trains jointly, and nothing is known of the deltas."""
        suite = setting.suite
        return Found(dict.fromkeys(suite.task_names, 1.0), list(suite.auxiliaries), setting.steps)

    def begin(self, run: Run, number: int) -> Run:
        """Open the target-only track, open or decide the race, or go back to the best round for the fine-tuning."""
        plan, memory = self.plan(run.setting), run.memory
        if number == 0 and self.recipe.finish == "joint":
            run = run.with_tracks({ALONE: run.main})
        if number == plan.race < plan.joint:
            sets = {f"with {len(one)}": one for one in candidate_sets(memory.cosines, run.setting.suite.auxiliaries)}
            run = run.with_tracks({name: run.main.moved(run.main.theta, 0) for name in sets})
            return replace(run, memory=replace(memory, candidates=sets))
        if number == plan.joint < plan.tuning:
            return self._decided(run, plan)
        if number == plan.tuning < plan.end:
            own = ALONE in run.tracks and not ahead(run.main, run.tracks[ALONE], _goal(run))
            chosen = run.tracks[ALONE] if own else run.main
            return replace(run, tracks={MAIN: chosen.rewound()}, memory=replace(memory, own=own))
        return run

    def _decided(self, run: Run, plan: Plan) -> Run:
        """The best candidate, the smallest of equals, goes on as the main track."""
        memory, main, task = run.memory, run.main, _goal(run)
        kept = [name for name, cosine in memory.cosines.items() if cosine > 0]
        if memory.candidates:
            sign = 1.0 if task.measure.mode == "max" else -1.0
            figures = {name: sign * run.tracks[name].score for name in memory.candidates}
            best = max(figures, key=lambda name: -math.inf if math.isnan(figures[name]) else figures[name])
            main, kept = run.tracks[best], memory.candidates[best]
        memory = replace(memory, kept=kept, steps=self._steps(run, plan, len(kept) + 1), candidates={})
        return replace(run, tracks={MAIN: main, ALONE: run.tracks[ALONE]}, memory=memory)

    def _steps(self, run: Run, plan: Plan, tasks: int) -> int:
        """The gradient steps of a joint round of so many tasks, so that the run costs what its budget is.

        budget  = joint training of every task for the whole run, of an opposed one up to the race; the target once more
        steps   = what the rounds so far, the target-only track and the fine-tuning leave of it, shared out evenly
        """
        memory: Found = run.memory
        usual, rest = run.setting.steps, plan.tuning - plan.joint
        opposed = sum(cosine < OPPOSED for cosine in memory.cosines.values())
        budget = plan.tuning * (len(memory.weights) + 1) - (plan.tuning - plan.race) * opposed
        budget -= plan.end - plan.tuning + rest
        steps = (budget * usual - run.gradient_steps) // (rest * tasks)
        return min(max(steps, math.ceil(LEAST * usual)), MOST * usual)

    def assign(self, run: Run, number: int) -> list[Assignment]:
        """What the plan has for this round on the main track or the candidates', and the target alone beside it."""
        plan, memory, suite = self.plan(run.setting), run.memory, run.setting.suite
        learning, held = self.learning(suite), DevUse("hold" if self.recipe.dev == "hold" else "train")

        def jointly(track: str, auxiliaries: Sequence[str], steps: int | None = None) -> Assignment:
            weights = dict.fromkeys((suite.target, *auxiliaries), 1.0)
            return train_jointly(run, weights, learning, held, track=track, steps=steps)

        if number >= plan.tuning:
            return [fine_tuning.assignment(run, learning, held)]
        if plan.fit <= number < plan.race:
            work = [
                Assignment(
                    name=task, weights={task: weight}, steps=run.setting.steps, learning=learning,
                    dev=self.recipe.dev_use, schedule_steps=run.setting.rounds * run.setting.steps,
                )
                for task, weight in memory.weights.items()
            ]  # fmt: skip
        elif memory.candidates:
            work = [jointly(track, auxiliaries) for track, auxiliaries in memory.candidates.items()]
        else:
            work = [jointly(MAIN, memory.kept, memory.steps)]
        return [*work, jointly(ALONE, [])] if ALONE in run.tracks else work

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """Fit alpha, or follow the joint training; what is not finite is dropped, and counted in `dropped`."""
        plan, memory, tasks = self.plan(run.setting), run.memory, target.suite.task_names
        if number >= plan.tuning:
            facts = fine_tuning.facts(updates, target)
            facts |= {"from_target_only": float(memory.own)} if self.recipe.finish == "joint" else {}
            return run.with_main(follow(run.main, updates[0], number)), facts
        lost = [update for update in updates if not np.isfinite(update.theta).all()]
        facts = {"dropped": float(len(lost)), **dropped_facts(updates, lost)}
        fits = plan.fit <= number < plan.race
        deltas = updates[: len(tasks)] if fits else ()
        joint = updates[len(deltas) :]
        run = run.with_tracks({update.track: follow(run.tracks[update.track], update, number) for update in joint})
        if deltas:
            layers = self.granularity == "layer"
            fit = fit_round(self.recipe, run.main.theta, deltas, memory.weights, target, number, layers=layers)
            facts |= {**fit.facts, "dropped": facts["dropped"] + fit.dropped}
            run = run.with_main(run.main.moved(fit.theta, run.setting.steps))
            memory = replace(memory, weights=fit.weights, **_mean_cosines(memory, fit.facts, target.suite.auxiliaries))
        elif not memory.candidates:
            facts |= {f"weight/{task}": float(task == target.suite.target or task in memory.kept) for task in tasks}
        return replace(run, memory=memory), facts

    def dev_passes(self, run: Run, number: int) -> tuple[DevUse, int]:
        """Where alpha is fitted: two before the fit, one a step, and one for each task that is left out."""
        plan, tasks = self.plan(run.setting), len(run.setting.suite.task_names)
        fits = plan.fit <= number < plan.race
        return self.recipe.dev_use, self.recipe.alpha_steps + 2 + tasks if fits else 0


def candidate_sets(cosines: Mapping[str, float], auxiliaries: Sequence[str]) -> list[list[str]]:
    """The sets of auxiliaries that race, the smallest first, each once; all where no cosine is above 0."""
    known = {task: cosines.get(task, 1.0) for task in auxiliaries}
    order = sorted((task for task in known if known[task] >= OPPOSED), key=lambda task: -known[task])
    aligned = sum(known[task] > 0 for task in order)
    half = min(math.ceil(len(known) / 2), len(order))
    return [order[:size] for size in sorted({half, aligned})] if aligned else [order]


def ahead(one: Track, other: Track, task: Task) -> bool:
    """Whether the best figure of `one` on select is above the other's by more than noise.

    A standard error of accuracy over N examples is about 0.4 / sqrt(N); half of it has to lie between the two. Of a
    figure that is better where it is lower, an error, the same share of itself.
    """
    figure, to_beat = (math.nan if track.best is None else track.best.score for track in (one, other))
    if math.isnan(figure) or math.isnan(to_beat):
        return not math.isnan(figure)
    assert task.select is not None
    gain, unit = (figure - to_beat, 1.0) if task.measure.mode == "max" else (to_beat - figure, abs(to_beat))
    return gain > AHEAD * unit / math.sqrt(len(task.select))


def _mean_cosines(memory: Found, facts: Facts, auxiliaries: Sequence[str]) -> dict[str, Any]:
    """Each auxiliary's mean cosine so far: a mean over rounds, as one round's deltas say little."""
    fitted, before = memory.fitted + 1, memory.cosines
    means = {task: before.get(task, 0.0) for task in auxiliaries}
    means = {task: mean + (facts[f"cosine/{task}"] - mean) / fitted for task, mean in means.items()}
    return {"cosines": means, "fitted": fitted}


def _goal(run: Run) -> Task:
    return run.setting.tasks[run.setting.suite.target]
