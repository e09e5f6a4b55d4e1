"""What a search may still spend: a sweep whose search space has a `budget` stops proposing where that is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from avil_ray.catalog import build_suite, build_trial
from avil_ray.errors import WorkFailed
from avil_ray.reports.formats import counted
from avil_ray.reports.records import RESULT, TrialRecord, read_without_history, trial_folder
from avil_ray.spaces.entries import Configuration, TrialPlan, plan
from avil_ray.spaces.search_space import SearchSpace
from avil_ray.spaces.work import work_of
from avil_ray.storage import Storage, Unreachable


@dataclass
class Purse:
    """The gradient steps of one entry's search: what it may take, and what it has taken.

    Attributes
    ----------
    steps
        What the search may take, over all seeds.
    estimate
        What a configuration takes over all seeds, before it has run.
    actual
        The same once it has; None where it has no result.
    spent, tried
        What has been taken, and by how many configurations.
    over
        Whether a configuration was refused.
    """

    steps: int
    estimate: Callable[[Configuration], int]
    actual: Callable[[Configuration], int | None]
    spent: int = 0
    tried: int = 0
    over: bool = False

    def parts(self, configurations: Sequence[Configuration]) -> Iterator[list[Configuration]]:
        """The configurations in parts that can be paid for, up to the first that cannot; each is to be run at once.

        What a part has taken is known when it has run: early stopping may leave enough for another one.
        """
        left = list(configurations)
        while left and (payable := self._payable(left)):
            part, left = left[:payable], left[payable:]
            yield part
            for one in part:
                taken = self.actual(one)
                self.spent += self.estimate(one) if taken is None else taken
            self.tried += len(part)
        self.over = bool(left)

    def told(self, label: str, most: int) -> str:
        """That it is spent, in one line."""
        tried = f"{self.tried} of at most {counted(most, 'configuration')} tried"
        return f"{label}: {tried}, as the budget of {self.steps:,} gradient steps is spent ({self.spent:,} taken)"

    def _payable(self, configurations: Sequence[Configuration]) -> int:
        """How many of them, from the first on, can be paid for."""
        sum_of = self.spent
        for count, one in enumerate(configurations):
            sum_of += self.estimate(one)
            if sum_of > self.steps:
                return count
        return len(configurations)


def purse(space: SearchSpace, folder: Storage, reference: Sequence[TrialPlan]) -> Purse | None:
    """What each search of a space may take; None where it is not known, as the reference has no result.

    Parameters
    ----------
    reference
        The trials of the reference, which have run where it is the measure.
    """
    steps = space.budget if isinstance(space.budget, int) else _taken(folder, reference)
    if steps is None:
        return None
    suite = build_suite(space.suite)
    tasks = suite.draw(space.seeds[0])

    def estimate(one: Configuration) -> int:
        trained, method = build_trial(suite, one.method, one.options)
        work = work_of(method, trained, tasks, space.rounds, space.steps_per_round)
        return (work.gradient_steps + work.dev_steps) * len(space.seeds)

    return Purse(steps, estimate, lambda one: _taken(folder, [plan(one, seed) for seed in space.seeds]))


def unknown_budget(label: str, reference: str) -> str:
    """That a search does not begin, in one line."""
    return f"{label}: nothing is searched, as {reference}, which sets the budget, has no result on every seed"


def _taken(folder: Storage, plans: Sequence[TrialPlan]) -> int | None:
    """The gradient steps of some trials; None where one has no result, or there are none."""
    records = [read_result(folder, one) for one in plans]
    there = [record for record in records if record is not None]
    return sum(one.cost.gradient_steps for one in there) if there and len(there) == len(records) else None


def read_result(folder: Storage, one: TrialPlan) -> TrialRecord | None:
    """A trial's record without its history; None where it has no readable one."""
    stored = trial_folder(folder, one.key)
    try:
        return read_without_history(stored)[0] if stored.exists(RESULT) else None
    except Unreachable:
        raise
    except WorkFailed:  # damaged since it was written: the report says so
        return None
