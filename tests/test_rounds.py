"""The loop of rounds, driven by a method that follows a script: theta is what the script says."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.divergence import require_finite
from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.judging import Question
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import MAIN, Best, Track
from avil_ray.methods.method import Facts, Memory, Method, Run, Setting
from avil_ray.pools.inline import InlinePool
from avil_ray.pools.pool import Pool
from avil_ray.rounds import Round, run_rounds

SIDE = "side by side"


@dataclass(frozen=True)
class Seen(Memory):
    """The rounds so far, each with the main track's theta as it began."""

    seen: list[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class Scripted(Method):
    """Goes through `path`, a value of theta a round, None where it stays; `side` is a second track's from round 1."""

    source: ClassVar[str] = "this test"
    path: Sequence[float | None] = ()
    side: Sequence[float | None] = ()
    dev_passes_made: int = 0
    works: list[tuple[int, int]] = field(default_factory=list)

    def start(self, setting: Setting) -> Seen:
        return Seen([])

    def begin(self, run: Run, number: int) -> Run:
        return run.with_tracks({SIDE: run.main}) if self.side and number == 1 else run

    def assign(self, run: Run, number: int) -> list[Assignment]:
        self.works.append((run.setting.steps, number))
        return [self._work(run, track) for track in run.tracks]

    def _work(self, run: Run, track: str) -> Assignment:
        suite, steps = run.setting.suite, run.setting.steps
        weights = {suite.target: 1.0}
        return Assignment(name=f"on {track}", track=track, weights=weights, steps=steps, learning=suite.learning)

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        assert [(update.assignment, update.track) for update in updates] == [(f"on {one}", one) for one in run.tracks]
        for _ in range(self.dev_passes_made):
            target.objective(DevUse("hold"), number)(target.flat.values.clone())
        memory = Seen([*run.memory.seen, (number, float(run.main.theta[0]))])
        values = {MAIN: self.path[number], SIDE: self.side[number - 1] if SIDE in run.tracks else None}
        moved = {
            name: run.tracks[name].moved(at(value), run.setting.steps)
            for name, value in values.items()
            if value is not None
        }
        return replace(run, memory=memory).with_tracks(moved), {"fact": 7.0 + number}


def at(value: float) -> np.ndarray:
    return np.array([value], np.float32)


def started(method: Method, rounds: int, *, suite: avil.Suite | None = None, steps: int = 3) -> Run:
    """A run before its first round, from theta = 5."""
    suite = suite or small.constant_suite()
    setting = Setting(suite, suite.draw(0), rounds, steps)
    return Run(setting, {MAIN: Track(at(5.0))}, method.start(setting))


def run(method: Method, start: Run, pool: Pool | None = None) -> list[Round]:
    """All the rounds that `start` lacks."""
    done: list[Round] = []
    suite, tasks = start.setting.suite, start.setting.tasks
    end = run_rounds(start, method, pool or InlinePool(suite, tasks, 0), Target(suite, tasks, 0), done.append)
    assert not done or end is done[-1].run
    return done


@pytest.mark.parametrize(
    ("binary", "path", "best"),
    [
        (False, [3, 1, -1, 2], 1),  # squared: 9, 1, 1, 4: the first of equals
        (False, [3, 2, 1, 0.5], 3),
        (False, [0, 0, 0], 0),
        (True, [-1, 1, 2, -3], 1),  # accuracy: 0, 1, 1, 0
        (True, [-1, -2], 0),
    ],
)
def test_the_best_round_is_the_first_with_the_best_figure_on_select(binary: bool, path: list[float], best: int) -> None:
    method, suite = Scripted(path=path), small.constant_suite(binary=binary)
    main = run(method, started(method, len(path), suite=suite))[-1].run.main
    score = float(path[best] > 0) if binary else path[best] ** 2
    assert main.best == Best(best, score, main.best.theta)
    assert main.best.theta.tolist() == [path[best]]
    assert main.theta.tolist() == [path[-1]], "the last theta is where the run goes on"


def test_each_round_starts_where_the_last_one_ended_with_its_memory() -> None:
    method = Scripted(path=[1, 2, 3])
    assert run(method, started(method, 3))[-1].run.memory.seen == [(0, 5.0), (1, 1.0), (2, 2.0)]
    assert method.works == [(3, 0), (3, 1), (3, 2)]


def test_what_is_told_each_round_is_what_is_stored() -> None:
    method = Scripted(path=[1, 2])
    done = run(method, started(method, 2))
    assert [(one.number, one.theta.tolist(), one.score) for one in done] == [(0, [1.0], 1.0), (1, [2.0], 4.0)]
    for number, one in enumerate(done):
        assert one.run.rows == tuple(other.row for other in done[: number + 1])


def test_a_row_has_figures_facts_losses_cost_and_times() -> None:
    method = Scripted(path=[2], dev_passes_made=3)
    (done,) = run(method, started(method, 1, steps=4))
    row = dict(done.row)
    times = {name: row.pop(name) for name in ("time/combine", "time/round", "time/device", "time/reserved")}
    assert all(0 < seconds < 60 for seconds in times.values())
    assert 0 <= row.pop("train_loss/goal") <= 25
    assert row == {
        "round": 0,
        "select/mean_squared_error": 4.0,
        "select/loss": 4.0,
        "fact": 7.0,
        "cost/gradient_steps": 4 + math.ceil(3 * 4 / 32),  # three passes over four dev examples, in batches of 32
    }


def test_dev_passes_are_paid_in_the_round_that_made_them() -> None:
    method = Scripted(path=[2, 2], dev_passes_made=30)
    done = run(method, started(method, 2))
    assert [one.row["cost/gradient_steps"] for one in done] == [3 + 4, 3 + 4]
    assert done[-1].run.gradient_steps == 14


def figures(done: Sequence[Round], track: str) -> list[float | None]:
    prefix = "" if track == MAIN else f"{track}/"
    return [one.row.get(f"{prefix}select/mean_squared_error") for one in done]


def test_main_and_the_tracks_that_moved_are_evaluated_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    method, evaluated = Scripted(path=[3, 2, None, 1], side=[4, None, 0.5]), []
    answer = Target.answer

    def watched(target: Target, questions: Sequence[Question]) -> list[dict[str, float]]:
        evaluated.extend((*one.splits, float(one.theta[0])) for one in questions)
        return answer(target, questions)

    monkeypatch.setattr(Target, "answer", watched)
    done = run(method, started(method, 4))
    assert evaluated == [("select", theta) for theta in (3, 2, 4, 2, 1, 0.5)], "main even where it stays"
    assert figures(done, MAIN) == [9, 4, 4, 1]
    assert figures(done, SIDE) == [None, 16, None, 0.25]


def test_each_track_has_a_best_round_of_its_own_and_columns_under_its_name() -> None:
    method = Scripted(path=[3, 2, 0, 1], side=[4, 0.5, 6])
    done = run(method, started(method, 4))
    tracks = done[-1].run.tracks
    assert {name: (one.best.round, one.best.score, one.score) for name, one in tracks.items()} == {
        MAIN: (2, 0.0, 1.0),
        SIDE: (2, 0.25, 36.0),
    }
    assert [set(one.row) - set(done[0].row) for one in done] == [
        set(),
        *[{f"{SIDE}/{column}" for column in ("select/loss", "select/mean_squared_error", "train_loss/goal")}] * 3,
    ]


def test_a_track_that_opens_starts_with_the_best_of_the_one_that_it_leaves() -> None:
    method = Scripted(path=[1, 2, 3], side=[4, 5])
    side = run(method, started(method, 3))[-1].run.tracks[SIDE]
    assert (side.best.round, side.best.score) == (0, 1.0)


@pytest.mark.parametrize("after", range(5))
def test_a_run_goes_on_after_any_round(after: int) -> None:
    method = Scripted(path=[3, 1, 2, 7, 0.5], side=[4, None, 1, 2])
    start = started(method, 5)
    whole = run(method, start)
    rest = run(method, whole[after - 1].run if after else start)
    assert [done.number for done in rest] == list(range(after, 5))
    end, expected = rest[-1].run, whole[-1].run
    assert end.memory == expected.memory
    for name, track in expected.tracks.items():
        found = end.tracks[name]
        assert (found.theta, found.steps, found.score) == (track.theta, track.steps, track.score)
        assert (found.best.round, found.best.score) == (track.best.round, track.best.score)


class Timed(InlinePool):
    """A pool of four workers that pretends that each update took a while."""

    workers = 4

    def run(self, assignments: Sequence[Assignment], tracks: Mapping[str, Track], number: int) -> list[Update]:
        time.sleep(0.1)
        return [replace(update, seconds=0.08) for update in super().run(assignments, tracks, number)]


def test_time_of_devices_is_that_of_updates_and_of_the_driver_and_reserved_is_that_of_all_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, answer, combine = Scripted(path=[3, 2], side=[4]), Target.answer, Scripted.combine

    def slow(function: Any, seconds: float) -> Any:
        def slowly(*arguments: Any) -> Any:
            time.sleep(seconds)
            return function(*arguments)

        return slowly

    monkeypatch.setattr(Target, "answer", slow(answer, 0.1))
    monkeypatch.setattr(Scripted, "combine", slow(combine, 0.03))
    start = started(method, 2)
    _, done = run(method, start, Timed(start.setting.suite, start.setting.tasks, 0))
    times = {name.removeprefix("time/"): value for name, value in done.row.items() if name.startswith("time/")}
    driver = 0.03 + 0.1
    assert 2 * 0.08 + driver <= times["device"] < 2 * 0.08 + driver + 0.1
    assert times["round"] >= 0.1 + driver
    assert times["reserved"] == pytest.approx(4 * times["round"])


def test_a_pool_that_does_not_say_how_many_workers_it_has_has_one() -> None:
    class Bare:
        def __init__(self, inside: InlinePool) -> None:
            self.run = inside.run

    method = Scripted(path=[3])
    start = started(method, 1)
    (done,) = run(method, start, Bare(InlinePool(start.setting.suite, start.setting.tasks, 0)))
    assert done.row["time/reserved"] == pytest.approx(done.row["time/round"], rel=0.2)


@pytest.mark.parametrize(
    "answer",
    [
        lambda updates: updates[::-1],
        lambda updates: updates[:1],
        lambda updates: [*updates, updates[0]],
        lambda updates: [updates[0], None],
        lambda updates: iter(updates),
        lambda updates: None,
    ],
)
def test_a_pool_that_answers_in_another_order_or_lacks_an_update_is_refused(answer: Any) -> None:
    class Odd(InlinePool):
        def run(self, assignments: Sequence[Assignment], tracks: Mapping[str, Track], number: int) -> list[Update]:
            found = super().run(assignments, tracks, number)
            return found if number == 0 else answer(found)

    method = Scripted(path=[3, 2], side=[4])
    start = started(method, 2)
    with pytest.raises(UserError) as caught:
        run(method, start, Odd(start.setting.suite, start.setting.tasks, 0))
    said = "pool: run() must return one Update per assignment, in the same order (on main, on side by side)"
    assert str(caught.value) == said


def test_test_is_not_read() -> None:
    method = Scripted(path=[1])
    start = started(method, 1)
    object.__setattr__(start.setting.goal, "test", None)
    assert len(run(method, start)) == 1


def test_a_score_that_is_nan_is_worse_than_any_other() -> None:
    for better, worst in ((np.greater, -math.inf), (np.less, math.inf)):
        track = Track(at(0)).scored("main", 0, math.nan, better)
        assert track.best is not None
        assert math.isnan(track.best.score)
        track = track.scored("main", 1, worst, better).scored("main", 2, math.nan, better)
        assert track.best == Best(1, worst, track.theta)


def update(losses: dict[str, float]) -> Update:
    return Update(assignment="x", theta=np.zeros(1, np.float32), losses=losses)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_theta_that_is_not_finite_ends_the_run_and_names_the_task(value: float) -> None:
    updates = [update({"a": 1.0}), update({"b": math.inf, "c": math.nan})]
    theta = np.array([0, value], np.float32)
    with pytest.raises(WorkFailed) as caught:
        require_finite(theta, updates, 4)
    message = "diverged in round 4: the loss of task 'b' is not finite; a lower learning_rate may help"
    assert str(caught.value) == message
    with pytest.raises(WorkFailed, match="round 4: the parameters are not finite"):
        require_finite(theta, updates[:1], 4)
    require_finite(np.zeros(2, np.float32), updates, 4)


def test_a_run_that_diverges_has_told_of_the_rounds_before() -> None:
    method, told = Scripted(path=[1, 2, math.nan]), []
    start = started(method, 3)
    suite, tasks = start.setting.suite, start.setting.tasks
    with pytest.raises(WorkFailed, match="diverged in round 2"):
        run_rounds(start, method, InlinePool(suite, tasks, 0), Target(suite, tasks, 0), told.append)
    assert [done.number for done in told] == [0, 1]
