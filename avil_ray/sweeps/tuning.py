"""Ray Tune, told what thousands of trials need."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback

from avil_ray.errors import WorkFailed
from avil_ray.sweeps.index import Index


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
