"""What a person sees while a sweep runs, and what the sweep learns of its trials from Tune."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Callback
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from avil_ray.plain import plain
from avil_ray.reports import formats
from avil_ray.tracking.items import ROUND, ROW

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from avil_ray.interruption import Interruption
    from avil_ray.sweeps.progress import Progress

EVERY = 60.0
"""Seconds between two lines on the whole sweep where there is no terminal."""
NAMED = 3
"""So many running trials of a method are named; the others are counted."""


class Watch(Callback):
    """Shows progress as Tune tells of trials: live on a terminal, plain lines otherwise.

    Parameters
    ----------
    progress
        The sweep's, which expects the trials to come.
    rounds
        Of a whole trial.

    Attributes
    ----------
    ended
        Keys of trials that returned or that the scheduler stopped.
    failed
        Key -> reason, for trials that failed after their retries.
    """

    def __init__(self, progress: Progress, rounds: int, console: Console, interruption: Interruption) -> None:
        self.ended: set[str] = set()
        self.failed: dict[str, str] = {}
        self._progress, self._rounds = progress, rounds
        self._console, self._interruption = console, interruption
        self._is_live = console.is_terminal and not console.quiet
        self._told = time.monotonic()
        self._live = Live(get_renderable=self._shown, console=console, refresh_per_second=4, transient=True)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores its callbacks to restore them, but a sweep continues from its trials' records."""
        return {}

    def __enter__(self) -> Watch:
        if self._is_live:
            self._live.start()
            self._interruption.shown = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_live:
            self._interruption.shown = False
            self._live.stop()
            if self._interruption.asked:  # it went with the display
                self._console.print(Text(self._interruption.answer), soft_wrap=True)

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune is about to look for news again."""
        self._interruption.tell_tune()
        self.tell()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial runs."""
        self._progress.start(_key(trial), self._rounds)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: Mapping[str, Any], **info: Any
    ) -> None:
        """A trial has done a round."""
        row = pickle.loads(result[ROW])  # noqa: S301 (a trial of this sweep has just made it)
        self._progress.round(_key(trial), int(result[ROUND]) + 1, float(result["score"]), row)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial returned, or was stopped."""
        self.ended.add(_key(trial))
        self.over(_key(trial), f"{self._seconds(trial):.1f} s")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed for the last time."""
        key, why = _key(trial), reason(trial)
        self.failed[key] = why
        self._progress.fail(key, why)
        self._say(key, f"failed: {why}")

    def running(self, keys: Sequence[str], asked: Mapping[str, float]) -> None:
        """Trials that run as rows of a stack, of which Tune knows nothing; `asked` is what the stack reserves."""
        for key in keys:
            self._progress.start(key, self._rounds, {name: amount / len(keys) for name, amount in asked.items()})

    def left(self, keys: Iterable[str]) -> None:
        """Trials that a stack has let go: they run by themselves later."""
        for key in keys:
            self._progress.leave(key)

    def over(self, key: str, how: str, score: float | None = None) -> None:
        """A trial has ended, with this figure on select unless it is known already."""
        self._progress.end(key, score)
        found = self._progress.scores.get(key)
        self._say(key, how if found is None else f"{how}, select {self._progress.metric} {found:.4g}")

    def tell(self) -> None:
        """Without a terminal, a line every minute: what is done and left, the best so far, devices."""
        now = time.monotonic()
        if not self._is_live and now - self._told >= EVERY:
            self._told = now
            best = ", ".join(f"{plain(label)} {score:.4g}" for label, score in self._progress.best().items())
            parts = [self._headline(), f"select {self._progress.metric} so far: {best}" if best else ""]
            line = "; ".join(filter(None, [*parts, self._progress.devices()]))
            self._console.print(Text(line), soft_wrap=True)

    def _say(self, key: str, how: str) -> None:
        if not self._is_live:
            line = f"{len(self._progress.done):4d} of {self._progress.trials}  {plain(key)}  {how}"
            self._console.print(Text(line), soft_wrap=True)

    def _seconds(self, trial: Trial) -> float:
        return float((trial.last_result or {}).get("time_total_s", 0.0))

    def _headline(self) -> str:
        """`12 of 48 trials, 31 % of all gradient steps; 2.0 min elapsed, about 4.5 min left`."""
        progress, left = self._progress, self._progress.left
        trials = f"{len(progress.done)} of {progress.trials} trials"
        times = f"{formats.seconds(progress.elapsed)} elapsed"
        times += "" if left is None else f", about {formats.seconds(left)} left"
        return f"{trials}, {formats.share(progress.share)} of all gradient steps; {times}"

    def _shown(self) -> Group:
        answer = [Text(self._interruption.answer, style="bold")] if self._interruption.asked else []
        bar = ProgressBar(total=1.0, completed=self._progress.share)
        return Group(Text(self._headline()), bar, self._table(), Text(self._progress.devices()), *answer)

    def _table(self) -> Table:
        progress, best = self._progress, self._progress.best()
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for name in ("method", "done", "failed", f"select {progress.metric}\nso far", "running"):
            table.add_column(name, justify="left" if name in ("method", "running") else "right", vertical="bottom")
        of_label: dict[str, list[str]] = {label: [] for label in progress.entries}
        for key, plan in progress.plans.items():
            of_label[plan.label].append(key)
        for label, keys in of_label.items():
            done = f"{sum(key in progress.done for key in keys)}/{progress.entries[label].trials}"
            failed = str(sum(key in progress.failed for key in keys) or "")
            score = f"{best[label]:.4g}" if label in best else ""
            table.add_row(*map(Text, (plain(label), done, failed, score, self._rounds_of(keys))))
        return table

    def _rounds_of(self, keys: Iterable[str]) -> str:
        """`c001/s0: round 7, c001/s1: round 5 and 3 more`."""
        running = [(key, self._progress.running[key]) for key in keys if key in self._progress.running]
        named = [f"{plain(key.partition('/')[2])}: round {one.done or '…'}" for key, one in running[:NAMED]]
        more = f" and {len(running) - NAMED} more" if len(running) > NAMED else ""
        return f"{', '.join(named)}{more}"


def _key(trial: Trial) -> str:
    key: str = trial.config["trial"]["key"]
    return key


def reason(trial: Trial) -> str:
    """Why a trial failed, in one line: the last line of the error that the trial raised."""
    lines = [line.strip() for line in str(_local_error(trial) or trial.get_error() or "").split("\n") if line.strip()]
    text = lines[-1] if lines else "it left no error message"
    for known in ("avil_ray.errors.", "WorkFailed: ", "UserError: "):
        text = text.removeprefix(known)
    return plain(text)


def _local_error(trial: Trial) -> str:
    """The error as Tune wrote it on this machine: the storage has it only once the trial has reported something."""
    file = trial.error_file
    return Path(file).read_text(errors="replace") if file and Path(file).exists() else ""
