"""The process beside a sweep that writes to its tracking store, as `python -m avil_ray.tracking.desk DESCRIPTOR`."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from avil_ray.errors import UserError
from avil_ray.reports.facts import SweepFacts
from avil_ray.storage import Storage, at
from avil_ray.tracking.delivery import Delivery
from avil_ray.tracking.store import first_line, quiet, shown
from avil_ray.tracking.system import Monitor
from avil_ray.tracking.writer import Tracker

LOCK = ".tracking.lock"
LOCK_SECONDS = 60.0
"""How long to wait for the process beside an earlier start of the sweep, which may still be sending."""
GRACE = 10.0
"""Seconds in which the request of the moment may still end when the sweep's process is gone."""


class Desk:
    """Reads the pipe, and answers what is asked there.

    `("start" | "row" | "end", …)` are news, which are not answered; `("reach" | "forget" | "prepare" | "finish" |
    "model" | "register" | "views", …)` are answered by ("answer", value) or by ("refused", text).
    """

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        uri, experiment, sweep, folder = pipe.recv()
        self.tracker = Tracker(uri, experiment, sweep)
        self.delivery = Delivery(self.tracker, at(folder), self.tell)
        self._monitor: Monitor | None = None
        self._news: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def serve(self) -> None:
        """Until the sweep's process is gone, or has closed the pipe."""
        with quiet(), held(self.delivery.folder) as hold:
            while True:
                try:
                    message = self._news.get(timeout=self.delivery.rest)
                except queue.Empty:
                    self.delivery.send_one()
                    continue
                if message is None:
                    return
                kind, *content = message
                if kind in ("start", "row", "end"):
                    getattr(self.delivery, kind)(*content)
                else:
                    self._answer(kind, content, hold)

    def tell(self, message: tuple[Any, ...]) -> None:
        """Say something to the sweep's process, if it is there."""
        try:
            self.pipe.send(message)
        except OSError:  # it is gone: the reader notices
            return

    def _answer(self, kind: str, content: list[Any], hold: Callable[[], None]) -> None:
        try:
            if kind in ("forget", "prepare"):
                hold()
            self.tell(("answer", getattr(self, f"_{kind}")(*content)))
        except UserError as error:
            self.tell(("refused", str(error)))
        except Exception as error:  # noqa: BLE001 - whatever a driver, a server or a disk says
            self.tell(("refused", f"tracking store {shown(self.tracker.uri)!r}: {first_line(error)}"))

    def _reach(self) -> None:
        self.tracker.reach()

    def _forget(self) -> None:
        self.tracker.forget()

    def _prepare(self, facts: SweepFacts | None) -> str | None:
        self.tracker.prepare(facts)
        self._monitor = self._monitor or Monitor(self.tracker.run_id, self.tracker.uri)
        return self.tracker.link

    def _finish(self, *content: Any) -> tuple[str, list[str]]:
        if self._monitor is not None:
            self._monitor.finish()
        lacking = self.delivery.finish(*content)
        return self.delivery.trouble, lacking

    def _views(self, best: Sequence[str]) -> dict[str, str]:
        return self.tracker.views(best)

    def _register(self, key: str, name: str) -> str:
        found: list[str] = []
        self.delivery.insist(key, lambda: found.append(self.tracker.register(key, name)))
        return self.delivery.trouble or "".join(found)

    def _model(self, key: str, model: Path | None, files: Sequence[Path], trouble: str) -> str:
        self.delivery.insist(key, lambda: self.tracker.log_model(key, model, files, trouble))
        return self.delivery.trouble

    def _read(self) -> None:
        """Always, so that the sweep's process never waits for this one, and its end is noticed at once."""
        while True:
            try:
                self._news.put(self.pipe.recv())
            except (EOFError, OSError):
                self._news.put(None)
                time.sleep(GRACE)
                os._exit(0)


@contextmanager
def held(folder: Storage) -> Iterator[Callable[[], None]]:
    """What keeps a second process from writing the runs of this folder's sweep, once it is called, for the block."""
    from filelock import FileLock, Timeout

    if folder.local is None:  # a store at a URI has no locks; the sweep's own claim on the folder must do
        yield lambda: None
        return
    lock = FileLock(folder.local / LOCK)

    def hold() -> None:
        try:
            if not lock.is_locked:
                lock.acquire(timeout=LOCK_SECONDS, poll_interval=0.2)
        except Timeout:
            raise UserError(
                f"{folder}: another process is still sending what this sweep has done; wait for it"
            ) from None
        except (OSError, NotImplementedError):  # a file system without locks
            return

    try:
        yield hold
    finally:
        lock.release()


class Passed(logging.Handler):
    """Passes what is logged here on to the sweep's process."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(logging.WARNING)
        self.desk = desk

    def emit(self, record: logging.LogRecord) -> None:
        """Only the text."""
        self.desk.tell(("warning", record.getMessage()))


def main(descriptor: int) -> None:
    """Serve the sweep's process at the other end of this pipe."""
    # A request that was lost may have arrived: MLflow must not repeat it by itself, or a trial might get two runs.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    desk = Desk(Connection(descriptor))
    logging.getLogger("avil_ray").addHandler(Passed(desk))
    logging.getLogger("avil_ray").propagate = False
    desk.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
