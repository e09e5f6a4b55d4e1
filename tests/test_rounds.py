"""The loop of rounds, driven by a method that follows a script: theta is what the script says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.errors import WorkFailed
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.splits import DevUse
from avil_ray.methods.method import Facts, Method, Phase, Setting, State
from avil_ray.pools.inline import InlinePool
from avil_ray.rounds import Best, Progress, Round, require_finite, run_rounds, schedule


@dataclass(frozen=True, kw_only=True)
class Scripted(Method):
    """Goes through `path`, a value of theta a round; its state lists the rounds and thetas it was given."""

    source: ClassVar[str] = "this test"
    path: Sequence[float] = ()
    then: tuple[Phase, ...] = ()
    dev_passes_made: int = 0
    works: list[Any] = field(default_factory=list)

    def phases(self, rounds: int) -> tuple[Phase, ...]:
        return (Phase(self, rounds), *self.then)

    def start(self, setting: Setting, before: State | None = None) -> State:
        return {"seen": [], "before": None if before is None else before.get("seen")}

    def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
        self.works.append((setting.steps, number))
        weights = {setting.suite.target: 1.0}
        return [Assignment(name="x", weights=weights, steps=setting.steps, learning=setting.suite.learning)]

    def combine(
        self, state: State, theta: np.ndarray, updates: Sequence[Update], target: Target, number: int
    ) -> tuple[np.ndarray, State, Facts]:
        assert [update.assignment for update in updates] == ["x"]
        step = len(state["seen"])
        for _ in range(self.dev_passes_made):
            target.objective(DevUse("hold"), number)(target.flat.values.clone())
        next_state = {**state, "seen": [*state["seen"], (number, float(theta[0]))]}
        return np.array([self.path[step]], np.float32), next_state, {"fact": 7.0 + number}


@dataclass
class Run:
    progress: Progress
    done: list[Round]
    stored: list[Progress]


def run(
    method: Method, rounds: int, *, suite: avil.Suite | None = None, progress: Progress | None = None, steps: int = 3
) -> Run:
    suite = suite or small.constant_suite()
    tasks, done, stored = suite.draw(0), [], []

    def on_round(progress: Progress, round_: Round) -> None:
        done.append(round_)
        stored.append(progress)

    start = progress or Progress(np.array([5.0], np.float32))
    with InlinePool(suite, tasks, 0) as pool:
        target = Target(suite, tasks, 0)
        end = run_rounds(start, method, rounds, Setting(suite, steps, tasks), pool, target, on_round)
    return Run(end, done, stored)


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
    found = run(Scripted(path=path), len(path), suite=small.constant_suite(binary=binary)).progress
    score = float(path[best] > 0) if binary else path[best] ** 2
    assert found.best is not None
    assert (found.best.number, found.best.score, found.best.theta.tolist()) == (best, score, [path[best]])
    assert found.theta.tolist() == [path[-1]], "the last theta is where the run goes on"


def test_each_round_starts_where_the_last_one_ended_with_its_state() -> None:
    method = Scripted(path=[1, 2, 3])
    found = run(method, 3)
    assert found.progress.state["seen"] == [(0, 5.0), (1, 1.0), (2, 2.0)]
    assert method.works == [(3, 0), (3, 1), (3, 2)]


def test_what_is_told_each_round_is_what_is_stored() -> None:
    found = run(Scripted(path=[1, 2]), 2)
    assert [(d.number, d.theta.tolist(), d.score) for d in found.done] == [(0, [1.0], 1.0), (1, [2.0], 4.0)]
    for number, stored in enumerate(found.stored):
        assert stored.theta is found.done[number].theta
        assert stored.state is found.done[number].state
        assert stored.rows == tuple(d.row for d in found.done[: number + 1])


def test_a_row_has_figures_facts_losses_cost_and_times() -> None:
    (done,) = run(Scripted(path=[2], dev_passes_made=3), 1, steps=4).done
    row = dict(done.row)
    times = {name: row.pop(name) for name in ("time/round", "time/device")}
    assert all(0 < seconds < 60 for seconds in times.values())
    assert row.pop("train_loss/x", None) is None
    assert 0 <= row.pop("train_loss/goal") <= 25
    assert row == {
        "round": 0,
        "phase": 0,
        "line": 0,
        "finish": 0.0,
        "select/mean_squared_error": 4.0,
        "select/loss": 4.0,
        "fact": 7.0,
        "cost/gradient_steps": 4 + math.ceil(3 * 4 / 32),  # three passes over four dev examples, in batches of 32
    }


def test_dev_passes_are_paid_in_the_round_that_made_them() -> None:
    rows = [done.row for done in run(Scripted(path=[2, 2], dev_passes_made=30), 2).done]
    assert [row["cost/gradient_steps"] for row in rows] == [3 + 4, 3 + 4]


@pytest.mark.parametrize(("start", "theta"), [("last", 2.0), ("best", 1.0), ("initial", 0.0)])
def test_the_next_phase_starts_afresh_from_the_theta_it_asks_for(start: str, theta: float) -> None:
    class Finish(Scripted):
        finishes = True

    second = Finish(path=[7, 8])
    found = run(Scripted(path=[3, 1, 2], then=(Phase(second, 2, start),)), 3)
    assert [done.row["phase"] for done in found.done] == [0, 0, 0, 1, 1]
    assert [done.row["finish"] for done in found.done] == [0, 0, 0, 1, 1]
    assert found.progress.state["seen"] == [(3, theta), (4, 7.0)], "this model starts at 0"
    assert found.progress.state["before"] == [(0, 5.0), (1, 3.0), (2, 1.0)], "told how the last phase ended"
    assert second.works == [(3, 0), (3, 1)], "a phase counts its own rounds"


def test_rounds_set_aside_wait_as_they_were_and_change_places_with_those_since() -> None:
    """Two lines of rounds: 5 -> 3 -> 1, and from the model's own start 0 -> 9 -> 8; then they go on in turn."""
    then = [("initial", [9, 8]), ("aside", [2]), ("aside", [4]), ("aside", [6])]
    phases = [Phase(Scripted(path=path), len(path), start) for start, path in then]
    found = run(Scripted(path=[3, 1], then=tuple(phases)), 2)
    started = [done.state["seen"][0][1] for done in found.done]
    assert started == [5, 5, 0, 0, 1, 8, 2]
    assert [done.state["before"] for done in found.done if len(done.state["seen"]) == 1][1:] == [
        [(0, 5.0), (1, 3.0)],
        [(0, 5.0), (1, 3.0)],  # what the line that goes on remembers, not the one that ran since
        [(2, 0.0), (3, 9.0)],
        [(4, 1.0)],
    ]
    assert [done.row["line"] for done in found.done] == [0, 0, 1, 1, 0, 1, 0]
    progress = found.progress
    assert progress.aside is not None
    assert (progress.theta.tolist(), progress.aside.theta.tolist()) == ([6.0], [4.0])
    assert (progress.best.score, progress.aside.best.score) == (1.0, 16.0), "each line has a best of its own"


