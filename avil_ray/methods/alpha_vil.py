"""αVIL: each task is trained separately from theta, and alpha determines how much of each delta the target keeps.

    delta_i  = (theta after K steps on w_i L_i) - theta                                   for every task i, in parallel
    alpha    = argmin L_target(dev; theta + sum_i alpha_i delta_i)
    theta   <- theta + sum_i alpha_i delta_i                w_i <- w_i + (alpha_i - its neutral value)

Source: Kourdis, Gordon-Hall, Gorinski, "alphaVIL: Learning to Leverage Auxiliary Tasks for Multitask Learning",
arXiv 2405.07769. `variant: paper` is the published form, in every round: alpha starts at 1, so theta moves by the *sum*
of the deltas; ten plain gradient steps fit alpha; w_i += alpha_i - 1 without bounds. What the paper leaves open is
reconstructed.

`variant: robust`, the default, is ours. Its rounds differ (`alpha_round.py`): alpha starts at 1/n, the *mean* of the
deltas, and projected Adam fits it within bounds; each round fits it on a different part of train and dev; auxiliary
heads take their full delta; a step that does not lower the dev loss is rejected; w is bounded and keeps its sum.
Moreover, such rounds are only a part of a run (`Plan`). For a budget of 20 rounds of K steps, two tracks are trained in
parallel:

    rounds    main                                                                       target-only
    0 - 2     all tasks jointly                                                          the target alone
    3 - 6     αVIL rounds: n assignments, one task each; they measure cosines            the target alone
    7 - 9     paused; a race of one or two candidate sets, each jointly on a new track   the target alone
    10 - 19   the winner's track replaces main; its set continues training jointly       the target alone
    20 - 26   fine-tuning: the target alone, at a lower rate, from the best round of     closed
              target-only, or of main if that is ahead by more than noise (`ahead`)

Result: the best round on select of the fine-tuned track, including its rounds before the fine-tuning and the race. For
other lengths, the phases take 15 %, 20 % (rounded up) and 15 % of the requested rounds, then the rest; fine-tuning adds
35 % (rounded up). Cost: about 20 rounds of joint training on all n tasks and 20 of the target alone, 20 (n + 1) K
gradient steps; an opposed auxiliary counts only up to the race. Assignments take K steps; main's after the race take
K/2 to 2 K, whatever the budget leaves. Candidates: auxiliaries are ranked by the mean cosine of their deltas with the
target's, without opposed ones (`OPPOSED`); the sets are the first half, and those above 0. The race is needed because
alpha judges single rounds, and a cosine does not tell how many of the tasks are worth their cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, NamedTuple

from typing_extensions import Doc

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import MAIN, Track
from avil_ray.methods import fine_tuning
from avil_ray.methods.alpha_round import FitsAlpha, fit_round
from avil_ray.methods.joint import follow, train_alone, train_jointly
from avil_ray.methods.method import Facts, Memory, Run, Setting, dropped_facts
from avil_ray.tasks.task import Task

ALONE = "target-only"
WARM_UP, FIT, RACE = 0.15, 0.2, 0.15
"""Fractions of the rounds for the initial joint training, for fitting alpha, and for the race."""

OPPOSED = -0.15
"""An auxiliary with a lower mean cosine is not a candidate: it is not worth its steps."""

LEAST, MOST = 0.5, 2
"""Bounds on the steps of a round after the race, as multiples of the usual number."""

AHEAD = 0.2
"""Margin by which a track must lead on select, in units of 1 / sqrt(N) for N examples: about half a standard error."""


@dataclass(frozen=True)
class Found(Memory):
    """The findings of the rounds so far.

    Attributes
    ----------
    weights
        w of each task, in αVIL rounds.
    kept, steps
        The auxiliaries trained jointly with the target, and the gradient steps of such a round.
    cosines
        Auxiliary -> the cosine of its delta with the target's, in each round that fitted alpha.
    candidates
        Track -> its auxiliaries during the race; the smallest set first.
    own
        Whether the fine-tuning continues the target-only track because main was not ahead.
    """

    weights: dict[str, float]
    kept: list[str]
    steps: int
    cosines: dict[str, list[float]]
    candidates: dict[str, list[str]] = field(default_factory=dict)
    own: bool = False


class Plan(NamedTuple):
    """The rounds at which the phases of a run begin; all tasks are trained jointly before `fit`."""

    fit: int
    race: int
    joint: int
    tuning: int
    end: int


@dataclass(frozen=True, kw_only=True)
class AlphaVIL(FitsAlpha):
    """Each task is trained separately, and alpha determines how much of its step the target keeps.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.AlphaVIL(alpha_steps=5), rounds=6, steps_per_round=2)
    >>> [column for column in result.history if column.startswith("alpha/helpful")]
    ['alpha/helpful_1', 'alpha/helpful_2']
    """

    source: ClassVar[str] = "Kourdis, Gordon-Hall, Gorinski, arXiv 2405.07769; robust: our recipe"

    finish: Annotated[
        Literal["joint", "fine-tune", "none"] | None,
        Doc("what follows alphaVIL's rounds. joint: a race, joint training, fine-tuning; fine-tune: that alone"),
    ] = None

    @property
    def plans_ahead(self) -> bool:
        """Whether other phases follow the αVIL rounds."""
        return self.recipe.finish != "none"

    def plan(self, setting: Setting) -> Plan:
        """How the rounds of a run are divided into phases."""
        total, tuned = setting.rounds, setting.rounds + fine_tuning.rounds(setting)
        if self.recipe.finish != "joint":
            return Plan(0, total, total, total, tuned if self.recipe.finish == "fine-tune" else total)
        fit = round(WARM_UP * total)
        race = fit + math.ceil(FIT * total)
        return Plan(fit, race, race + round(RACE * total), total, tuned)

    def rounds(self, setting: Setting) -> int:
        """The requested rounds plus the fine-tuning."""
        return self.plan(setting).end

    def start(self, setting: Setting) -> Found:
        """Every weight is 1, every auxiliary is trained jointly, and nothing is known about the deltas."""
        names, auxiliaries = setting.suite.task_names, list(setting.suite.auxiliaries)
        return Found(dict.fromkeys(names, 1.0), auxiliaries, setting.steps, {task: [] for task in auxiliaries})

    def reads_select(self, setting: Setting, number: int) -> bool:
        """When the race starts or is decided, and when the fine-tuning starts."""
        plan = self.plan(setting)
        return number in (plan.race, plan.joint, plan.tuning)

    def begin(self, run: Run, number: int) -> Run:
        """Open the target-only track, start or decide the race, or return to the best round for the fine-tuning."""
        plan, memory = self.plan(run.setting), run.memory
        if number == 0 and self.recipe.finish == "joint":
            run = run.with_tracks({ALONE: run.main})
        if number == plan.race < plan.joint:
            sets = {f"with {len(auxiliaries)}": auxiliaries for auxiliaries in candidate_sets(memory.cosines)}
            run = run.with_tracks({name: run.main.moved(run.main.theta, 0) for name in sets})
            return replace(run, memory=replace(memory, candidates=sets))
        if number == plan.joint < plan.tuning:
            return self._decided(run, plan)
        if number == plan.tuning < plan.end:
            own = ALONE in run.tracks and not ahead(run.main, run.tracks[ALONE], run.setting.goal)
            chosen = run.tracks[ALONE] if own else run.main
            return replace(run, tracks={MAIN: chosen.rewound()}, memory=replace(memory, own=own))
        return run

    def _decided(self, run: Run, plan: Plan) -> Run:
        """The candidate with the best score on select (the smallest set if equal) becomes the main track.

        If none has a score, as when the cost is estimated before a run, the largest wins: an upper bound.

        budget  = the requested rounds, of every task jointly (an opposed one up to the race) and of the target alone
        steps   = what remains after the rounds so far, the target-only track and the fine-tuning, divided evenly
        """
        memory: Found = run.memory
        main, kept = run.main, [task for task, cosines in memory.cosines.items() if mean(cosines) > 0]
        if memory.candidates:
            sign = 1.0 if run.setting.goal.measure.mode == "max" else -1.0
            scores = {name: sign * run.tracks[name].score for name in memory.candidates}
            known = {name: score for name, score in scores.items() if not math.isnan(score)}
            best = max(known, key=known.__getitem__) if known else list(scores)[-1]
            main, kept = run.tracks[best], memory.candidates[best]
        opposed = sum(mean(cosines) < OPPOSED for cosines in memory.cosines.values())
        usual, rest = run.setting.steps, plan.tuning - plan.joint
        budget = plan.tuning * (len(memory.weights) + 1) - (plan.tuning - plan.race) * opposed
        left = (budget - rest - (plan.end - plan.tuning)) * usual - run.gradient_steps
        steps = min(max(left // (rest * (len(kept) + 1)), math.ceil(LEAST * usual)), MOST * usual)
        memory = replace(memory, kept=kept, steps=steps, candidates={})
        return replace(run, tracks={MAIN: main, ALONE: run.tracks[ALONE]}, memory=memory)

    def assign(self, run: Run, number: int) -> list[Assignment]:
        """The plan's assignments on the main track or the candidates', plus the target alone."""
        plan, memory, suite = self.plan(run.setting), run.memory, run.setting.suite
        learning, held = self.learning(suite), DevUse("hold" if self.recipe.dev == "hold" else "train")

        def jointly(track: str, auxiliaries: Sequence[str], steps: int = run.setting.steps) -> Assignment:
            weights = dict.fromkeys((suite.target, *auxiliaries), 1.0)
            return train_jointly(run, weights, learning, held, track=track, steps=steps)

        if number >= plan.tuning:
            return [fine_tuning.assignment(run, learning, held)]
        if plan.fit <= number < plan.race:
            work = [train_alone(run, task, w, learning, self.recipe.dev_use) for task, w in memory.weights.items()]
        elif memory.candidates:
            work = [jointly(track, auxiliaries) for track, auxiliaries in memory.candidates.items()]
        else:
            planned = plan.joint * run.setting.steps + (plan.tuning - plan.joint) * memory.steps
            work = [replace(jointly(MAIN, memory.kept, memory.steps), schedule_steps=planned)]
        return [*work, jointly(ALONE, [])] if ALONE in run.tracks else work

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """Fit alpha, or follow the joint training; updates that are not finite are dropped and counted in `dropped`."""
        plan, memory, tasks = self.plan(run.setting), run.memory, target.suite.task_names
        if number >= plan.tuning:
            facts = fine_tuning.facts(updates, target) | {"from_target_only": float(memory.own)}
            return run.with_main(follow(run.main, updates[0], number)), facts
        facts = dropped_facts(updates)
        fits = plan.fit <= number < plan.race
        deltas, joint = (updates[: len(tasks)], updates[len(tasks) :]) if fits else ((), updates)
        run = run.with_tracks({update.track: follow(run.tracks[update.track], update, number) for update in joint})
        if deltas:
            layers = self.granularity == "layer"
            fit = fit_round(self.recipe, run.main.theta, deltas, memory.weights, target, number, layers=layers)
            facts |= {**fit.facts, "dropped": facts["dropped"] + fit.dropped}
            cosines = {task: [*before, fit.facts[f"cosine/{task}"]] for task, before in memory.cosines.items()}
            memory = replace(memory, weights=fit.weights, cosines=cosines)
            run = run.with_main(run.main.moved(fit.theta, run.setting.steps))
        elif not memory.candidates:
            facts |= {f"weight/{task}": float(task in (target.suite.target, *memory.kept)) for task in tasks}
            if number >= plan.joint:
                facts |= {f"kept/{task}": float(task in memory.kept) for task in memory.cosines}
        return replace(run, memory=memory), facts

    def dev_passes(self, run: Run, number: int) -> tuple[DevUse, int]:
        """In rounds that fit alpha: two before the fit, one per step, and one for each task left out."""
        plan, tasks = self.plan(run.setting), len(run.setting.suite.task_names)
        return self.recipe.dev_use, self.recipe.alpha_steps + 2 + tasks if plan.fit <= number < plan.race else 0


def candidate_sets(cosines: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """The distinct sets that race, the smallest first; if no cosine is above 0, one set of all that are not opposed."""
    means = {task: mean(found) for task, found in cosines.items()}
    order = sorted((task for task in means if means[task] >= OPPOSED), key=lambda task: -means[task])
    aligned = sum(means[task] > 0 for task in order)
    half = min(math.ceil(len(means) / 2), len(order))
    return [order[:size] for size in sorted({half, aligned})] if aligned else [order]


def mean(cosines: Sequence[float]) -> float:
    """The mean over rounds, as the deltas of a single round are noisy; 1 if nothing is known."""
    return math.fsum(cosines) / len(cosines) if cosines else 1.0


def ahead(one: Track, other: Track, task: Task) -> bool:
    """Whether the best score of `one` on select is better than the other's beyond noise.

    The standard error of accuracy over N examples is about 0.4 / sqrt(N); the margin is half of it. For errors, where
    lower is better, the margin is that fraction of the other's error.
    """
    figure, to_beat = (math.nan if track.best is None else track.best.score for track in (one, other))
    if math.isnan(figure) or math.isnan(to_beat):
        return not math.isnan(figure)
    assert task.select is not None
    gain, unit = (figure - to_beat, 1.0) if task.measure.mode == "max" else (to_beat - figure, abs(to_beat))
    return gain > AHEAD * unit / math.sqrt(len(task.select))
