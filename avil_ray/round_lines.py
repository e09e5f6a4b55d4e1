"""The rounds of one run as they end: a plain line for each, and a bar below them on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from avil_ray.errors import UserError
from avil_ray.plain import plain
from avil_ray.rounds import Round


class Rounds:
    """A block in which `show` is told every round of a run.

    Parameters
    ----------
    total
        How many rounds the run has; it may end earlier.
    quiet
        Whether nothing is shown.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        self._quiet, console = quiet, Console(stderr=True)
        self._bar = Progress(
            TextColumn("round"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}", markup=False),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),  # else it is a file, and stays one
        )
        self._task = self._bar.add_task("", total=total, best="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, done: Round) -> None:
        """A round has ended."""
        if not self._quiet:
            print(line(done.row), flush=True)
            self._bar.update(self._task, completed=done.number + 1, best=best(done))


def line(row: Mapping[str, Any]) -> str:
    """The round, its figures on select, and alpha where there is one.

    Examples
    --------
    >>> line({"round": 3, "select/accuracy": 0.912, "alpha/left": 0.5})
    'round   3  select: accuracy 0.9120  alpha: left 0.500'
    """
    figures = [f"{name.removeprefix('select/')} {row[name]:.4f}" for name in row if name.startswith("select/")]
    alphas = [f"{plain(name.removeprefix('alpha/'))} {row[name]:.3f}" for name in row if name.startswith("alpha/")]
    text = f"round {int(row['round']):3d}  select: {', '.join(figures)}"
    return f"{text}  alpha: {', '.join(alphas)}" if alphas else text


def best(done: Round) -> str:
    """The best figure on select so far; empty under Ray Train, where the run stays with its ranks."""
    try:
        found = done.run.main.best
    except UserError:
        return ""
    return "" if found is None else f"best {found.score:.4g} (round {found.round})"
