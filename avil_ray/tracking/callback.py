"""From Ray Tune to the tracker: what happens to a sweep's trials, as their runs should show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.logger import LoggerCallback
from ray.tune.result import AUTO_RESULT_KEYS, DEFAULT_EXPERIMENT_INFO_KEYS, DONE, SHOULD_CHECKPOINT

from avil_ray.tracking.items import ROUND, round_metrics, trial_items
from avil_ray.tracking.runs import RunStatus
from avil_ray.tracking.writer import Tracker

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

# What Tune adds to every result.
_NOT_OURS = {*AUTO_RESULT_KEYS, *DEFAULT_EXPERIMENT_INFO_KEYS, DONE, SHOULD_CHECKPOINT}


class TrackingCallback(LoggerCallback):
    """Forwards trials from Tune's process to the one writer.

    Tune tells of a failure with retries left by `on_trial_recover`, which is not forwarded: the run goes on. Only the
    last failure arrives as an end. What has neither ended nor failed when the sweep ends was interrupted.

    Parameters
    ----------
    uri, experiment, sweep
        See `Tracker`. Its `prepare` must have run before Tune starts.
    """

    def __init__(self, uri: str, experiment: str, sweep: str) -> None:
        self.tracker = Tracker(uri, experiment, sweep)
        self._running: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores its callbacks in the sweep's folder, where the store's password has no business."""
        return {}

    def log_trial_start(self, trial: Trial) -> None:
        """The trial's run is there and running, at the first start and at every retry."""
        facts = trial.config["trial"]
        self._running.add(facts["key"])
        self.tracker.start(facts["key"], trial_items(facts))

    def log_trial_result(self, iteration: int, trial: Trial, result: Mapping[str, Any]) -> None:
        """A round's figures; a round that a retry repeats is logged once."""
        row = {name: value for name, value in result.items() if name not in _NOT_OURS}
        self.tracker.send(trial.config["trial"]["key"], [round_metrics(row, int(result[ROUND]))])

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """The trial is over: it finished, was stopped by the scheduler, or failed for the last time."""
        facts = trial.config["trial"]
        if facts["key"] not in self._running:  # it failed before it could start
            self.tracker.start(facts["key"], trial_items(facts))
        self._end(facts["key"], "FAILED" if failed else "FINISHED")

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Trials that were cut off by the sweep's end (Ctrl-C, the time budget)."""
        for key in sorted(self._running):
            self._end(key, "KILLED")

    def _end(self, key: str, status: RunStatus) -> None:
        self._running.discard(key)
        self.tracker.end(key, status)
