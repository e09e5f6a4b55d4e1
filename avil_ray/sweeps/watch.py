"""What a person sees while a sweep runs, and what the sweep learns of its trials from Tune."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Callback
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from avil_ray.plain import plain

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from avil_ray.interruption import Interruption
    from avil_ray.spaces.entries import TrialPlan


class Watch(Callback):
    """Counts trials as Tune tells of them: a live table on a terminal, a plain line for each ended trial otherwise.

    Attributes
    ----------
    ended
        Keys of trials that returned or that the scheduler stopped.
    failed
        Key -> reason, for trials that failed after their retries.
    """

    def __init__(self, plans: list[TrialPlan], done: set[str], console: Console, interruption: Interruption) -> None:
        self.ended: set[str] = set()
        self.failed: dict[str, str] = {}
        self._plans, self._done, self._console = plans, set(done), console
        self._interruption = interruption
        self._running: dict[str, Mapping[str, Any]] = {}
        self._started = time.monotonic()
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=2, transient=True)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores its callbacks to restore them, but a sweep continues from its trials' records."""
        return {}

    def __enter__(self) -> Watch:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune is about to look for news again."""
        self._interruption.tell_tune()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial runs."""
        self._running.setdefault(_key(trial), {})

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: Mapping[str, Any], **info: Any
    ) -> None:
        """A trial has done a round."""
        self._running[_key(trial)] = result

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial returned, or was stopped."""
        self.ended.add(_key(trial))
        self.over(_key(trial), f"{self._seconds(trial):.1f} s")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed for the last time."""
        self.failed[_key(trial)] = reason(trial)
        self.over(_key(trial), f"failed: {self.failed[_key(trial)]}")

    def running(self, keys: Iterable[str]) -> None:
        """Trials that run as rows of a stack, of which Tune knows nothing."""
        self._running.update({key: {} for key in keys})

    def left(self, keys: Iterable[str]) -> None:
        """Trials that a stack has let go: they run by themselves later."""
        for key in keys:
            self._running.pop(key, None)

    def over(self, key: str, how: str) -> None:
        """A trial has ended."""
        self._running.pop(key, None)
        self._done.add(key)
        if not self._console.is_terminal:
            line = Text(f"{len(self._done):4d} of {len(self._plans)}  {plain(key)}  {how}")
            self._console.print(line, soft_wrap=True)

    def _seconds(self, trial: Trial) -> float:
        return float((trial.last_result or {}).get("time_total_s", 0.0))

    def _table(self) -> Table:
        table = Table(title=f"{len(self._done)} of {len(self._plans)} trials, {time.monotonic() - self._started:.0f} s")
        for name in ("method", "done", "failed", "running"):
            table.add_column(name, justify="left" if name in ("method", "running") else "right")
        for label in dict.fromkeys(plan.label for plan in self._plans):
            keys = [plan.key for plan in self._plans if plan.label == label]
            running = [key for key in keys if key in self._running]
            rounds = ", ".join(
                f"{key.partition('/')[2]}: round {self._running[key].get('round', '…')}" for key in running
            )
            done = sum(key in self._done for key in keys)
            failed = str(sum(key in self.failed for key in keys) or "")
            table.add_row(*map(Text, (plain(label), f"{done}/{len(keys)}", failed, plain(rounds))))
        return table


def _key(trial: Trial) -> str:
    key: str = trial.config["trial"]["key"]
    return key


def reason(trial: Trial) -> str:
    """Why a trial failed, in one line: the last line of the error that the trial raised."""
    lines = [line.strip() for line in str(_local_error(trial) or trial.get_error() or "").split("\n") if line.strip()]
    text = lines[-1] if lines else "it left no message"
    for known in ("avil_ray.errors.", "WorkFailed: ", "UserError: "):
        text = text.removeprefix(known)
    return plain(text)


def _local_error(trial: Trial) -> str:
    """The error as Tune wrote it on this machine: the storage has it only once the trial has reported something."""
    file = trial.error_file
    return Path(file).read_text(errors="replace") if file and Path(file).exists() else ""
