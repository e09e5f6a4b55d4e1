"""What the process beside a sweep does (`desk.py`), so that a slow tracking store holds up nothing else.

It is told what happens over a pipe (see `outbox.py`) and sends it, trial by trial, in few requests. What fails is
tried again, for as long as the sweep runs. The sweep's folder is the truth: of a trial that has ended only that is
remembered, and what to send is read from its record, so that a store that is down for hours costs no memory.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from avil_ray.reports.records import CHECKSUM, RESULT, ended, read_head, record_or_failure, trial_folder
from avil_ray.staging import copied
from avil_ray.storage import Storage
from avil_ray.tracking.backlog import Backlog, Due
from avil_ray.tracking.files import trial_files
from avil_ray.tracking.items import round_metrics
from avil_ray.tracking.runs import RunStatus
from avil_ray.tracking.store import first_line, shown
from avil_ray.tracking.writer import Tracker

REPORT = ("space.yaml", "report.md", "report.html", "figures")
"""What the sweep's run gets of its folder."""
FIRST_REST, LONGEST_REST = 1.0, 15.0
"""Seconds before the store is tried again, doubled with each failure in a row."""
PATIENCE = 30.0
"""How long the end of a sweep waits for a store that takes nothing."""
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
            if key not in there and not self.backlog.ends(key):
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
