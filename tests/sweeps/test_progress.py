"""Shares, times and figures are those of the trials; what an earlier start did does not make this one look fast."""

from __future__ import annotations

import math

import pytest

from avil_ray.spaces.entries import TrialPlan
from avil_ray.sweeps.progress import Entry, Progress

ENTRIES = {"equal": Entry(2, 100.0, {"CPU": 1.0}), "static": Entry(4, 50.0, {"CPU": 2.0, "GPU": 0.5})}


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def plan(label: str, configuration: int, seed: int) -> TrialPlan:
    return TrialPlan(f"{label}/c{configuration:03d}/s{seed}", label, label, configuration, {}, seed)


def made(done: dict[str, float | None] | None = None, mode: str = "max") -> tuple[Progress, Clock]:
    clock = Clock()
    progress = Progress(ENTRIES, {"CPU": 4.0, "GPU": 1.0, "memory": 1e9}, "accuracy", mode, clock)
    plans = [plan("equal", 0, seed) for seed in range(2)]
    plans += [plan("static", configuration, seed) for configuration in range(2) for seed in range(2)]
    progress.expect(plans, done or {})
    return progress, clock


def test_the_share_and_the_time_left_go_by_gradient_steps() -> None:
    progress, clock = made()
    assert (progress.share, progress.left, progress.elapsed) == (0.0, None, 0.0)
    progress.start("equal/c000/s0", 10)
    clock.now += 20.0
    progress.round("equal/c000/s0", 5, 0.5, {})
    assert progress.share == pytest.approx(50 / 400)
    assert progress.left == pytest.approx(20.0 * 350 / 50)
    progress.end("equal/c000/s0")
    progress.end("equal/c000/s0")
    assert progress.share == pytest.approx(100 / 400)
    assert progress.left == pytest.approx(20.0 * 300 / 100)


def test_what_an_earlier_start_did_is_done_but_tells_no_speed() -> None:
    progress, clock = made({"equal/c000/s0": 0.7, "equal/c000/s1": None})
    assert progress.share == pytest.approx(200 / 400)
    assert progress.left is None
    progress.start("static/c000/s0", 4)
    clock.now += 10.0
    progress.round("static/c000/s0", 4, 0.5, {})
    assert progress.left == pytest.approx(10.0 * 150 / 50)
    assert progress.best() == {"equal": 0.7, "static": 0.5}


def test_the_best_so_far_is_a_configurations_mean_over_seeds_and_no_failed_trial_counts() -> None:
    for mode, expected in (("max", 0.5), ("min", 0.4)):
        progress, _ = made(mode=mode)
        for key, score in (("c000/s0", 0.9), ("c000/s1", 0.1), ("c001/s0", 0.4), ("c001/s1", math.nan)):
            progress.round(f"static/{key}", 1, score, {})
        assert progress.best() == {"static": pytest.approx(expected)}
        progress.fail("static/c000/s1", "diverged")
        assert progress.failed == {"static/c000/s1": "diverged"}
        assert progress.best() == {"static": 0.9 if mode == "max" else 0.4}


def test_devices_are_what_running_trials_reserve_and_how_busy_they_are() -> None:
    progress, _ = made()
    assert progress.devices() == "0 of 4 CPU and 0 of 1 GPU reserved"
    progress.start("equal/c000/s0", 10)
    progress.start("static/c000/s0", 10)
    assert progress.devices() == "3 of 4 CPU and 0.5 of 1 GPU reserved"
    progress.round("equal/c000/s0", 1, 0.5, {"time/device": 1.0, "time/reserved": 1.0})
    progress.round("equal/c000/s0", 2, 0.5, {"time/device": 1.0, "time/reserved": 2.0})
    progress.round("static/c000/s0", 1, 0.5, {"time/device": 2.0, "time/reserved": 2.0})
    assert progress.devices().endswith("reserved, 75 % busy"), "of each trial its latest round"
    progress.leave("static/c000/s0")
    assert progress.devices().startswith("1 of 4 CPU and 0 of 1 GPU")
    progress.start("static/c001/s0", 10, {"CPU": 0.25})
    assert progress.devices().startswith("1.25 of 4 CPU")
