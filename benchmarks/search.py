"""Surrogate search against random search at equal trials: `python -m benchmarks.search` prints one Markdown table.

Of each suite and seed a whole grid of static weights and learning rates is trained once, in stacks; then both searches
are replayed on it. Each sees select for one seed, and test is read of the configuration that it chooses. Of random
search the exact expectation is taken over all subsets (`reports.statistics.expected_best`); the surrogate is run as a
sweep runs it, four proposals at a time. Differences are paired by seed.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import avil_ray as avil
from avil_ray.reports.formats import interval, number, probability, signed
from avil_ray.reports.statistics import Mode, Tried, expected_best, mean_interval, paired_difference
from avil_ray.spaces.vectorize import ROWS
from avil_ray.stacked import Member, train_stack
from avil_ray.sweeps.proposals import Surrogate
from avil_ray.sweeps.replay import Grid, Measured, proposed
from benchmarks import outside

WEIGHTS, RATES = (0.0, 0.2, 1.0), (0.03, 0.1)
SUITES: Mapping[str, tuple[avil.Suite, tuple[str, ...]]] = {
    "synthetic": (avil.suites.synthetic(), ("helpful_1", "helpful_2", "harmful_1", "noise_1")),
    "segments": (outside.segments(), ("nature", "plant", "lower", "noise")),
    "phishing": (outside.phishing(), (*outside.ALONG, "noise")),
}
"""Name -> the suite, and the auxiliaries of which the weights are searched."""


@dataclass(frozen=True)
class Work:
    """One grid to measure and to search."""

    suite: str
    seed: int
    rounds: int
    steps: int
    weights: tuple[float, ...]
    trials: tuple[int, ...]

    @property
    def axes(self) -> dict[str, tuple[float, ...]]:
        """Option -> its values, as in a search space."""
        return {"learning_rate": RATES} | {f"weights.{task}": self.weights for task in SUITES[self.suite][1]}


@dataclass(frozen=True)
class Reached:
    """What was reached with one seed: (select, test) of the whole grid, and of both searches by number of trials."""

    mode: Mode
    whole: tuple[float, float]
    surrogate: Mapping[int, tuple[float, float]]
    random: Mapping[int, tuple[float, float]]


def measure(work: Work) -> tuple[Mode, list[tuple[float, float]]]:
    """(select, test) of every combination, in the order of the product of the axes."""
    suite, auxiliaries = SUITES[work.suite]
    measure = suite.draw(work.seed)[suite.target].measure
    members = []
    for rate, *weights in itertools.product(*work.axes.values()):
        method = avil.Static(weights=dict(zip(auxiliaries, weights, strict=True)))
        members.append(Member(replace(suite, learning=replace(suite.learning, learning_rate=rate)), method, work.seed))
    found: list[tuple[float, float]] = []
    for first in range(0, len(members), ROWS):
        stack = members[first : first + ROWS]
        ended = sorted(train_stack(stack, rounds=work.rounds, steps_per_round=work.steps), key=lambda one: one.place)
        results = [one.result for one in ended if one.result is not None]
        assert len(results) == len(stack), "a run diverged"
        found += [(result.select, result.test[measure.name]) for result in results]
    return measure.mode, found


def search(work: Work) -> Reached:
    """Measure the grid, then search it."""
    mode, found = measure(work)
    sign = 1.0 if mode == "max" else -1.0
    grid = Grid(work.suite, work.axes, tuple(Measured(sign * select, cost=1) for select, _ in found))
    tried = proposed(Surrogate)(grid, max(work.trials), work.seed).tried

    def best(places: Iterable[int]) -> int:
        """The place that select chooses, the earlier one where two are equal."""
        return max(sorted(places), key=lambda place: sign * found[place][0])

    both = [expected_best([Tried(one[0], one[kind], 1) for one in found], mode) for kind in (0, 1)]
    return Reached(
        mode,
        found[best(range(len(found)))],
        {count: found[best(tried[:count])] for count in work.trials},
        {count: (both[0][count - 1].test, both[1][count - 1].test) for count in work.trials},
    )


def lines(work: Work, reached: Sequence[Reached]) -> Iterator[str]:
    """A line of the table for each number of trials; `reached` has one entry for each seed."""
    whole = mean_interval([one.whole[1] for one in reached]).mean
    for count in work.trials:
        cells = []
        for kind in (0, 1):
            ours = {seed: one.surrogate[count][kind] for seed, one in enumerate(reached)}
            theirs = {seed: one.random[count][kind] for seed, one in enumerate(reached)}
            cells += [number(mean_interval(list(figures.values())).mean, 4) for figures in (ours, theirs)]
            cells.append(_difference(ours, theirs))
        size = len(list(itertools.product(*work.axes.values())))
        yield f"| {work.suite} | {count} of {size} | {' | '.join(cells)} | {number(whole, 4)} |"


def _difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> str:
    found = paired_difference(ours, theirs)
    assert found is not None
    if found.interval is None or found.p_value is None:
        return f"{signed(found.difference, 4)} (one seed)"
    return f"{signed(found.difference, 4)} {interval(found.interval, 4)}, {probability(found.p_value)}"


def main() -> None:
    """Measure, search, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument(
        "--values", type=int, default=len(WEIGHTS), help="values of each weight: the first and last of all"
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--suites", nargs="+", choices=list(SUITES), default=list(SUITES))
    parser.add_argument("--processes", type=int, default=2)
    asked, began = parser.parse_args(), time.perf_counter()
    weights = (*WEIGHTS[: asked.values - 1], WEIGHTS[-1])
    works = [
        Work(suite, seed, asked.rounds, asked.steps, weights, tuple(asked.trials))
        for suite in asked.suites
        for seed in range(asked.seeds)
    ]
    # a fresh interpreter each: torch's threads do not survive a fork
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("spawn")) as processes:
        reached = list(processes.map(search, works))
    mode = "higher is better" if all(one.mode == "max" for one in reached) else "better is what each metric says"
    length = f"{asked.rounds} rounds of {asked.steps} steps"
    print(f"{asked.seeds} seeds, {length}; {mode}. 95 % intervals and p-values are not corrected for their number.\n")
    print(
        "| suite | trials | select: surrogate | random | difference | test: surrogate | random | difference | whole |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for first in range(0, len(works), asked.seeds):
        print("\n".join(lines(works[first], reached[first : first + asked.seeds])))
    print(f"\n{time.perf_counter() - began:.0f} s with {asked.processes} processes.")


if __name__ == "__main__":
    main()
