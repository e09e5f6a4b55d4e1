"""Ranks of one program, as Train would launch them: teams wherever they can be, and the bits of one process."""

from __future__ import annotations

import json
import multiprocessing
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import small
import torch.distributed as dist
from torch import nn

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method
from avil_ray.learning.learner import Learner
from avil_ray.learning.member import Member
from avil_ray.learning.world import PeerLost
from avil_ray.pools.planner import Planner
from avil_ray.pools.rank import Rank, Ranks, serve
from avil_ray.pools.train_pool import TrainPool

pytestmark = pytest.mark.slow

RUN: dict[str, Any] = {"rounds": 4, "steps_per_round": 3, "seed": 4}
NAMES = [name for name in METHODS if name != "alignment"]  # it trains another suite


def hard() -> nn.Module:
    return nn.Sequential(nn.Linear(small.WIDTH, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU())


SUITE = small.small_suite(hard, clip=0.5, micro_batch=3, evaluation_batch=5)


@dataclass
class Eager(Planner):
    """Forms teams wherever it can, as if they cost nothing, and shares out every fit of alpha."""

    @property
    def exchange(self) -> float | None:
        return 0.0

    @exchange.setter
    def exchange(self, seconds: float | None) -> None:
        """What was measured does not count."""

    def seconds_of(self, batches: float) -> float:
        return 1.0


class Counting(TrainPool):
    """Counts the lines that it computes."""

    lines = 0

    def line(self, *arguments: Any) -> Any:
        found = super().line(*arguments)
        self.lines += found is not None
        return found


def trained(name: str, **options: Any) -> avil.Result:
    method = build_method(name, {"weights": {"right": 0.5}} if name == "static" else {})
    return avil.train(SUITE, method, **RUN, **options)


def drive(rank: Rank, folder: Path) -> dict[str, Any]:
    """Which methods differ from one process, and the rounds that were reported."""
    pool, different, rows = Counting(rank), [], list[Any]()
    pool.planner = Eager()
    for name in NAMES:

        def told(done: Any) -> None:
            pool.report(done.row)

        found = trained(name, pool=lambda: nullcontext(pool), output=folder / name, on_round=told)
        expected = trained(name)
        if found.theta.tobytes() != expected.theta.tobytes() or found.test != expected.test:
            different.append(name)
        rows.append(len(found.rows))
    pool.end()
    return {"different": different, "rows": sum(rows), "joined": pool._measured, "lines": pool.lines}


def one(rank: int, size: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    try:
        world, reports = Ranks(), list[Any]()
        learner = Learner(SUITE, SUITE.draw(RUN["seed"]), RUN["seed"], "cpu", 1)
        member = Rank(Member(learner), world, reports.append)
        found = drive(member, folder) if rank == 0 else serve(member)
        (folder / f"{rank}.json").write_text(json.dumps({**(found or {}), "reports": len(reports)}))
    except BaseException:  # noqa: BLE001 (whatever it is, the test says so)
        (folder / f"{rank}.json").write_text(json.dumps({"failed": traceback.format_exc()}))


def started(target: Any, size: int, folder: Path) -> list[dict[str, Any]]:
    """What each of so many processes has left."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=(rank, size, folder)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]


@pytest.mark.parametrize("size", [2, 3])
def test_every_method_is_bit_identical_to_one_process_and_every_rank_reports_every_round(
    size: int, tmp_path: Path
) -> None:
    first, *others = started(one, size, tmp_path)
    assert first.get("different") == [], first.get("failed")
    assert first["joined"]
    assert first["lines"] > 0
    assert first["reports"] == first["rows"]
    assert [other.get("reports") for other in others] == [first["rows"]] * (size - 1)


def leaves(rank: int, size: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    kind = ""
    if rank == 0:
        learner = Learner(SUITE, SUITE.draw(RUN["seed"]), RUN["seed"], "cpu", 1)
        pool = TrainPool(Rank(Member(learner), Ranks(), print))
        pool.planner = Eager()
        try:
            trained("equal", pool=lambda: nullcontext(pool))
        except Exception as error:  # noqa: BLE001 (which one is the question)
            kind = type(error).__name__
    (folder / f"{rank}.json").write_text(json.dumps({"kind": kind}))


def test_a_lost_rank_is_distinguished_from_a_failing_one(tmp_path: Path) -> None:
    assert started(leaves, 2, tmp_path)[0]["kind"] == PeerLost.__name__
