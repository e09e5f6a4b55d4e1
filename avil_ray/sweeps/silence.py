"""Trials that hang: a pool notices its workers, but nobody waits for the process of a trial itself with a limit."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray
from ray.tune import Callback

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

log = logging.getLogger(__name__)

WAITS = 3
"""A trial is given as many times its pool's `timeout` for a round: it may wait for a worker, and for its successor."""
LEAST, OFTEN = 60.0, 1.0
"""Seconds that a trial may take in any case, as it also has to start; and those between two looks."""


class Silence(Callback):
    """Kills the process of a trial that has told nothing for too long: Tune starts it again from its last checkpoint.

    Parameters
    ----------
    timeout
        Seconds that a trial waits for one of its workers.
    """

    def __init__(self, timeout: float) -> None:
        self.limit = max(WAITS * timeout, LEAST)
        self._news: dict[str, float] = {}
        self._looked = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `Watch`."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial starts, or starts again."""
        self._news[trial.trial_id] = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: Mapping[str, Any], **info: Any
    ) -> None:
        """A trial has done a round."""
        self._news[trial.trial_id] = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune is about to look for news again."""
        now = time.monotonic()
        if now - self._looked < OFTEN:
            return
        self._looked = now
        for trial in trials:
            actor = trial.temporary_state.ray_actor
            if trial.status != "RUNNING" or actor is None:
                self._news.pop(trial.trial_id, None)
            elif now - self._news.setdefault(trial.trial_id, now) > self.limit:
                self._news[trial.trial_id] = now
                key = trial.config["trial"]["key"]
                log.warning("%s: no report for %.0f s; killing its process, which seems to hang", key, self.limit)
                ray.kill(actor)
