"""How far one driver reaches: `python -m benchmarks.scaling`, or `… ray train teams size check trials` for some parts.

ray, train   a round's seconds in the driver for 4 to 256 workers (`benchmarks/simulated_pools.py`), and what moves
teams        vectors that go from worker to worker in a step
size         the same for 30,000 to 30 million parameters, with eight workers
check        eight simulated workers of the `ray` pool beside eight real ones
trials       1 to 64 concurrent trials that only report rounds: how many a second the sweep takes

What a part finds goes into `benchmarks/scaling.json`; the tables in `docs/explanation/scaling.md` and the figure are
made of that file (`… draw` does only this).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import ray
import torch

import avil_ray as avil
from avil_ray.learning.team import Team
from avil_ray.learning.world import World, join, listen
from avil_ray.methods.method import Method
from avil_ray.pools.connection import connected
from avil_ray.pools.crew import Slots
from avil_ray.pools.ray_pool import RayPool
from avil_ray.pools.worker import LOOPBACK
from benchmarks.__main__ import machine
from benchmarks.scaling_page import write_page
from benchmarks.scaling_trials import trials
from benchmarks.simulated import suite
from benchmarks.simulated_pools import PATIENCE, Counted, Given, ray_hosts, ray_workers, train_ranks

METHODS: Mapping[str, Method] = {"equal": avil.Equal(), "alpha-vil": avil.AlphaVIL(variant="paper")}
"""One assignment, which all workers share; one for each task, and a fit of alpha. Every round is like the others."""
TEAMS = (2, 3, 4, 8, 16, 32)
ROUNDS, COUNTED, STEPS = 6, 5, 8
"""Rounds of a run that is timed, and of one whose traffic is counted; gradient steps of a round."""
WORKERS, RANKS, FEW = (4, 8, 16, 32, 64, 128, 256), (4, 8, 16, 32, 64), 8
"""Workers of the `ray` pool; ranks of the `train` pool (gloo connects each with each); workers where sizes vary."""
SMALL, SIZES, MOST_COUNTED = 30_000, (30_000, 300_000, 3_000_000, 30_000_000), 3_000_000
"""Parameters where workers vary: as few as go through the object store. Larger runs move as many vectors."""
FILE = Path(__file__).with_name("scaling.json")

Point = dict[str, Any]


class Watch:
    """Notes, after every round, the time, the CPU time of this process, and what has moved so far."""

    def __init__(self, moved: Callable[[], Mapping[str, float]]) -> None:
        self._moved = moved
        self._marks: list[Mapping[str, float]] = []

    def __call__(self, done: object) -> None:
        """After a round."""
        now = {"cpu": time.process_time(), "wall": time.perf_counter()}
        self._marks.append({**now, **self._moved()})

    def found(self) -> dict[str, float]:
        """The medians of a round; neither of the first one, nor of the last, which ends by itself."""
        pairs = list(zip(self._marks[1:-2], self._marks[2:-1], strict=True))
        return {name: median(after[name] - before[name] for before, after in pairs) for name in self._marks[0]}


def measured(
    method: str, size: int, pool: Callable[[], AbstractContextManager[Any]], watch: Watch, rounds: int = ROUNDS
) -> dict[str, float]:
    """What a round takes."""
    run = {"rounds": rounds, "steps_per_round": STEPS, "pool": pool, "on_round": watch}
    avil.train(suite(size), METHODS[method], **run)  # type: ignore[arg-type]
    return watch.found()


def on_ray(method: str, workers: int, size: int, hosts: Sequence[Any]) -> Point:
    """A round on simulated workers of the `ray` pool: once for the times, once to count."""
    given = Given(count=True)

    def moved() -> dict[str, float]:
        back = ray.get([host.answered.remote() for host in hosts])
        small, vectors = (sum(part) for part in zip(*back, strict=True))
        there = {"calls": given.calls, "to_workers": given.small, "vectors_to_workers": len(given.vectors)}
        return {**there, "to_driver": small, "vectors_to_driver": vectors}

    pool = partial(ray_workers, suite(size), workers, hosts)
    found = measured(method, size, partial(pool, Given(count=False)), Watch(dict))
    counted = measured(method, size, partial(pool, given), Watch(moved), COUNTED) if size <= MOST_COUNTED else {}
    return {"pool": "ray", "method": method, "workers": workers, "size": size, **counted, **found}


def on_train(method: str, workers: int, size: int) -> Point:
    """A round on simulated ranks of the `train` pool."""
    groups = list[Counted]()

    @contextmanager
    def opened() -> Iterator[Any]:
        with train_ranks(workers) as (pool, counted):
            groups.append(counted)
            yield pool

    def moved() -> dict[str, float]:
        return {"sent": groups[0].sent, "received": groups[0].received}

    found = measured(method, size, opened, Watch(moved))
    return {"pool": "train", "method": method, "workers": workers, "size": size, **found}


def on_real(method: str, size: int) -> Point:
    """A round on real workers of the `ray` pool, each a process; they train, so only the CPU time compares."""
    pool = partial(RayPool, suite(size), 0, 1, Slots(FEW, {"CPU": 0.25}), PATIENCE)
    found = measured(method, size, pool, Watch(dict))
    return {"pool": "ray, real", "method": method, "workers": FEW, "size": size, **found}


def in_teams(members: int) -> Point:
    """Vectors that a member of a team receives in a step, at most, and all members together: between real ranks."""
    listening = listen(LOOPBACK)
    port, units = listening.getsockname()[1], 2 * members
    received: dict[int, int] = {}

    def member(rank: int) -> None:
        first = {"listening": listening} if rank == 0 else {}
        group = Counted(join(rank, members, LOOPBACK, port, PATIENCE, **first)._group)  # type: ignore[arg-type]  # noqa: SLF001
        team, total = Team(tuple(range(members)), rank, World(group, rank, members)), torch.zeros(SMALL)
        team.sum(units, lambda unit: None, total)
        received[rank] = group.received // total.nbytes

    with ThreadPoolExecutor(members) as threads:
        list(threads.map(member, range(members)))
    return {"members": members, "most": max(received.values()), "all": sum(received.values())}


def points(part: str) -> Iterator[Point]:
    """What a part measures."""
    if part == "trials":
        yield from trials()
        return
    if part == "teams":
        yield from map(in_teams, TEAMS)
        return
    if part == "train":
        yield from (on_train(method, workers, SMALL) for method in METHODS for workers in RANKS)
        return
    with connected("local", cpus=4), ray_hosts() as hosts:
        for method in METHODS:
            if part == "ray":
                yield from (on_ray(method, workers, SMALL, hosts) for workers in WORKERS)
            if part == "check":
                yield from (on_ray(method, FEW, SMALL, hosts), on_real(method, SMALL))
            if part == "size":
                yield from (on_ray(method, FEW, size, hosts) for size in SIZES)
    if part == "size":
        yield from (on_train(method, FEW, size) for method in METHODS for size in SIZES)


def main(parts: Sequence[str]) -> None:
    """Measure the parts, store what they find, and write the page."""
    stored = json.loads(FILE.read_text()) if FILE.exists() else {}
    for part in parts:
        stored[part] = {"where": machine(), "points": []}
        for point in points(part):
            stored[part]["points"].append(point)
            print(json.dumps(point), flush=True)
            FILE.write_text(json.dumps(stored, indent=1) + "\n")
    write_page(stored)


if __name__ == "__main__":
    asked = sys.argv[1:] or ["ray", "train", "teams", "size", "check", "trials"]
    main([part for part in asked if part != "draw"])
