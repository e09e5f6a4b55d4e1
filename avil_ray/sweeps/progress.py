"""How far a sweep is: trials and work done, the time that is left, the best of each method so far, devices in use."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from avil_ray.pools.placement import number
from avil_ray.reports import formats

if TYPE_CHECKING:
    from avil_ray.spaces.entries import TrialPlan
    from avil_ray.spaces.preview import Preview

LATEST = 50
"""So many trials, those with the latest rounds, say how busy reserved devices are."""


@dataclass(frozen=True)
class Entry:
    """What is known of an entry of the search space before it runs.

    Attributes
    ----------
    trials
        How many it has, over all configurations and seeds.
    steps
        Gradient steps of one trial, on average.
    asked
        What one trial reserves: {"CPU": 2.0}.
    """

    trials: int
    steps: float
    asked: Mapping[str, float]


@dataclass(frozen=True)
class Running:
    """A trial that runs: the rounds that it has done, those in all, and what it reserves."""

    done: int
    rounds: int
    asked: Mapping[str, float]


@dataclass
class Progress:
    """What is known of a sweep's trials while it runs. It neither prints nor knows Ray.

    Parameters
    ----------
    entries
        Label -> what it is, in the order of the search space.
    there
        What the cluster has: {"CPU": 8.0, "GPU": 1.0}.
    metric, mode
        The target's metric, and which way it is better.
    clock
        Tells the time in seconds.

    Attributes
    ----------
    done, running, failed, scores
        Keys of trials that are over, in an earlier start too; key -> trial, of those that run; key -> reason; key ->
        best figure on select so far.
    """

    entries: Mapping[str, Entry]
    there: Mapping[str, float]
    metric: str
    mode: str
    clock: Callable[[], float] = time.monotonic
    done: set[str] = field(default_factory=set)
    running: dict[str, Running] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    plans: dict[str, TrialPlan] = field(default_factory=dict)
    _busy: dict[str, tuple[float, float]] = field(default_factory=dict)
    _steps_over: float = 0.0
    _steps_before: float = 0.0
    _began: float | None = None

    def expect(self, plans: Iterable[TrialPlan], done: Mapping[str, float | None]) -> None:
        """Trials to come; `done` are those that an earlier start has finished, with their figures on select."""
        self.plans |= {plan.key: plan for plan in plans}
        for key, score in done.items():
            self.end(key, score)
            self._steps_before += self._steps(key)

    def start(self, key: str, rounds: int, asked: Mapping[str, float] | None = None) -> None:
        """A trial runs, for the first time or again; `asked` where it reserves something else than its entry says."""
        self._began = self.clock() if self._began is None else self._began
        asked = self.entries[self.plans[key].label].asked if asked is None else asked
        self.running.setdefault(key, Running(0, rounds, asked))

    def round(self, key: str, done: int, score: float, row: Mapping[str, Any]) -> None:
        """A trial has done so many rounds; its best figure on select so far, and the row of its history."""
        self.start(key, done)
        before = self.running[key]
        self.running[key] = replace(before, done=done, rounds=max(done, before.rounds))
        self._score(key, score)
        self._busy.pop(key, None)
        self._busy[key] = (float(row.get("time/device", 0.0)), float(row.get("time/reserved", 0.0)))
        while len(self._busy) > LATEST:
            del self._busy[next(iter(self._busy))]

    def leave(self, key: str) -> None:
        """A trial does not run any more, but has not ended either."""
        self.running.pop(key, None)

    def end(self, key: str, score: float | None = None) -> None:
        """A trial is over, with this figure on select unless it has been told."""
        self.leave(key)
        if key not in self.done:
            self.done.add(key)
            self._steps_over += self._steps(key)
        self._score(key, score)

    def fail(self, key: str, reason: str) -> None:
        """A trial has failed for the last time."""
        self.end(key)
        self.failed[key] = reason
        self.scores.pop(key, None)

    @property
    def trials(self) -> int:
        """How many trials the sweep has."""
        return sum(entry.trials for entry in self.entries.values())

    @property
    def elapsed(self) -> float:
        """Seconds since the first trial of this start began."""
        return 0.0 if self._began is None else self.clock() - self._began

    @property
    def share(self) -> float:
        """The share of the sweep's gradient steps that is done, from 0 to 1."""
        steps = self._steps_in_all()
        return min(1.0, self._steps_done() / steps) if steps else 1.0

    @property
    def left(self) -> float | None:
        """Seconds that are left at the average speed of this start; None before its first round."""
        done = self._steps_done()
        now = done - self._steps_before
        return None if now <= 0 else max(0.0, self.elapsed * (self._steps_in_all() - done) / now)

    def best(self) -> dict[str, float]:
        """Label -> the best configuration's mean of select, over those of its seeds that have a figure so far."""
        of_one: dict[tuple[str, int], list[float]] = {}
        for key, score in self.scores.items():
            of_one.setdefault((self.plans[key].label, self.plans[key].configuration), []).append(score)
        better, found = max if self.mode == "max" else min, dict[str, float]()
        for (label, _), scores in of_one.items():
            mean = sum(scores) / len(scores)
            found[label] = better(mean, found.get(label, mean))
        return found

    def devices(self) -> str:
        """What running trials reserve of what is there, and how busy it is: `4 of 4 CPU reserved, 93 % busy`."""
        asked: Counter[str] = Counter()
        for one in self.running.values():
            asked.update(one.asked)
        kinds = [name for name in ("CPU", "GPU") if self.there.get(name)]
        parts = [f"{number(asked[name])} of {number(self.there[name])} {name}" for name in kinds]
        device = sum(device for device, _ in self._busy.values())
        reserved = sum(reserved for _, reserved in self._busy.values())
        busy = f", {formats.share(device / reserved)} busy" if reserved else ""
        return f"{formats.listed(parts)} reserved{busy}" if parts else ""

    def _score(self, key: str, score: float | None) -> None:
        if score is not None and math.isfinite(score):
            self.scores[key] = score

    def _steps_done(self) -> float:
        parts = (self._steps(key) * one.done / one.rounds for key, one in self.running.items() if one.rounds)
        return self._steps_over + sum(parts)

    def _steps_in_all(self) -> float:
        return sum(entry.trials * entry.steps for entry in self.entries.values())

    def _steps(self, key: str) -> float:
        return self.entries[self.plans[key].label].steps


def progress_of(seen: Preview, metric: str, mode: str) -> Progress:
    """The progress of a sweep that has not begun."""
    entries = {row.label: Entry(row.trials, row.gradient_steps / max(1, row.trials), row.asked) for row in seen.rows}
    return Progress(entries, seen.there, metric, mode)
