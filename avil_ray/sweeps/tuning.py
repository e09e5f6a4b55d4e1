"""Ray Tune, told what thousands of trials need."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Callback, PlacementGroupFactory

from avil_ray.errors import WorkFailed
from avil_ray.pools.placement import bundles
from avil_ray.sweeps.index import Index

if TYPE_CHECKING:
    from avil_ray.spaces.resources import Resources
    from avil_ray.storage import Storage
    from avil_ray.sweeps.trial import Job

WAITING = "TUNE_MAX_PENDING_TRIALS_PG"


@contextmanager
def few_waiting(at_once: int) -> Iterator[None]:
    """Tune asks for the places of trials that fit at once and of one more; unless the user says so, of no other 200.

    Places that cannot be given are asked for again and again, and given up when an earlier trial's serves.
    """
    if WAITING in os.environ:
        yield
        return
    os.environ[WAITING] = str(at_once + 1)
    try:
        yield
    finally:
        del os.environ[WAITING]


@contextmanager
def state_of_tune(folder: Storage) -> Iterator[Path]:
    """Where Tune keeps its own state, which nobody reads again: in the sweep's folder, or else on this disk."""
    if folder.local is not None:
        shutil.rmtree(folder.local / "tune", ignore_errors=True)
        yield folder.local
        return
    with tempfile.TemporaryDirectory() as spare:
        yield Path(spare)


@contextmanager
def quiet_tune() -> Iterator[None]:
    """Keep Tune's own advice out of the way of the sweep's words."""
    logger = logging.getLogger("ray.tune")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def placement(config: Mapping[str, Any], job: Job, resources: Resources) -> Any:
    """What Tune reserves for a trial; it drops a driver's bundle that asks for nothing.

    Ranks of Train stand outside: then it reserves a byte of memory, as it must ask for something.
    """
    if job.pool == "train":
        return PlacementGroupFactory([{"memory": 1.0}])
    slots = config["trial"]["slots"]
    parts = bundles(job.driver, job.per_task, slots)
    workers = [resources.per_task] * slots
    shares = workers if slots == 1 else [resources.driver, *workers]
    labels = [dict(share.label_selector) for share, part in zip(shares, parts, strict=True) if part]
    asked = {"bundle_label_selector": labels} if any(labels) else {}
    return PlacementGroupFactory(parts, strategy=resources.strategy, **asked)


class Shared(list[Any]):
    """Values of a grid that are never changed: Tune copies all of them for each of them, which takes minutes."""

    def __deepcopy__(self, memo: object) -> Shared:
        return self


class Indexed(Callback):
    """Adds trials to the index as they end, so that even a sweep that is killed need not look at them again."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `Watch`."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial returned, or was stopped; one that failed has no record yet."""
        try:
            self.index.look(trial.config["trial"]["key"])
        except (WorkFailed, OSError):  # damaged, or a full disk: it will be looked at again, and told
            return
