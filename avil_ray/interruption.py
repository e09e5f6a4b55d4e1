"""Handles Ctrl-C and SIGTERM: the first, acknowledged at once, ends the work cleanly; the second ends the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = "\x1b[?25h"
_TUNES_OWN = "TUNE_DISABLE_SIGINT_HANDLER"
_plan = ""
"""What happens after the first signal outside of an `Interruption`. Like the handlers, it belongs to the process."""


@contextmanager
def interrupted_with(plan: str) -> Iterator[None]:
    """While the block runs, the answer to the first signal says this: what happens now, and how to resume."""
    global _plan
    before, _plan = _plan, plan
    try:
        yield
    finally:
        _plan = before


def answer(plan: str) -> str:
    """The answer to the first signal, in one line."""
    return f"avil-ray: stopping{plan and f': {plan}'}; press Ctrl-C again to quit now"


class Interruption:
    """A context that continues after the first signal, which only requests its end.

    Parameters
    ----------
    plan
        What happens then, and how to resume.

    Attributes
    ----------
    answer
        What the first signal is answered.
    asked
        Whether the end was asked for.
    shown
        Whether a live display shows the answer, which it would wipe out if it were written to the terminal.
    """

    def __init__(self, plan: str = "") -> None:
        self.answer = answer(plan)
        self.asked = False
        self.shown = False
        self._before: dict[int, Any] = {}
        self._tunes_own: str | None = None

    def __enter__(self) -> Self:
        self._tunes_own = os.environ.get(_TUNES_OWN)
        os.environ[_TUNES_OWN] = "1"
        if threading.current_thread() is threading.main_thread():  # no other thread can set handlers
            self._before = {number: signal.signal(number, self._heard) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        del os.environ[_TUNES_OWN]
        if self._tunes_own is not None:
            os.environ[_TUNES_OWN] = self._tunes_own

    def tell_tune(self) -> None:
        """Make Ray Tune end cleanly by SIGUSR1 if that was requested; called between two of its steps."""
        if self.asked:
            signal.raise_signal(signal.SIGUSR1)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            if not self.shown:
                _say(f"\n{self.answer}\n")
        elif self._before[number] is end_the_command:
            _exit()
        else:
            raise KeyboardInterrupt


def end_the_command(number: int, frame: FrameType | None) -> NoReturn:
    """The command line's handler: the first signal unwinds the stack; the next one does not wait for that."""
    for one in SIGNALS:
        signal.signal(one, lambda *_: _exit())
    _say(f"\n{answer(_plan)}\n")
    raise KeyboardInterrupt


def _say(words: str) -> None:
    """Write directly: `print` itself may have been interrupted."""
    os.write(2, words.encode())


def _exit() -> NoReturn:
    """Exit at once with all child processes: some processes of our Ray instance would stay for minutes."""
    if os.isatty(2):
        _say(SHOW_CURSOR)  # a live table hides it
    for process in _descendants("self"):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    os._exit(1)


def _descendants(process: int | str) -> list[int]:
    """The ids of all descendants of a process, on Linux; none elsewhere."""
    with suppress(OSError):
        texts = [children.read_text() for children in Path(f"/proc/{process}/task").glob("*/children")]
        below = [int(child) for text in texts for child in text.split()]
        return below + [one for child in below for one in _descendants(child)]
    return []
