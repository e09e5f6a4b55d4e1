"""Ray Tune, told what thousands of trials need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune import Callback

from avil_ray.errors import WorkFailed
from avil_ray.sweeps.index import Index

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
