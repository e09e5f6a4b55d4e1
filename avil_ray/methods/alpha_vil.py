"""alphaVIL: each task trains alone from theta, and alpha decides how much of each delta the target keeps.

    delta_i  = (theta after K steps on w_i L_i) - theta                                   for every task i, in parallel
    alpha    = argmin L_target(dev; theta + sum_i alpha_i delta_i)                         `fit_alpha`
    theta   <- theta + sum_i alpha_i delta_i                w_i <- w_i + (alpha_i - its neutral value)

Source: Kourdis, Gordon-Hall, Gorinski, "alphaVIL: Learning to Leverage Auxiliary Tasks for Multitask Learning",
arXiv 2405.07769. `variant: paper` is that form: alpha starts at 1, so theta moves by the *sum* of the deltas, ten plain
gradient steps fit alpha, and w_i += alpha_i - 1 without bounds. Initial values, the optimiser of alpha and the w rule
are not spelled out in the text we could read; they are reconstructions. `variant: robust` is ours, and differs as
follows: alpha starts at 1/n (the *mean* of the deltas) and is fitted by projected Adam inside a box; each round another
part of train and dev fits alpha (cross-fitting); auxiliary heads move in full; a step that does not lower the dev loss
is turned down; w is bounded and keeps its sum; and `finish: joint` puts these rounds into a run: all tasks train
jointly first, alphaVIL's rounds measure how far each task's delta points along the target's, and a race of task sets
(`race.py`) settles which auxiliaries stay. In case none pays, the target trains alone from where the run began: for a
third of the rounds, and where the race is not ahead by then for all of them, as a target-only run would. Then the
winner of the race trains on jointly while the run's budget lasts. The best theta on select is fine-tuned on the target;
it is the target's own unless another is ahead by more than what may well be chance.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Doc

from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import DevObjective, Target
from avil_ray.learning.parameters import Vector
from avil_ray.learning.splits import DevUse
from avil_ray.methods.alpha_fit import ADAM_RATE, AlphaFit, AlphaOptimizer, fit_alpha
from avil_ray.methods.deltas import by_layer, gather, geometry, split_off
from avil_ray.methods.joint import LearnedJoint, TargetAlone, TargetLonger, fine_tune
from avil_ray.methods.method import Facts, Method, Phase, Setting, State
from avil_ray.methods.race import Race, Winner

log = logging.getLogger(__name__)

Finish = Literal["joint", "fine-tune", "none"]

INFINITE = float("inf")
WARM_UP, FIT, RACE = 0.15, 0.2, 0.15
"""Shares of the rounds with `finish: joint`: of 20, 3 train jointly, 4 fit alpha, the race lasts 3, and 10 follow, each
as long as the run's budget has it (`race.Winner`)."""

ALONE = 0.35
"""How long the target trains alone from the start at least, as a share of the rounds: 7 of 20, on top of them."""

