"""In what batches a sweep's trials go to Ray Tune.

A plain sweep is one batch. Early stopping compares trials with one another, and must not compare methods: each entry is
a batch of its own. Where configurations are proposed, each batch is learned from before the next. A search that is held
to a budget goes in batches that this pays for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avil_ray.catalog import build_suite, build_trial
from avil_ray.methods.method import Setting
from avil_ray.reports.comparison import SweepFacts
from avil_ray.spaces.budget import REFERENCE, limits
from avil_ray.spaces.distributions import Distribution
from avil_ray.spaces.entries import Configuration, Entry, TrialPlan, plan
from avil_ray.spaces.vectorize import ROWS, of_fixed_weights
from avil_ray.storage import Storage
from avil_ray.sweeps.budget import Purse, purse, read_result, unknown_budget
from avil_ray.sweeps.proposals import Drawn, Optuna, Proposer, Surrogate

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from avil_ray.spaces.search_space import SearchSpace

PROPOSALS = 4
"""Configurations that are proposed at a time: they run in parallel, and their results are learned from together. Where
trials train in stacks, as many as fill one with all their seeds, if that is more."""
PROPOSERS: Mapping[str, Callable[[Mapping[str, Distribution], str], Proposer]] = {
    "optuna": Optuna,
    "surrogate": Surrogate,
}


@dataclass(frozen=True)
class Stage:
    """Trials that run together, and the rounds of a whole one of them."""

    plans: list[TrialPlan]
    rounds: int


def stages(
    space: SearchSpace, folder: Storage, facts: SweepFacts, say: Callable[[str], object] = lambda line: None
) -> Iterator[Stage]:
    """The batches in order; each is made when the last one has its results in `folder`.

    Where the reference sets the budget of the others, it comes first. `say` is told, in a line, where a search ends
    because its budget is spent.
    """
    ran: list[TrialPlan] = []
    for stage in _batches(space, folder, facts, say, ran):
        yield stage
        ran += stage.plans


def _batches(
    space: SearchSpace, folder: Storage, facts: SweepFacts, say: Callable[[str], object], ran: Sequence[TrialPlan]
) -> Iterator[Stage]:
    """See `stages`; `ran` are the trials of the batches before, and grows with them."""
    together = space.search.scheduler == "none"
    order = sorted(space.entries, key=lambda entry: space.budget == REFERENCE and entry.label != space.reference)
    known = [(entry, [] if limits(space, entry) else entry.configurations(space.search)) for entry in order]
    if together:
        yield _stage(space, [one for _, configurations in known for one in configurations])
    for entry, configurations in known:
        if limits(space, entry):
            held = purse(space, folder, [one for one in ran if one.label == space.reference])
            if held is None:
                say(unknown_budget(entry.label, space.reference))
            else:
                yield from _searched(space, entry, folder, facts, held)
                if held.over:
                    say(held.told(entry.label, entry.count(space.search)))
        elif entry.asked(space.search):
            yield from _searched(space, entry, folder, facts, None)
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


def rungs(rounds: int) -> tuple[int, ...]:
    """The numbers of rounds after which a third goes on, as of `scheduler`, where a stack's rows are compared."""
    grace = max(1, math.ceil(rounds / 4))
    return tuple(rung for rung in (grace, 3 * grace) if rung < rounds)


def _stage(space: SearchSpace, configurations: list[Configuration]) -> Stage:
    built = build_suite(space.suite)
    trials = [build_trial(built, one.method, one.options) for one in configurations]
    lengths = [method.rounds(Setting(suite, {}, space.rounds, space.steps_per_round)) for suite, method in trials]
    rounds = max(lengths, default=0)
    return Stage([plan(one, seed) for one in configurations for seed in space.seeds], rounds)


def _searched(
    space: SearchSpace, entry: Entry, folder: Storage, facts: SweepFacts, held: Purse | None
) -> Iterator[Stage]:
    """Batches of configurations that are proposed from the mean of select over seeds of those before.

    Where the search is held to a budget, it ends before the first configuration that this does not pay for.
    """
    count, sign = entry.count(space.search), 1.0 if facts.mode == "max" else -1.0
    proposer = _proposer(space, entry)
    at_once = _proposals(space, entry) if entry.asked(space.search) else count
    for first in range(0, count, at_once):
        points = proposer.ask(min(at_once, count - first))
        configurations = [entry.configuration(first + index, point) for index, point in enumerate(points)]
        for part in held.parts(configurations) if held else [configurations]:
            yield _stage(space, part)
        if held and held.over:
            return
        scores = [_mean([_select(folder, plan(one, seed)) for seed in space.seeds]) for one in configurations]
        proposer.tell([None if score is None else sign * score for score in scores])


def _proposer(space: SearchSpace, entry: Entry) -> Proposer:
    """Who proposes an entry's configurations; where they are drawn, they are those of a search without a budget."""
    if not entry.asked(space.search):
        return Drawn(entry.points(space.search))
    return PROPOSERS[space.search.algorithm](entry.free, entry.label)


def _proposals(space: SearchSpace, entry: Entry) -> int:
    """How many configurations of an entry are proposed at a time."""
    example = entry.examples(space.search)[0]
    stacked = space.search.vectorize and of_fixed_weights(
        build_trial(build_suite(space.suite), example.method, example.options)[1]
    )
    return max(PROPOSALS, ROWS // len(space.seeds)) if stacked else PROPOSALS


def _mean(scores: list[float | None]) -> float | None:
    """The mean over all seeds; None where one has no finite figure."""
    found = [score for score in scores if score is not None and math.isfinite(score)]
    return sum(found) / len(found) if len(found) == len(scores) else None


def _select(folder: Storage, one: TrialPlan) -> float | None:
    """A trial's figure on select; None where it failed, was stopped or has no result."""
    record = read_result(folder, one)
    return record.select if record else None
