"""The process beside a sweep that writes to its tracking store, so that a slow store holds up nothing else.

It is told what happens over a pipe (see `outbox.py`) and sends it, trial by trial, in few requests. What fails is
tried again, for as long as the sweep runs. The sweep's folder is the truth: of a trial that has ended only that is
remembered, and what to send is read from its record, so that a store that is down for hours costs no memory.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from avil_ray.errors import UserError
from avil_ray.reports.facts import SweepFacts
from avil_ray.reports.records import CHECKSUM, RESULT, ended, read_head, record_or_failure, trial_folder
from avil_ray.staging import copied
from avil_ray.storage import Storage, at
from avil_ray.tracking.backlog import Backlog, Due
from avil_ray.tracking.files import trial_files
from avil_ray.tracking.items import round_metrics
from avil_ray.tracking.runs import RunStatus
from avil_ray.tracking.store import first_line, quiet, shown
from avil_ray.tracking.writer import Tracker

LOCK = ".tracking.lock"
REPORT = ("space.yaml", "report.md", "report.html", "figures")
"""What the sweep's run gets of its folder."""
LOCK_SECONDS = 60.0
"""How long to wait for the process beside an earlier start of the sweep, which may still be sending."""
FIRST_REST, LONGEST_REST = 1.0, 15.0
"""Seconds before the store is tried again, doubled with each failure in a row."""
PATIENCE = 30.0
"""How long the end of a sweep waits for a store that takes nothing."""
GRACE = 10.0
"""Seconds in which the request of the moment may still end when the sweep's process is gone."""
MANY = 100
"""Where so many trials wait to be sent, their curves are not drawn: a tenth of a second each would hold up the rest."""
TELL_EVERY = 15.0
"""Seconds between two words about what is left to be sent, at the end of a sweep."""


class Delivery:
    """Sends what it is told; see the module.

    Parameters
    ----------
    tracker
        Writes to the store.
    folder
        The sweep's folder.
    tell
        Takes what the sweep's process should know: ("trouble", text), ("left", number of trials).
    """

    def __init__(self, tracker: Tracker, folder: Storage, tell: Callable[[tuple[Any, ...]], None]) -> None:
        self.tracker, self.folder, self.tell = tracker, folder, tell
        self.backlog = Backlog()
        self.trouble = ""
        """What the store said last when it took nothing; empty where it took all."""
        self._told = False
        self._failures = 0
        self._rest_until = 0.0
        self._took = time.monotonic()

    def start(self, key: str, facts: Mapping[str, Any]) -> None:
        """A trial starts, or starts again."""
        self.backlog.add(key, Due(self.tracker.started(facts), status="RUNNING"))

    def row(self, key: str, number: int, row: bytes) -> None:
        """A trial has done a round."""
        self.backlog.add(key, Due(rounds=[round_metrics(pickle.loads(row), number)]))  # noqa: S301 (a trial wrote it)

    def end(self, key: str, status: RunStatus) -> None:
        """A trial is over; where it left a record, that says all."""
        recorded = trial_folder(self.folder, key).exists(RESULT)
        (self.backlog.replace if recorded else self.backlog.add)(key, Due(status=status))

    @property
    def rest(self) -> float | None:
        """Seconds until something can be sent; None where nothing is to be."""
        return max(0.0, self._rest_until - time.monotonic()) if self.backlog else None

    def send_one(self) -> None:
        """Send the news of the trial that waits longest; where that fails, leave the store alone for a while."""
        key, due = self.backlog.take()
        if not self._attempt(key, lambda: self._send(key, due)):
            self.backlog.put_back(key, due)

    def finish(
        self, summary: Mapping[str, Any], status: RunStatus, models: Sequence[str], outcome: str = ""
    ) -> list[str]:
        """Send all that the store lacks of the folder, then the comparison; which of these trials lack their model.

        Waits as long as the store takes something. Where it does not, `trouble` says why.
        """
        if not self.insist(None, self._compare):
            return []
        told = time.monotonic()
        while self.backlog and self._patient():
            time.sleep(self.rest or 0.0)
            self.send_one()
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                self.tell(("left", len(self.backlog)))
        if self.backlog:
            return []
        with copied(self.folder, REPORT) as report:
            done = self.insist(None, lambda: self.tracker.end(summary, report, status, outcome, models))
        if not done:
            return []
        lacking: list[str] = []
        for key in models:
            self.insist(key, lambda key=key: lacking.extend([key] * self.tracker.lacks_model(key)))  # type: ignore[misc]
        return lacking

    def insist(self, key: str | None, action: Callable[[], None]) -> bool:
        """Do it, if need be several times; False where the store does not take it."""
        self._rest_until, self._took = 0.0, time.monotonic()
        while not self._attempt(key, action):
            if not self._patient():
                return False
            time.sleep(max(0.0, self._rest_until - time.monotonic()))
        return True

    def _patient(self) -> bool:
        return time.monotonic() - self._took < PATIENCE

    def _compare(self) -> None:
        """What the store does not show of the folder is to be sent; what it calls running and is not, was killed."""
        there = set()
        for place in ended(self.folder):
            head = read_head(place)
            record = None if head else record_or_failure(place)
            key, status = (head["key"], head.get("status")) if head else (record.key, "failed") if record else ("", "")
            there.add(key)
            if key and not self.tracker.shows(key, status, head.get(CHECKSUM, "")):  # type: ignore[arg-type]
                self.backlog.replace(key, Due(status="FINISHED"))
        for key in self.tracker.running():
            if key not in there:
                self.backlog.add(key, Due(status="KILLED"))

    def _send(self, key: str, due: Due) -> None:
        place = trial_folder(self.folder, key)
        recorded = due.status not in (None, "RUNNING") and place.exists(RESULT)
        record = record_or_failure(place) if recorded else None
        if record is None:
            self.tracker.bring(key, [*due.items, *due.rounds], due.status)
        else:
            drawn = len(self.backlog) < MANY
            files = trial_files(place, record, self.tracker.facts, drawn=drawn)
            self.tracker.bring_record(record, read_head(place).get(CHECKSUM, ""), files)

    def _attempt(self, key: str | None, action: Callable[[], None]) -> bool:
        """Whether the store took it. The first failure is told."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever a driver, a server or a disk says: it is tried again
            self.tracker.doubt(key)
            self.trouble = f"tracking store {shown(self.tracker.uri)!r}: {first_line(error)}"
            self._failures += 1
            self._rest_until = time.monotonic() + min(FIRST_REST * 2 ** (self._failures - 1), LONGEST_REST)
            if not self._told:
                self._told = True
                self.tell(("trouble", self.trouble))
            return False
        self.trouble, self._failures, self._took = "", 0, time.monotonic()
        return True


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
        return self.tracker.link

    def _finish(self, *content: Any) -> tuple[str, list[str]]:
        lacking = self.delivery.finish(*content)
        return self.delivery.trouble, lacking

    def _views(self, best: Sequence[str]) -> dict[str, str]:
        return self.tracker.views(best)

    def _register(self, key: str, name: str) -> str:
        self.delivery.insist(key, lambda: self.tracker.register(key, name))
        return self.delivery.trouble

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
