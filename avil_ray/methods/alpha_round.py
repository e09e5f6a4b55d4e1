"""One round of αVIL: from the tasks' deltas to alpha, theta and the weights of the next round.

    alpha    = argmin L_target(dev; theta + sum_i alpha_i delta_i)                         `fit_along`
    theta   <- theta + sum_i alpha_i delta_i
    w_i     <- w_i + alpha_i - 1                                                            `PAPER`
    w_i     <- w_i + (alpha_i / neutral - 1) / 2, clipped, scaled to the sum n, clipped     `ROBUST`

`alpha_vil.py` describes when a run has such rounds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Doc

from avil_ray.errors import UserError
from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.line import LineLoss, Points
from avil_ray.learning.parameters import SUM_BLOCK, Vector
from avil_ray.learning.splits import DevUse
from avil_ray.methods.alpha_fit import AlphaFit, fit_along
from avil_ray.methods.alpha_optimizers import ADAM_RATE, AlphaOptimizer
from avil_ray.methods.deltas import geometry, line_of, sound
from avil_ray.methods.method import Method
from avil_ray.option_values import AtLeast

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The effective options, each with a value.

    `even`: alpha starts at 1/n (the mean of the deltas) and weights keep their sum; otherwise alpha starts at 1 (the
    sum of the deltas). The start is the neutral value, which leaves the weights unchanged.
    """

    dev: Literal["crossfit", "hold"] = "crossfit"
    crossfit_fraction: float = 0.7
    alpha_optimizer: AlphaOptimizer = "adam"
    alpha_steps: int = 10
    alpha_bounds: tuple[float, float] = (0.0, 4.0)
    learn_weights: bool = True
    weight_bounds: tuple[float, float] = (0.05, 4.0)
    auxiliary_heads: Literal["full", "scaled"] = "full"
    safeguard: bool = True
    finish: Literal["joint", "fine-tune", "none"] = "joint"
    even: bool = True

    def __post_init__(self) -> None:
        DevUse(self.dev, self.crossfit_fraction)
        for name in ("alpha_bounds", "weight_bounds"):
            low, high = getattr(self, name)
            if not low <= high:
                raise UserError(f"{name}: the lower bound exceeds the upper one in [{low}, {high}]")

    @property
    def dev_use(self) -> DevUse:
        """How the target's dev examples are used in such a round."""
        return DevUse(self.dev, self.crossfit_fraction)


ROBUST = Recipe()
PAPER = Recipe(
    dev="hold",
    alpha_optimizer="sgd",
    alpha_bounds=(-inf, inf),
    weight_bounds=(-inf, inf),
    auxiliary_heads="scaled",
    safeguard=False,
    finish="none",
    even=False,
)