@pytest.mark.parametrize(
    ("joint", "alone", "line"),
    [
        (1.0, 1.2, 0),  # squared errors 1 and 1.44: a fifth of 1.44 over the root of 4 examples is 0.144
        (1.15, 1.2, 1),  # 1.3225 and 1.44: not enough
        (1.2, 1.0, 1),
        (1.0, 1.0, 1),
        (math.nan, 3.0, 1),
        (3.0, math.nan, 0),
    ],
)
def test_the_best_is_that_of_the_rounds_aside_unless_the_others_are_ahead(
    joint: float, alone: float, line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avil_ray.rounds.require_finite", lambda *_: None)
    phases = (Phase(Scripted(path=[alone]), 1, "initial"), Phase(Scripted(path=[4]), 1, "aside"))
    tuning = Phase(Scripted(path=[50]), 1, "best")
    progress = run(Scripted(path=[joint], then=(*phases, tuning)), 1).progress
    found = (joint, alone)[line]
    assert progress.state["seen"] == [(3, pytest.approx(found))]
    assert (progress.aside, progress.index) == (None, line)
    assert progress.best.score == pytest.approx(found**2)


@pytest.mark.parametrize(("one", "behind"), [(0.9, True), (1.15, False)])
def test_a_phase_is_told_whether_it_is_behind_and_a_round_without_work_leaves_no_line(one: float, behind: bool) -> None:
    class Proud(Scripted):
        def start(self, setting: Setting, before: State | None = None) -> State:
            return {**super().start(setting, before), "behind": setting.behind}

        def assign(self, setting: Setting, state: State, number: int) -> list[Assignment]:
            return [] if state["behind"] else super().assign(setting, state, number)

    def method() -> Scripted:
        phases = (Phase(Scripted(path=[1.2]), 1, "initial"), Phase(Proud(path=[7, 8]), 2), Phase(Scripted(path=[9]), 1))
        return Scripted(path=[one], then=phases)

    whole = run(method(), 1)
    assert [done.number for done in whole.done] == ([0, 1, 4] if behind else [0, 1, 2, 3, 4])
    for after, stored in enumerate(whole.stored):
        rest = run(method(), 1, progress=stored)
        assert [done.number for done in rest.done] == [done.number for done in whole.done[after + 1 :]]
        assert (rest.progress.theta, rest.progress.state) == (whole.progress.theta, whole.progress.state)


def test_the_schedule_names_each_rounds_phase_and_its_first_round() -> None:
    first, second, empty = Scripted(), Scripted(path=[1]), Scripted(path=[2])
    plan = schedule(Scripted(then=(Phase(first, 2), Phase(empty, 0), Phase(second, 1))), 1)
    assert [(phase.method, start, index) for phase, start, index in plan[1:]] == [(first, 1, 1)] * 2 + [(second, 3, 3)]


@pytest.mark.parametrize("after", range(6))
def test_a_run_goes_on_after_any_round(after: int) -> None:
    path, tail = [3, 1, 2], [7, 0.5]

    def method() -> Scripted:
        return Scripted(path=path, then=(Phase(Scripted(path=tail), 2, start="best"),))

    whole = run(method(), 3)
    progress = whole.stored[after - 1] if after else None
    rest = run(method(), 3, progress=progress)
    assert [done.number for done in rest.done] == list(range(after, 5))
    assert rest.progress.state == whole.progress.state
    assert rest.progress.theta.tolist() == whole.progress.theta.tolist()
    assert rest.progress.best is not None
    assert (rest.progress.best.number, rest.progress.best.score) == (4, 0.25)


def test_test_is_not_read() -> None:
    suite = small.constant_suite()
    tasks = suite.draw(0)
    object.__setattr__(tasks["goal"], "test", None)
    target = Target(suite, tasks, 0)
    with InlinePool(suite, tasks, 0) as pool:
        start = Progress(np.zeros(1, np.float32))
        run_rounds(start, Scripted(path=[1]), 1, Setting(suite, 1, tasks), pool, target, lambda *_: None)


def test_a_score_that_is_nan_is_worse_than_any_other() -> None:
    def done(number: int, score: float) -> Round:
        return Round(number, np.zeros(1, np.float32), {}, score, {})

    for better, worst in ((np.greater, -math.inf), (np.less, math.inf)):
        progress = Progress(np.zeros(1, np.float32)).after(done(0, math.nan), better)
        assert progress.best is not None
        assert math.isnan(progress.best.score)
        progress = progress.after(done(1, worst), better).after(done(2, math.nan), better)
        assert progress.best == Best(1, worst, progress.best.theta)


def update(losses: dict[str, float]) -> Update:
    return Update(assignment="x", theta=np.zeros(1, np.float32), losses=losses, gradient_steps=0, seconds=0.0)


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
    suite, told = small.constant_suite(), []
    tasks = suite.draw(0)
    with InlinePool(suite, tasks, 0) as pool, pytest.raises(WorkFailed, match="diverged in round 2"):
        run_rounds(
            Progress(np.zeros(1, np.float32)),
            Scripted(path=[1, 2, math.nan]),
            3,
            Setting(suite, 1, tasks),
            pool,
            Target(suite, tasks, 0),
            lambda _, done: told.append(done.number),
        )
    assert told == [0, 1]
