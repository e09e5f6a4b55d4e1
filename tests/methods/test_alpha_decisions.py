"""What alphaVIL decides between rounds: which sets race, which goes on and for how long, which track is fine-tuned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import small
import torch

import avil_ray as avil
from avil_ray.learning.track import Best, Track
from avil_ray.methods.alpha_vil import OPPOSED, AlphaVIL, ahead, candidate_sets
from avil_ray.methods.method import Run, Setting

SEED, STEPS = 2, 25
METHOD = AlphaVIL()
PARTS = METHOD.plan(small.new_run(small.small_suite(), METHOD, SEED, rounds=20).setting)


@pytest.mark.parametrize(
    ("cosines", "sets"),
    [
        ({"a": [0.9], "b": [0.5], "c": [0.4], "d": [0.3]}, ["ab", "abcd"]),
        ({"a": [0.1], "b": [0.9], "c": [-0.1], "d": [-0.1]}, ["ba"]),
        ({"a": [0.1], "b": [-0.1], "c": [-0.05], "d": [-0.5]}, ["a", "ac"]),
        ({"a": [0.3], "b": [0.2], "c": [0.1]}, ["ab", "abc"]),
        ({"a": [-0.05], "b": [-0.1], "c": [-0.01]}, ["cab"]),
        ({"a": [-0.5], "b": [-0.9]}, [""]),
        ({"a": [0.3], "b": [-0.9]}, ["a"]),
        ({"a": [-1.0, 0.5, 0.9], "b": [0.1, 0.1, 0.1]}, ["a", "ab"]),
        ({"a": [0.2], "b": [0.2], "c": [0.2]}, ["ab", "abc"]),
        ({"a": [], "b": []}, ["a", "ab"]),
        ({"a": [0.4]}, ["a"]),
        ({}, [""]),
    ],
)
def test_half_of_the_auxiliaries_race_and_those_whose_cosine_is_above_0(
    cosines: Mapping[str, Sequence[float]], sets: Sequence[str]
) -> None:
    assert candidate_sets(cosines) == [list(one) for one in sets]


def test_a_cosine_of_0_is_not_aligned_and_one_at_the_threshold_is_not_opposed() -> None:
    assert candidate_sets({"a": [0.5], "b": [0.0], "c": [-0.01]}) == [["a"], ["a", "b"]]
    assert candidate_sets({"a": [0.0], "b": [OPPOSED], "c": [math.nextafter(OPPOSED, -1)]}) == [["a", "b"]]


def track(score: float, **parts: object) -> Track:
    return Track(np.zeros(1, np.float32), score=score, best=Best(0, score, np.zeros(1, np.float32)), **parts)


def is_ahead(one: float, other: float, *, higher_is_better: bool) -> bool:
    """On a select split of four examples, whose margin is 0.1 units."""
    task = small.constant_suite(binary=higher_is_better).draw(0)["goal"]
    assert task.select is not None
    assert len(task.select) == 4
    return ahead(track(one), track(other), task)


def test_a_track_is_ahead_if_it_leads_by_more_than_the_margin() -> None:
    assert not is_ahead(0.1, 0.0, higher_is_better=True), "a lead of just the margin may be chance"
    assert is_ahead(math.nextafter(0.1, 1), 0.0, higher_is_better=True)
    assert not is_ahead(0.0, 0.1, higher_is_better=True)
    assert not is_ahead(0.5, 0.5, higher_is_better=True)
    assert is_ahead(50.2, 50.0, higher_is_better=True), "the margin does not grow with the figure"


def test_for_errors_the_margin_is_a_fraction_of_the_error_to_beat() -> None:
    assert is_ahead(0.008, 0.010, higher_is_better=False)
    assert not is_ahead(95.0, 100.0, higher_is_better=False)
    assert not is_ahead(90.5, 100.0, higher_is_better=False), "a share of the error to beat, not of its own"
    assert is_ahead(89.0, 100.0, higher_is_better=False)
    assert not is_ahead(110.0, 100.0, higher_is_better=False)
    assert not is_ahead(0.0, 0.0, higher_is_better=False)
    assert is_ahead(0.875 * 8, 8.0, higher_is_better=False)
    assert is_ahead(-2.5, -2.0, higher_is_better=False)
    assert not is_ahead(-2.1, -2.0, higher_is_better=False)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_score_of_nan_ranks_below_any_other(higher_is_better: bool) -> None:
    assert is_ahead(0.5, math.nan, higher_is_better=higher_is_better)
    assert not is_ahead(math.nan, 0.5, higher_is_better=higher_is_better)
    assert not is_ahead(math.nan, math.nan, higher_is_better=higher_is_better)
    task = small.constant_suite(binary=higher_is_better).draw(0)["goal"]
    unseen = Track(np.zeros(1, np.float32))
    assert ahead(track(0.5), unseen, task)
    assert not ahead(unseen, track(0.5), task)


def filled(number: float, steps: int, score: float) -> Track:
    """A track of which every part has this number in it."""
    theta, anything = np.full(3, number, np.float32), {"a": np.full(1, number)}
    return Track(theta, steps, anything, anything, score, Best(int(number), score, theta + 0.5))


def run_with(
    tracks: Mapping[str, Track],
    *,
    suite: avil.Suite | None = None,
    cosines: Mapping[str, list[float]] | None = None,
    candidates: Mapping[str, list[str]] | None = None,
    spent: int = 0,
) -> Run:
    run = small.new_run(suite or small.small_suite(), METHOD, SEED, rounds=20, steps=STEPS)
    memory = replace(run.memory, cosines=cosines or run.memory.cosines, candidates=candidates or {})
    return replace(run, tracks=tracks, memory=memory, rows=({"cost/gradient_steps": spent},))


def test_every_candidate_starts_from_mains_theta_with_a_fresh_optimizer() -> None:
    main, alone = filled(1, 70, 0.5), filled(2, 80, 0.6)
    cosines = {"right": [0.1], "noise": [0.2]}
    run = METHOD.begin(run_with({"main": main, "target-only": alone}, cosines=cosines), PARTS.race)
    assert run.memory.candidates == {"with 1": ["noise"], "with 2": ["noise", "right"]}
    assert list(run.tracks) == ["main", "target-only", "with 1", "with 2"]
    assert run.tracks["main"] is main
    assert run.tracks["target-only"] is alone
    for name in run.memory.candidates:
        found = run.tracks[name]
        assert found.theta is main.theta
        assert (found.steps, found.optimizer, found.memory) == (70, {}, {})
        assert (found.score, found.best) == (main.score, main.best)


RACING = {"with 1": ["noise"], "with 2": ["noise", "right"]}


@pytest.mark.parametrize(
    ("first", "second", "regression", "winner"),
    [
        (0.5, 0.6, False, "with 2"),
        (0.6, 0.5, False, "with 1"),
        (0.5, 0.5, False, "with 1"),
        (0.5, 0.6, True, "with 1"),
        (0.6, 0.5, True, "with 2"),
        (0.5, 0.5, True, "with 1"),
        (math.nan, 0.1, False, "with 2"),
        (0.1, math.nan, False, "with 1"),
        (math.nan, 9.0, True, "with 2"),
        (9.0, math.nan, True, "with 1"),
        (math.nan, math.nan, False, "with 2"),  # the planned cost is an upper bound
    ],
)
def test_the_candidate_with_the_best_score_becomes_the_main_track_the_smallest_if_equal(
    first: float, second: float, regression: bool, winner: str
) -> None:
    tracks = {"main": filled(1, 70, 0.9), "target-only": filled(2, 80, 0.6)}
    tracks |= {"with 1": filled(3, 90, first), "with 2": filled(4, 90, second)}
    suite = small.small_suite(regression=regression)
    run = METHOD.begin(run_with(tracks, suite=suite, candidates=RACING), PARTS.joint)
    assert run.tracks == {"main": tracks[winner], "target-only": tracks["target-only"]}
    assert (run.memory.kept, run.memory.candidates) == (RACING[winner], {})
    main, alone = METHOD.assign(run, PARTS.joint)
    assert (main.track, set(main.weights), main.steps) == ("main", {"left", *RACING[winner]}, run.memory.steps)
    assert (alone.track, set(alone.weights), alone.steps) == ("target-only", {"left"}, STEPS)


def test_the_score_of_the_last_round_of_the_race_decides_not_the_best_one_before() -> None:
    lucky = replace(filled(3, 90, 0.5), best=Best(0, 0.9, np.zeros(3, np.float32)))
    tracks = {
        "main": filled(1, 70, 0.9),
        "target-only": filled(2, 80, 0.6),
        "with 1": lucky,
        "with 2": filled(4, 90, 0.6),
    }
    run = METHOD.begin(run_with(tracks, candidates=RACING), PARTS.joint)
    assert run.tracks["main"] is tracks["with 2"]


def test_without_a_race_main_continues_with_the_aligned_tasks() -> None:
    tracks = {"main": filled(1, 70, 0.9), "target-only": filled(2, 80, 0.6)}
    run = METHOD.begin(run_with(tracks, cosines={"right": [0.3, -0.2], "noise": [0.0]}), PARTS.joint)
    assert run.tracks == tracks
    assert run.memory.kept == ["right"]


def steps_after(cosines: Mapping[str, float], kept: list[str], spent: int) -> int:
    """The steps of a round after the race, of five tasks in 20 rounds of 25 steps."""
    names = ("target", *cosines)

    def tasks(seed: int) -> list[avil.Task]:
        first, *_ = small.draw(seed)
        return [replace(first, name="target"), *(avil.Task(name, first.train) for name in cosines)]

    suite = avil.Suite(name="five", target="target", task_names=names, tasks=tasks, model=lambda: torch.nn.Linear(5, 3))
    tracks = {name: filled(1, 70, 0.5) for name in ("main", "target-only", "with 1")}
    setting = Setting(suite, suite.draw(0), 20, STEPS)
    memory = replace(METHOD.start(setting), cosines={task: [c] for task, c in cosines.items()})
    memory = replace(memory, candidates={"with 1": kept})
    run = Run(setting, tracks, memory, ({"cost/gradient_steps": spent},))
    return int(METHOD.begin(run, PARTS.joint).memory.steps)


@pytest.mark.parametrize("spent", [1100, 1333, 1400])
@pytest.mark.parametrize(("opposed", "kept"), [(0, "ab"), (0, "abcd"), (1, "abc"), (2, "ab")])
def test_the_run_costs_as_much_as_joint_training_plus_the_target_alone(opposed: int, kept: str, spent: int) -> None:
    """All but the opposed for 20 rounds, those for the 7 up to the race, and the target for 20 again."""
    values = [0.5] * (3 - opposed) + [OPPOSED] + [math.nextafter(OPPOSED, -1)] * opposed
    found = steps_after(dict(zip("abcd", values, strict=True)), list(kept), spent)
    budget = STEPS * (20 * (5 - opposed) + 7 * opposed + 20)
    rest = STEPS * (10 + 7)  # of the target alone: beside main, and of the fine-tuning
    tasks = len(kept) + 1
    assert spent + 10 * found * tasks + rest <= budget < spent + 10 * (found + 1) * tasks + rest
    assert 13 < found < 50, "neither bound is felt"


def test_a_round_takes_at_least_half_and_at_most_twice_the_usual_steps() -> None:
    cosines = dict.fromkeys("abcd", 0.5)
    assert steps_after(cosines, list("abcd"), 10**6) == math.ceil(STEPS / 2) == 13
    assert steps_after(cosines, ["a"], 0) == 2 * STEPS


@pytest.mark.parametrize(("lead", "own"), [(0.05, False), (0.03, True), (0.0, True), (-0.2, True)])
def test_the_fine_tuning_has_the_theta_and_the_best_round_of_the_track_it_starts_from(lead: float, own: bool) -> None:
    """Of 30 examples, the margin is 0.037."""
    main, alone = filled(1, 70, 0.5 + lead), filled(2, 80, 0.5)
    run = METHOD.begin(run_with({"main": main, "target-only": alone}), PARTS.tuning)
    chosen = alone if own else main
    assert run.memory.own == own
    assert list(run.tracks) == ["main"]
    assert chosen.best is not None
    assert run.main.theta is chosen.best.theta
    assert (run.main.steps, run.main.optimizer, run.main.memory, run.main.best) == (0, {}, {}, chosen.best)


def test_without_a_target_only_track_the_fine_tuning_starts_from_main() -> None:
    method, main = AlphaVIL(finish="fine-tune"), filled(1, 70, 0.5)
    run = method.begin(replace(small.new_run(small.small_suite(), method, SEED), tracks={"main": main}), 20)
    assert not run.memory.own
    assert main.best is not None
    assert run.main.theta is main.best.theta
