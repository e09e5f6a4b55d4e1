"""Trials whose ranks Ray Train launches, outside of what Tune counts: none too many, and nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.train.v2._internal.execution.controller import TrainController
from ray.util.placement_group import placement_group, placement_group_table

import avil_ray as avil
from avil_ray.catalog import build_suite, build_trial
from avil_ray.reports.records import read_records
from avil_ray.spaces.search_space import read_search_space
from avil_ray.sweeps.orphans import remove_orphans
from avil_ray.sweeps.sweep import run_sweep

pytestmark = pytest.mark.usefixtures("ray_session")

SPACE: dict[str, Any] = {
    "name": "tiny",
    "suite": {"factory": "tiny_suite:tiny_suite"},
    "rounds": 30,
    "steps_per_round": 20,
    "seeds": [0],
    "resources": {"pool": "train", "per_task": {"cpu": 1}, "slots": 2},
    "search": {"scheduler": "asha"},
    "methods": [{"method": "static", "weights": {"b": {"grid": [0, 0.2, 0.4, 0.6, 0.8, 1]}, "c": 0.5}}],
}


def living() -> list[str]:
    """The actors of Train and Tune that are not dead."""
    names = ("TrainController", "RayTrainWorker", "SynchronizationActor", "DatasetManager", "PlacementGroupCleaner")
    actors = ray._private.state.actors().values()
    return [one["ActorClassName"] for one in actors if one["State"] != "DEAD" and one["ActorClassName"] in names]


def groups() -> list[str]:
    return [one["state"] for one in placement_group_table().values() if one["state"] != "REMOVED"]


def until_gone(seconds: float = 30.0) -> None:
    """Ray ends the processes of what is removed a moment later."""
    until = time.monotonic() + seconds
    while (living() or groups()) and time.monotonic() < until:
        time.sleep(0.2)
    assert living() == []
    assert groups() == []


@contextmanager
def watched(seen: list[int]) -> Iterator[None]:
    """Notes how many groups of ranks there are at a time, for the block."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            seen.append(
                sum(
                    one["bundles"][0].get("CPU") == 1
                    for one in placement_group_table().values()
                    if one["state"] == "CREATED"
                )
            )

    thread = threading.Thread(target=look)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.slow
def test_six_trials_on_room_for_two_of_which_asha_stops_some_end_and_leave_nothing(migrated_store: Path) -> None:
    storage, seen = migrated_store.parent, list[int]()
    with watched(seen):
        run_sweep(read_search_space(SPACE), storage, address="local")
    until_gone()
    assert ray.available_resources()["CPU"] == 4
    assert max(seen) == 2
    records = read_records(storage / "tiny")
    assert sorted({record.status for record in records}) == ["finished", "stopped"]
    assert len(records) == 6
    best = next(record for record in records if record.status == "finished")
    suite, method = build_trial(build_suite(SPACE["suite"]), best.method, best.options)
    expected = avil.train(suite, method, rounds=30, steps_per_round=20, seed=0)
    assert best.test == dict(expected.test)


@pytest.mark.faults
def test_a_trial_whose_process_is_killed_takes_its_ranks_with_it_and_the_next_attempt_has_room(
    migrated_store: Path,
) -> None:
    storage, killed = migrated_store.parent, threading.Event()
    resources = {**SPACE["resources"], "per_task": {"cpu": 2}}  # all that there is
    methods = [{"method": "static", "weights": {"b": 1, "c": 0.5}}]
    space = {
        **SPACE,
        "resources": resources,
        "methods": methods,
        "search": {"scheduler": "none"},
        "steps_per_round": 60,
    }

    def kill() -> None:
        while not list((storage / "tiny").glob("**/checkpoint.safetensors")):
            time.sleep(0.05)
        actors = ray._private.state.actors().values()
        [process] = [
            one["Pid"] for one in actors if one["ActorClassName"].endswith("ImplicitFunc") and one["State"] == "ALIVE"
        ]
        os.kill(process, signal.SIGKILL)
        killed.set()

    threading.Thread(target=kill, daemon=True).start()
    run_sweep(read_search_space(space), storage, address="local")
    assert killed.is_set()
    until_gone()
    [record] = read_records(storage / "tiny")
    suite, method = build_trial(build_suite(SPACE["suite"]), record.method, record.options)
    expected = avil.train(suite, method, rounds=30, steps_per_round=60, seed=0)
    assert record.status == "finished"
    assert record.test == dict(expected.test)
    assert list(record.history["round"]) == list(range(30))


class Maker:
    def make(self) -> int:
        self.group = placement_group([{"CPU": 1}])
        self.group.wait(30)
        return os.getpid()


Maker.__name__ = Maker.__qualname__ = TrainController.__name__


@pytest.mark.slow
def test_the_group_of_a_controller_that_is_killed_is_removed_and_no_other() -> None:
    kept = placement_group([{"CPU": 1}])
    controller = ray.remote(num_cpus=0)(Maker).remote()
    process = ray.get(controller.make.remote())
    assert remove_orphans()  # it lives
    assert len(groups()) == 2
    os.kill(process, signal.SIGKILL)
    until = time.monotonic() + 30
    while remove_orphans() and time.monotonic() < until:
        time.sleep(0.2)
    assert placement_group_table(kept)["state"] == "CREATED"
    assert len(groups()) == 1
    ray.util.remove_placement_group(kept)
