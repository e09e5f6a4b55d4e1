"""`pool="train"`: the bits of one process, also where a rank is killed; every round told once; mistakes in one line."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
import small
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.catalog import build_method
from avil_ray.launching import Ranks
from avil_ray.rounds import Round

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

RUN: dict[str, Any] = {"rounds": 5, "steps_per_round": 3, "seed": 4}
TWO = Ranks(2, {"CPU": 0.5})


def hard() -> nn.Module:
    return nn.Sequential(nn.Linear(small.WIDTH, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU())


SUITE = small.small_suite(hard, clip=0.5, micro_batch=3)


def same(found: avil.Result, expected: avil.Result) -> None:
    assert found.theta.tobytes() == expected.theta.tobytes()
    columns = [name for name in expected.history if not name.startswith("time/")]
    pd.testing.assert_frame_equal(found.history[columns], expected.history[columns], check_exact=True)
    assert (found.test, found.select, found.best_round) == (expected.test, expected.select, expected.best_round)


def ranks_now() -> list[int]:
    """The processes of the ranks that live."""
    actors = ray._private.state.actors().values()
    return [one["Pid"] for one in actors if one["ActorClassName"] == "RayTrainWorker" and one["State"] == "ALIVE"]


@pytest.mark.parametrize(("name", "count"), [("alpha-vil", 3), ("gcs", 2)])
def test_a_run_is_bit_identical_to_one_process_and_each_round_is_reported_here(
    name: str, count: int, tmp_path: Path
) -> None:
    method, told = build_method(name, {}), list[Round]()
    expected = avil.train(SUITE, method, **RUN)
    pool = replace(TWO, count=count)
    found = avil.train(SUITE, method, **RUN, pool=pool, output=tmp_path, on_round=told.append)
    same(found, expected)
    assert [one.number for one in told] == list(range(len(expected.rows)))
    assert [one.row for one in told] == list(found.rows)
    with pytest.raises(avil.UserError, match="parameters stay with the workers"):
        _ = told[0].theta
    assert not (tmp_path / "train").exists()
    again = avil.train(SUITE, method, **RUN, output=tmp_path, resume=True)  # an ordinary run's folder
    same(again, expected)


@pytest.mark.parametrize("which", [0, -1])
def test_a_killed_rank_changes_nothing_and_no_round_is_reported_twice(which: int, tmp_path: Path) -> None:
    method, told = build_method("equal", {}), list[int]()
    run = {**RUN, "rounds": 20, "steps_per_round": 60}
    expected, killed = avil.train(SUITE, method, **run), list[int]()

    def tell(done: Round) -> None:
        told.append(done.number)
        if done.number == 2:
            killed.extend(ranks_now())
            os.kill(killed[which], signal.SIGKILL)

    found = avil.train(SUITE, method, **run, pool=TWO, output=tmp_path, on_round=tell)
    same(found, expected)
    assert told == list(range(20))
    started = [one["Pid"] for one in ray._private.state.actors().values() if one["ActorClassName"] == "RayTrainWorker"]
    assert len(killed) == 2
    assert max(started) > max(killed), "no new ranks: the run was over before"


def test_an_error_of_the_caller_ends_the_ranks_and_the_run_can_be_resumed_anywhere(tmp_path: Path) -> None:
    method, told = build_method("equal", {}), list[int]()
    run = {**RUN, "rounds": 20, "steps_per_round": 60}

    def stop(done: Round) -> None:
        if done.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        avil.train(SUITE, method, **run, pool=TWO, output=tmp_path, on_round=stop)
    until = time.monotonic() + 30
    while ranks_now() and time.monotonic() < until:
        time.sleep(0.1)
    assert ranks_now() == []
    with pytest.raises(avil.UserError, match="already holds a run"):
        avil.train(SUITE, method, **run, pool=TWO, output=tmp_path)
    whole = avil.train(SUITE, method, **run)
    same(
        avil.train(SUITE, method, **run, output=tmp_path, resume=True, on_round=lambda done: told.append(done.number)),
        whole,
    )
    assert told[0] >= 4


def broken(outputs: Tensor, targets: Tensor) -> Tensor:
    if torch.distributed.is_initialized():
        raise IndexError("there is no row 7")
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def draw_broken(seed: int) -> list[avil.Task]:
    return [replace(task, loss=broken) for task in small.draw(seed)]


def test_a_mistake_found_on_a_rank_is_one_line_here_and_not_retried(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(avil.UserError, match="there is no row 7") as caught:
        avil.train(replace(SUITE, tasks=draw_broken), avil.Equal(), **RUN, pool=TWO, output=tmp_path)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 60


def test_mistakes_in_the_arguments_are_one_line_each() -> None:
    def asked(line: str, suite: avil.Suite = SUITE, **options: Any) -> None:
        with pytest.raises(avil.UserError, match=line):
            avil.train(suite, avil.Equal(), **RUN, **options)

    asked(
        r"^7 workers of 1 CPU: each trial needs 7 CPU, but the cluster has 4; ask for fewer workers$",
        pool="train",
        workers=7,
    )
    asked(r"^workers must be .* such as \(2, 4\), not \(3, 2\)$", pool="train", workers=(3, 2))
    asked(r"^workers must be a whole number, 1 or more, not \(1, 2\)$", pool="ray", workers=(1, 2))
    asked(r"^workers: pool 'inline' runs in this process only; omit workers", workers=2)
    asked(r"^pool must be 'inline', 'ray' or 'train', not 'trains'$", pool="trains")
    lock = threading.Lock()
    asked(
        "^suite 'small' cannot be sent to workers: .*lock", replace(SUITE, tasks=lambda seed: lock and []), pool="train"
    )


def test_as_many_ranks_start_as_fit() -> None:
    expected = avil.train(SUITE, avil.Equal(), **RUN)
    same(avil.train(SUITE, avil.Equal(), **RUN, pool="train", workers=(1, 9)), expected)