@dataclass(frozen=True, kw_only=True)
class FitsAlpha(Method):
    """The options of a round; those not given are the variant's."""

    variant: Annotated[
        Literal["robust", "paper"], Doc("robust: never diverges, the default; paper: the published form")
    ] = "robust"
    dev: Annotated[
        Literal["crossfit", "hold"] | None,
        Doc("crossfit: each round a different part of train and dev fits alpha; hold: dev fits alpha, train trains"),
    ] = None
    crossfit_fraction: Annotated[float | None, Doc("share of train and dev that trains in a cross-fitted round")] = None
    alpha_optimizer: Annotated[AlphaOptimizer | None, Doc("optimizer that fits alpha: adam, lbfgs or sgd")] = None
    alpha_steps: Annotated[int | None, AtLeast(1), Doc("maximum steps of that optimizer per round")] = None
    alpha_bounds: Annotated[
        tuple[float, float] | None, Doc("lower and upper bound of alpha, in units of 1/n (1 for paper)")
    ] = None
    learn_weights: Annotated[bool | None, Doc("whether alpha updates the weights of the tasks' losses")] = None
    weight_bounds: Annotated[tuple[float, float] | None, Doc("lower and upper bound of a weight")] = None
    auxiliary_heads: Annotated[
        Literal["full", "scaled"] | None,
        Doc("full: an auxiliary's own head takes its whole delta; scaled: alpha scales it like the trunk"),
    ] = None
    granularity: Annotated[
        Literal["task", "layer"],
        Doc("task: one alpha for each task; layer: one for each task and layer, ours after TAPS"),
    ] = "task"
    safeguard: Annotated[bool | None, Doc("reject a step that does not lower the dev loss")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.recipe  # validates the options

    @property
    def recipe(self) -> Recipe:
        """The effective options: those given, and the variant's for the others."""
        variant = PAPER if self.variant == "paper" else ROBUST
        given = {name: getattr(self, name, None) for name in asdict(variant)}
        return replace(variant, **{name: value for name, value in given.items() if value is not None})

    def in_force(self) -> Mapping[str, Any]:
        """The options, with the variant's values for those not given."""
        return {name: getattr(self.recipe, name, value) for name, value in super().in_force().items()}


@dataclass(frozen=True)
class Fitted:
    """A round's result: the next theta [P] and weights, the history's columns, and whether the step was dropped."""

    theta: Vector
    weights: dict[str, float]
    facts: dict[str, float]
    dropped: bool


def fit_round(
    recipe: Recipe,
    theta: Vector,
    updates: Sequence[Update],
    weights: Mapping[str, float],
    target: Target,
    number: int,
    *,
    layers: bool,
) -> Fitted:
    """Fit alpha to the deltas of `updates`, one for each task, on the dev examples of round `number`.

    An update that is not finite counts as a step of zero. With `layers`, alpha has a value for each task and layer.
    """
    tasks, name, space = [update.assignment for update in updates], target.suite.target, target.space
    ends, used = [update.theta for update in updates], sound(theta, updates)
    line = line_of(space, tasks, used, name, full_heads=recipe.auxiliary_heads == "full", layers=layers)
    points = Points(line, theta, ends)
    neutral = 1 / len(tasks) if recipe.even else 1.0
    with target.line(recipe.dev_use, number, line, theta, ends) as along:
        fit = _fitted(recipe, along, points, neutral, points.count // len(tasks))
        rises = _leave_one_out(along, fit, tasks)
    moved = np.empty_like(theta)
    points.point(fit.alpha, torch.from_numpy(moved))
    alpha = fit.alpha.view(len(tasks), -1).mean(1)
    facts = geometry(theta, updates, used, space.parameters, name)
    facts |= {f"alpha/{task}": float(value) for task, value in zip(tasks, alpha, strict=True)}
    facts |= {f"weight/{task}": float(weight) for task, weight in weights.items()}
    facts |= rises | _fit_facts(fit)
    if not isfinite(fit.loss_before) or not isfinite(fit.loss_after):  # the target's training in this round is lost
        facts[f"dropped/{name}"] = 1.0
    dropped = not all(bool(torch.isfinite(part).all()) for part in torch.from_numpy(moved).split(SUM_BLOCK))
    if dropped:
        log.warning("round %d: theta + sum alpha delta is not finite; the step is dropped", number)
        np.copyto(moved, theta)
    learned = dict(weights)
    if recipe.learn_weights and fit.accepted:  # alpha = 0 for all tasks says nothing about any one of them
        learned = moved_weights(recipe, weights, alpha / neutral)
    return Fitted(moved, learned, facts, dropped)


def _fitted(recipe: Recipe, along: LineLoss, points: Points, neutral: float, rows: int) -> AlphaFit:
    """Fit alpha by the recipe, starting from its neutral value; each task has `rows` rows."""
    lengths = points.lengths() if recipe.alpha_optimizer == "lbfgs" else torch.ones(points.count)
    low, high = recipe.alpha_bounds
    return fit_along(
        along.evaluate,
        lengths,
        optimizer=recipe.alpha_optimizer,
        initial=torch.full((points.count,), neutral, dtype=torch.float64),
        lower=low * neutral,
        upper=high * neutral,
        steps=recipe.alpha_steps,
        learning_rate=ADAM_RATE * rows if recipe.alpha_optimizer == "adam" else None,
        safeguard=recipe.safeguard,
    )


def moved_weights(recipe: Recipe, weights: Mapping[str, float], ratio: Tensor) -> dict[str, float]:
    """The weights after a round; `ratio` [n] is alpha over its neutral value."""
    before = np.array(list(weights.values()))
    change = ratio.numpy() - 1.0
    after = (before + (0.5 * change if recipe.even else change)).clip(*recipe.weight_bounds)
    if recipe.even:
        scale = len(after) / after.sum() if after.sum() > 0 else 1.0
        after = (after * scale).clip(*recipe.weight_bounds)
    after = np.where(np.isfinite(after), after, before)
    return dict(zip(weights, after.tolist(), strict=True))


def _leave_one_out(along: LineLoss, fit: AlphaFit, tasks: Sequence[str]) -> dict[str, float]:
    """The increase of the dev loss without a task's part of the step; 0 if it has none.

    It complements alpha: of two tasks that are redundant, alpha may keep either.
    """
    facts = {}
    for row, task in enumerate(tasks):
        without = fit.alpha.clone().view(len(tasks), -1)
        kept = bool((without[row] != 0).any())
        without[row] = 0.0
        loss = along.loss(without.flatten()) if kept else fit.loss_after
        facts[f"dev/loss_rise_without/{task}"] = loss - fit.loss_after
    return facts


def _fit_facts(fit: AlphaFit) -> dict[str, float]:
    return {
        "dev/loss": fit.loss_after,
        "dev/loss_zero": fit.loss_before,
        "dev/loss_start": fit.loss_start,
        "accepted": float(fit.accepted),
        "evaluations": float(fit.evaluations),
    }
