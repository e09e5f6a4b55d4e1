"""From Ray Tune to the outbox: what happens to a sweep's trials, as their runs should show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.logger import LoggerCallback

from avil_ray.tracking.items import ROUND, ROW
from avil_ray.tracking.outbox import Outbox
from avil_ray.tracking.runs import RunStatus

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class TrackingCallback(LoggerCallback):
    """Forwards trials from Tune's process to the one that writes, at the cost of a few microseconds.

    Tune tells of a failure with retries left by `on_trial_recover`, which is not forwarded: the run goes on. Only the
    last failure arrives as an end. What has neither ended nor failed when the sweep ends was interrupted.

    Parameters
    ----------
    outbox
        Open. Its `prepare` must have run before Tune starts.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._running: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores its callbacks in the sweep's folder, where the store's password has no business."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune is about to look for news: what the writing process has to say is said here, in the main thread."""
        self.outbox.listen()

    def log_trial_start(self, trial: Trial) -> None:
        """The trial's run is there and running, at the first start and at every retry."""
        facts = trial.config["trial"]
        self._running.add(facts["key"])
        self.outbox.start(facts["key"], facts)

    def log_trial_result(self, iteration: int, trial: Trial, result: Mapping[str, Any]) -> None:
        """A round's figures; a round that a retry repeats is logged once."""
        self.outbox.row(trial.config["trial"]["key"], int(result[ROUND]), result[ROW])

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """The trial is over: it finished, was stopped by the scheduler, or failed for the last time."""
        facts = trial.config["trial"]
        if facts["key"] not in self._running:  # it failed before it could start
            self.outbox.start(facts["key"], facts)
        self._end(facts["key"], "FAILED" if failed else "FINISHED")

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Trials that were cut off by the sweep's end (Ctrl-C, the time budget)."""
        for key in sorted(self._running):
            self._end(key, "KILLED")

    def _end(self, key: str, status: RunStatus) -> None:
        self._running.discard(key)
        self.outbox.end(key, status)
