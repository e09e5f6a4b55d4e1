"""In what batches a sweep's trials go to Ray Tune.

A plain sweep is one batch. Early stopping compares trials with one another, and must not compare methods: each entry is
a batch of its own. Where Optuna proposes, it learns from each batch before it proposes the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avil_ray.catalog import build_suite, build_trial
from avil_ray.errors import WorkFailed
from avil_ray.methods.method import Setting
from avil_ray.randomness import derive
from avil_ray.reports.comparison import SweepFacts
from avil_ray.reports.records import RESULT, read_record, trial_folder
from avil_ray.spaces.distributions import Distribution
from avil_ray.spaces.entries import Configuration, Entry, TrialPlan, plan
from avil_ray.storage import Storage, Unreachable

if TYPE_CHECKING:
    import optuna
    from ray.tune.schedulers import TrialScheduler

    from avil_ray.spaces.search_space import SearchSpace

PROPOSALS = 4
"""Configurations that Optuna proposes at a time: they run in parallel, and it learns from them together."""


@dataclass(frozen=True)
class Stage:
    """Trials that run together, and the rounds of a whole one of them."""

    plans: list[TrialPlan]
    rounds: int


def stages(space: SearchSpace, folder: Storage, facts: SweepFacts) -> Iterator[Stage]:
    """The batches in order; each is made when the last one has its results in `folder`."""
    together = space.search.scheduler == "none"
    known = [(entry, entry.configurations(space.search)) for entry in space.entries]
    if together:
        yield _stage(space, [one for _, configurations in known for one in configurations])
    for entry, configurations in known:
        if entry.asked(space.search):
            yield from _proposed(space, entry, folder, facts)
        elif not together:
            yield _stage(space, configurations)


def scheduler(space: SearchSpace, stage: Stage, mode: str) -> TrialScheduler | None:
    """Tune's scheduler for a batch; None runs every trial to its end.

    Asynchronous successive halving (Li et al. 2020): a third of the trials goes on past a quarter of the rounds, a
    third of those past three quarters. The last round is no rung: a trial that came so far reads its test figure.
    """
    if space.search.scheduler == "none":
        return None
    from ray.tune.schedulers import ASHAScheduler

    grace = max(1, math.ceil(stage.rounds / 4))
    return ASHAScheduler(
        time_attr="training_iteration",
        metric="score",
        mode=mode,
        max_t=stage.rounds + 1,
        grace_period=grace,
        reduction_factor=3,
    )


def _stage(space: SearchSpace, configurations: list[Configuration]) -> Stage:
    built = build_suite(space.suite)
    trials = [build_trial(built, one.method, one.options) for one in configurations]
    lengths = [method.rounds(Setting(suite, {}, space.rounds, space.steps_per_round)) for suite, method in trials]
    rounds = max(lengths, default=0)
    return Stage([plan(one, seed) for one in configurations for seed in space.seeds], rounds)


def _proposed(space: SearchSpace, entry: Entry, folder: Storage, facts: SweepFacts) -> Iterator[Stage]:
    """Batches of configurations that Optuna proposes, told the mean of select over seeds after each.

    The sampler is seeded and is told results in the order of its proposals, so a sweep that was stopped proposes the
    same again and finds their results there.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=derive(0, "optuna", entry.label) % 2**32)
    study = optuna.create_study(direction="maximize" if facts.mode == "max" else "minimize", sampler=sampler)
    count = entry.count(space.search)
    for first in range(0, count, PROPOSALS):
        trials = [study.ask() for _ in range(min(PROPOSALS, count - first))]
        chosen = [{key: _suggest(trial, key, one) for key, one in entry.free.items()} for trial in trials]
        configurations = [entry.configuration(first + index, point) for index, point in enumerate(chosen)]
        yield _stage(space, configurations)
        for trial, configuration in zip(trials, configurations, strict=True):
            _tell(study, trial, [_select(folder, plan(configuration, seed)) for seed in space.seeds])


def _suggest(trial: Any, key: str, one: Distribution) -> Any:
    if one.continuous:
        low, high = map(float, one.values)
        return trial.suggest_float(key, low, high, log=one.kind == "loguniform")
    return one.values[trial.suggest_categorical(key, list(range(len(one.values))))]


def _tell(study: optuna.Study, trial: Any, scores: list[float | None]) -> None:
    found = [score for score in scores if score is not None and math.isfinite(score)]
    if len(found) == len(scores):
        study.tell(trial, sum(found) / len(found))
    else:
        study.tell(trial, state=_failed())


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL


def _select(folder: Storage, one: TrialPlan) -> float | None:
    """A trial's figure on select; None where it failed, was stopped or has no result."""
    stored = trial_folder(folder, one.key)
    try:
        return read_record(stored).select if stored.exists(RESULT) else None
    except Unreachable:
        raise
    except WorkFailed:  # damaged since it was written: the report says so
        return None
