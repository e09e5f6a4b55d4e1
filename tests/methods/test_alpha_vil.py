"""A run of alphaVIL from its first round to its last: its parts, its two tracks, the race, and how it ends."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch

import avil_ray as avil
from avil_ray.methods.alpha_vil import Plan, candidate_sets
from avil_ray.rounds import Round

SEED, STEPS = 2, 4
TASKS = small.TASKS
JOINT, TUNED, NONE = (avil.AlphaVIL(finish=finish) for finish in ("joint", "fine-tune", "none"))


def rounds_of(suite: avil.Suite, method: avil.AlphaVIL, rounds: int = 20, seed: int = SEED) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=STEPS, seed=seed, on_round=done.append)
    return done


def columns(done: Round, prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in done.row.items() if name.startswith(prefix)}


@pytest.mark.parametrize(
    ("method", "rounds", "parts"),
    [
        (JOINT, 1, (0, 1, 1, 1, 2)),
        (JOINT, 2, (0, 1, 1, 2, 3)),
        (JOINT, 3, (0, 1, 1, 3, 5)),
        (JOINT, 4, (1, 2, 3, 4, 6)),
        (JOINT, 7, (1, 3, 4, 7, 10)),
        (JOINT, 20, (3, 7, 10, 20, 27)),
        (TUNED, 20, (0, 20, 20, 20, 27)),
        (NONE, 20, (0, 20, 20, 20, 20)),
        (avil.AlphaVIL(variant="paper"), 20, (0, 20, 20, 20, 20)),
    ],
)
def test_the_phases_of_a_run(method: avil.AlphaVIL, rounds: int, parts: tuple[int, ...]) -> None:
    setting = small.new_run(small.small_suite(), method, SEED, rounds=rounds).setting
    assert method.plan(setting) == Plan(*parts)
    assert method.rounds(setting) == parts[-1]
    assert method.plans_ahead == (method.recipe.finish != "none")


def test_which_tasks_are_trained_in_every_round_and_on_which_track() -> None:
    run = small.new_run(small.small_suite(), JOINT, SEED, rounds=20, steps=STEPS)
    found = []
    for number in range(27):
        run = JOINT.begin(run, number)
        found.append([(one.track, tuple(one.weights), one.continues) for one in JOINT.assign(run, number)])
    alone, everything = ("target-only", ("left",), True), ("main", TASKS, True)
    fit = [("main", (task,), False) for task in TASKS]
    race = [("with 1", ("left", "right"), True), ("with 2", TASKS, True)]
    assert found[:3] == [[everything, alone]] * 3
    assert found[3:7] == [[*fit, alone]] * 4
    assert found[7:10] == [[*race, alone]] * 3
    assert [[tracks[0] for tracks in each] for each in found[10:20]] == [["main", "target-only"]] * 10
    assert found[20:] == [[("main", ("left",), True)]] * 7


@pytest.mark.parametrize(("dev", "spent"), [("hold", "hold"), ("crossfit", "train")])
def test_examples_held_for_alpha_are_never_trained_on_in_any_round(dev: str, spent: str) -> None:
    for method in (avil.AlphaVIL(dev=dev), avil.AlphaVIL(dev=dev, finish="fine-tune")):
        run = small.new_run(small.small_suite(), method, SEED, rounds=20)
        plan = method.plan(run.setting)
        for number in range(plan.end):
            run = method.begin(run, number)
            fits = plan.fit <= number < plan.race
            for one in method.assign(run, number):
                assert one.dev.kind == (dev if fits and one.track == "main" else spent), (number, one.name)


def test_a_schedule_of_the_learning_rate_ends_where_its_track_does() -> None:
    """Rounds after the race may be longer, or shorter: a schedule must not be over before they are."""
    done = rounds_of(small.opposed_suite(), JOINT)
    run, steps = done[18].run, done[10].run.memory.steps
    main, alone = JOINT.assign(run, 19)
    assert steps != STEPS
    assert main.schedule_steps == run.main.steps + main.steps == 10 * STEPS + 10 * steps
    assert alone.schedule_steps == run.tracks["target-only"].steps + alone.steps == 20 * STEPS


@pytest.mark.parametrize("trunk", [small.batch_norm, small.dropout])
@pytest.mark.parametrize(("options", "reference"), [({}, {}), ({"dev": "hold", "learning_rate": 0.3},) * 2])
def test_the_track_of_the_target_alone_is_a_target_only_run_bit_by_bit(
    trunk: Any, options: dict[str, Any], reference: dict[str, Any]
) -> None:
    suite = small.small_suite(trunk, schedule="cosine", optimizer="Adam")
    done = rounds_of(suite, avil.AlphaVIL(**options))
    alone = rounds_of(suite, avil.TargetOnly(**reference))
    assert len(alone) == 20
    for each, other in zip(done, alone, strict=False):
        track = each.run.tracks["target-only"]
        assert track.theta.tobytes() == other.theta.tobytes()
        assert track.best is not None
        assert other.run.main.best is not None
        assert (track.steps, track.score, track.best.round) == (
            other.run.main.steps,
            other.score,
            other.run.main.best.round,
        )
        assert columns(each, "target-only/select/") == columns(other, "select/")
        assert columns(each, "target-only/train_loss/") == columns(other, "train_loss/")


def scarce_suite() -> avil.Suite:
    """The target has twelve examples, and `right` is more of its own task: what it learns, the target alone cannot."""

    def tasks(seed: int) -> list[avil.Task]:
        left, right, noise = small.draw(seed)
        few, more = (avil.Examples(*left.train.batch(rows)) for rows in torch.arange(40).split([8, 32]))
        dev = avil.Examples(*left.dev.batch(torch.arange(4)))
        return [dataclasses.replace(left, train=few, dev=dev), dataclasses.replace(right, train=more), noise]

    return dataclasses.replace(small.small_suite(own_heads=False), name="scarce", tasks=tasks)


@pytest.mark.parametrize(("seed", "own"), [(0, False), (1, True), (3, False), (6, True)])
def test_the_fine_tuning_starts_from_the_targets_own_best_round_unless_main_is_ahead(seed: int, own: bool) -> None:
    suite = scarce_suite()
    done = rounds_of(suite, JOINT, seed=seed)
    main, alone = (done[19].run.tracks[name].best for name in ("main", "target-only"))
    assert main is not None
    assert alone is not None
    assert (main.score - alone.score > 0.2 / 30**0.5) == (not own)
    assert [each.row.get("from_target_only") for each in done] == [None] * 20 + [float(own)] * 7
    start = alone if own else main
    expected = small.ordinary(suite, seed, start.theta, {"left": 1.0}, STEPS, rate=0.3)
    np.testing.assert_allclose(done[20].theta, expected, rtol=1e-4, atol=2e-6)
    assert set(done[20].run.tracks) == {"main"}
    best = done[-1].run.main.best
    assert best is not None
    assert best.score == max(start.score, *(each.score for each in done[20:])), "the other track counts no more"


def test_the_measured_cosines_determine_the_race_and_the_best_set_continues_training() -> None:
    done = rounds_of(small.small_suite(), JOINT)
    cosines = {task: [each.row[f"cosine/{task}"] for each in done[3:7]] for task in TASKS[1:]}
    sets = candidate_sets(cosines)
    assert done[7].run.memory.candidates == {f"with {len(one)}": one for one in sets}
    for each in done[7:10]:
        assert each.row["cost/gradient_steps"] == STEPS * (sum(1 + len(one) for one in sets) + 1)
        assert {name.split("/")[0] for name in each.row if "/select/" in name} == {
            "target-only",
            *each.run.memory.candidates,
        }
        assert each.theta.tobytes() == done[6].theta.tobytes(), "main waits for the race"
    scores = [done[9].row[f"with {len(one)}/select/accuracy"] for one in sets]
    kept = sets[scores.index(max(scores))]
    for each in done[10:20]:
        assert (each.run.memory.kept, each.run.memory.candidates) == (kept, {})
        assert set(each.run.tracks) == {"main", "target-only"}
        assert columns(each, "weight/") == {task: float(task in ("left", *kept)) for task in TASKS}
        assert set(columns(each, "train_loss/")) == {"left", *kept}
        assert not any(name.startswith(("alpha/", "dev/", "with ")) for name in each.row)


def test_an_opposed_task_trains_no_more_once_its_deltas_are_measured() -> None:
    done = rounds_of(small.opposed_suite(), JOINT)
    assert done[7].run.memory.candidates == {"with 1": ["right"]}
    for each in done[10:20]:
        steps = each.run.memory.steps
        assert each.row["cost/gradient_steps"] == 2 * steps + STEPS
        assert set(columns(each, "train_loss/")) == {"left", "right"}
    assert done[19].run.main.steps == 10 * STEPS + 10 * done[19].run.memory.steps


def test_without_rounds_for_a_race_the_aligned_tasks_continue_training() -> None:
    done = rounds_of(small.small_suite(), JOINT, 3)
    cosines = columns(done[0], "cosine/")
    assert any(name.startswith("alpha/") for name in done[0].row)
    for each in done[1:3]:
        assert columns(each, "weight/") == {task: float(task == "left" or cosines[task] > 0) for task in TASKS}
    assert [each.row.get("fine_tuning", 0) for each in done] == [0, 0, 0, 1, 1]


def test_a_run_interrupted_in_any_phase_continues_with_the_same_result(tmp_path: Path) -> None:
    """Ten rounds: two jointly, two that fit alpha, a race of two, four more, and four of fine-tuning."""
    suite = small.small_suite(small.dropout, optimizer="Adam")
    run: dict[str, Any] = {"rounds": 10, "steps_per_round": STEPS, "seed": 9}
    whole: list[Round] = []
    avil.train(suite, JOINT, **run, on_round=whole.append)
    assert len(whole[4].run.memory.candidates) == 2, "the test must see a race"
    parts: list[Round] = []

    def stop(done: Round) -> None:
        parts.append(done)
        raise InterruptedError

    for _ in whole:
        with pytest.raises(InterruptedError):
            avil.train(suite, JOINT, **run, output=tmp_path, resume=True, on_round=stop)
    for found, expected in zip(parts, whole, strict=True):
        assert found.run.memory == expected.run.memory
        assert list(found.run.memory.candidates) == list(expected.run.memory.candidates)
        assert list(found.run.tracks) == list(expected.run.tracks)
        for name, track in expected.run.tracks.items():
            again = found.run.tracks[name]
            assert again.theta.tobytes() == track.theta.tobytes()
            assert {key: array.tobytes() for key, array in again.optimizer.items()} == {
                key: array.tobytes() for key, array in track.optimizer.items()
            }
            assert (again.steps, again.score) == (track.steps, track.score)
            assert again.best is not None
            assert track.best is not None
            assert (again.best.round, again.best.theta.tobytes()) == (track.best.round, track.best.theta.tobytes())


def suite_of(auxiliaries: int) -> avil.Suite:
    """The small suite with its first tasks only."""

    def tasks(seed: int) -> list[avil.Task]:
        return small.draw(seed)[: auxiliaries + 1]

    suite = small.small_suite(own_heads=False)
    return dataclasses.replace(suite, task_names=TASKS[: auxiliaries + 1], tasks=tasks)


@pytest.mark.parametrize("auxiliaries", [0, 1, 2])
@pytest.mark.parametrize("variant", ["robust", "paper"])
@pytest.mark.parametrize("finish", ["joint", "fine-tune", "none"])
def test_a_run_of_any_length_completes(finish: Any, variant: Any, auxiliaries: int) -> None:
    method = avil.AlphaVIL(finish=finish, variant=variant, alpha_steps=2)
    for rounds in (1, 2, 3, 4, 5, 7, 20):
        result = avil.train(suite_of(auxiliaries), method, rounds=rounds, steps_per_round=1, seed=SEED)
        setting = small.new_run(result.suite, method, SEED, rounds=rounds).setting
        assert [row["round"] for row in result.rows] == list(range(method.rounds(setting)))
        assert np.isfinite(result.theta).all()
        assert result.test["accuracy"] >= 0