ROBUST: dict[str, Any] = {
    "dev": "crossfit",
    "crossfit_fraction": 0.7,
    "alpha_optimizer": "adam",
    "alpha_steps": 10,
    "alpha_bounds": (0.0, 4.0),
    "learn_weights": True,
    "weight_bounds": (0.05, 4.0),
    "auxiliary_heads": "full",
    "safeguard": True,
    "finish": "joint",
}
PAPER: dict[str, Any] = {
    **ROBUST,
    "dev": "hold",
    "alpha_optimizer": "sgd",
    "alpha_bounds": (-INFINITE, INFINITE),
    "weight_bounds": (-INFINITE, INFINITE),
    "auxiliary_heads": "scaled",
    "safeguard": False,
    "finish": "none",
}


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
        Finish | None,
        Doc(
            "fine-tune: train the best theta on the target alone at the end; joint: train jointly for some rounds, fit "
            "alpha for some, let task sets race, train the target alone from where the run began, then the winner of "
            "the race jointly while the budget lasts, and fine-tune the best"
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        DevUse(self.recipe.dev, self.recipe.crossfit_fraction)
        if self.recipe.alpha_steps < 1:
            raise UserError(f"alpha_steps must be at least 1, not {self.alpha_steps}")
        for name in ("alpha_bounds", "weight_bounds"):
            low, high = getattr(self.recipe, name)
            if not low <= high:
                raise UserError(f"{name}: the least must not lie above the greatest, as in [{low}, {high}]")

    @property
    def recipe(self) -> Recipe:
        """The options in force: those given, the variant's for the others."""
        variant = PAPER if self.variant == "paper" else ROBUST
        given = {name: getattr(self, name) for name in variant}
        return Recipe(**{name: variant[name] if given[name] is None else given[name] for name in variant})

    def phases(self, rounds: int) -> tuple[Phase, ...]:
        """The rounds that fit alpha, and what stands around them: `finish`."""
        held: Literal["train", "hold"] = "hold" if self.recipe.dev == "hold" else "train"
        if self.recipe.finish == "none":
            return (Phase(self, rounds),)
        if self.recipe.finish == "fine-tune":
            return (Phase(self, rounds), fine_tune(self, rounds, held))
        fitted, warm, length = ceil(FIT * rounds), round(WARM_UP * rounds), round(RACE * rounds)
        common: dict[str, Any] = {"learning_rate": self.learning_rate, "dev": held}
        alone, rest = ceil(ALONE * rounds), rounds - warm - fitted - length
        tuning = fine_tune(self, rounds, held)
        return (
            Phase(LearnedJoint(**common), warm),
            Phase(self, fitted),
            Phase(Race(length=length, **common), min(1, length)),
            Phase(TargetAlone(**common), alone, start="initial"),
            Phase(TargetLonger(after=alone, **common), rounds - alone),
            Phase(Winner(run=rounds, raced=length, rounds=rest, finish=tuning.rounds, **common), rest, start="aside"),
            tuning,
        )

    @property
    def dev_use(self) -> DevUse:
        """How the target's dev examples are spent."""
        return DevUse(self.recipe.dev, self.recipe.crossfit_fraction)

    def dev_passes(self, tasks: int) -> tuple[DevUse, int]:
        """Two before the fit, one a step, and one for each task that is left out."""
        return self.dev_use, self.recipe.alpha_steps + 2 + tasks

    def start(self, setting: Setting, before: State | None = None) -> State:
        """Every weight is 1, and nothing is known of the deltas yet."""
        return {"weights": dict.fromkeys(setting.suite.task_names, 1.0), "cosines": {}, "rounds": 0}

    def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
        """One assignment per task, each with a fresh optimizer and its own weight."""
        return [
            Assignment(
                name=task,
                weights={task: weight},
                steps=setting.steps,
                learning=self.learning(setting.suite),
                dev=self.dev_use,
                first_step=number * setting.steps,
            )
            for task, weight in state["weights"].items()
        ]

    def combine(
        self, state: State, theta: Vector, updates: Sequence[Update], target: Target, number: int
    ) -> tuple[Vector, State, Facts]:
        """Fit alpha, step, move the weights. What is not finite is dropped, and counted in `dropped`."""
        recipe, tasks = self.recipe, [update.assignment for update in updates]
        base = torch.from_numpy(theta.copy()).to(target.device)
        deltas, facts = gather(theta, updates, target)
        facts |= geometry(deltas[:, target.space.parameters], tasks, target.suite.target)
        split_off(base, deltas, tasks, target, full_heads=recipe.auxiliary_heads == "full")

        unit = 1.0 if self.variant == "paper" else 1 / len(tasks)
        low, high = recipe.alpha_bounds
        objective = target.objective(self.dev_use, number)
        deltas = by_layer(deltas, target.space) if self.granularity == "layer" else deltas
        layers = len(deltas) // len(tasks)
        fit = fit_alpha(
            objective,
            base,
            deltas,
            optimizer=recipe.alpha_optimizer,
            initial=torch.full((len(deltas),), unit, dtype=torch.float64),
            lower=low * unit,
            upper=high * unit,
            steps=recipe.alpha_steps,
            learning_rate=ADAM_RATE * layers if recipe.alpha_optimizer == "adam" else None,
            safeguard=recipe.safeguard,
        )
        moved = base.addmv(deltas.T, fit.alpha.to(deltas))
        alpha = fit.alpha.view(len(tasks), layers)
        if not bool(torch.isfinite(moved).all()):
            moved, facts["dropped"] = torch.from_numpy(theta.copy()), facts["dropped"] + 1
            log.warning("round %d: theta + sum alpha delta is not finite; the step is dropped", number)
        if not isfinite(fit.loss_before) or not isfinite(fit.loss_after):  # what the target learned counts for nothing
            facts[f"dropped/{target.suite.target}"] = 1.0

        weights = dict(state["weights"])
        if recipe.learn_weights and fit.accepted:  # alpha = 0 for all says nothing about one task
            weights = self._moved_weights(weights, alpha.mean(1) / unit)
        facts |= {f"alpha/{task}": float(value) for task, value in zip(tasks, alpha.mean(1), strict=True)}
        facts |= {f"weight/{task}": float(weight) for task, weight in state["weights"].items()}
        facts |= _leave_one_out(objective, base, deltas, fit, tasks)
        state = {"weights": weights, **_cosines(state, facts, target.suite.auxiliaries)}
        return moved.cpu().numpy(), state, facts | _fit_facts(fit)

    def _moved_weights(self, weights: dict[str, float], ratio: Tensor) -> dict[str, float]:
        """W after a round; `ratio` is alpha over its neutral value.

        paper: w + alpha - 1. robust: w + (ratio - 1)/2, clipped, scaled to the sum n, clipped again.
        """
        low, high = self.recipe.weight_bounds
        before = np.array(list(weights.values()))
        if self.variant == "paper":
            after = (before + ratio.numpy() - 1.0).clip(low, high)
        else:
            after = (before + 0.5 * (ratio.numpy() - 1.0)).clip(low, high)
            scale = len(after) / after.sum() if after.sum() > 0 else 1.0
            after = (after * scale).clip(low, high)
        after = np.where(np.isfinite(after), after, before)
        return dict(zip(weights, after.tolist(), strict=True))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """AlphaVIL's options with nothing left open."""

    dev: Literal["crossfit", "hold"]
    crossfit_fraction: float
    alpha_optimizer: AlphaOptimizer
    alpha_steps: int
    alpha_bounds: tuple[float, float]
    learn_weights: bool
    weight_bounds: tuple[float, float]
    auxiliary_heads: Literal["full", "scaled"]
    safeguard: bool
    finish: Finish


def _cosines(state: State, facts: Facts, auxiliaries: Sequence[str]) -> dict[str, Any]:
    """Each auxiliary's mean cosine so far, and the weights of joint training: 1 for the target and where it is above 0.

    A mean over rounds, as one round's deltas say little.
    """
    rounds, before = state["rounds"] + 1, state["cosines"]
    means = {
        task: before.get(task, 0.0) + (facts[f"cosine/{task}"] - before.get(task, 0.0)) / rounds for task in auxiliaries
    }
    learned = {task: float(means.get(task, 1.0) > 0) for task in state["weights"]}
    return {"cosines": means, "learned": learned, "rounds": rounds}


def _leave_one_out(
    objective: DevObjective, base: Tensor, deltas: Tensor, fit: AlphaFit, tasks: list[str]
) -> dict[str, float]:
    """How much higher the dev loss is without a task's part of the step; 0 where it has none.

    Evidence to read beside alpha: of two tasks that say the same, alpha may keep either.
    """
    facts = {}
    for row, task in enumerate(tasks):
        without = fit.alpha.clone().view(len(tasks), -1)
        kept = bool((without[row] != 0).any())
        without[row] = 0.0
        moved = without.flatten().to(deltas)
        loss, _ = objective(base.addmv(deltas.T, moved)) if kept else (fit.loss_after, None)
        facts[f"without/{task}"] = loss - fit.loss_after
    return facts


def _fit_facts(fit: AlphaFit) -> dict[str, float]:
    return {
        "dev/loss": fit.loss_after,
        "dev/loss_zero": fit.loss_before,
        "dev/loss_start": fit.loss_start,
        "accepted": float(fit.accepted),
        "evaluations": float(fit.evaluations),
    }
