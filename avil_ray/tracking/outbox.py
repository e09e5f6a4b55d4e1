"""The sweep's end of the pipe to the process that writes to its tracking store (`desk.py`)."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from avil_ray.errors import UserError, WorkFailed
from avil_ray.storage import Place, at
from avil_ray.tracking.store import check_uri

if TYPE_CHECKING:
    from avil_ray.reports.facts import SweepFacts
    from avil_ray.tracking.runs import RunStatus

logger = logging.getLogger("avil_ray.tracking")

UNSENT = "unsent.json"
"""Stands in a sweep's folder as long as its tracking store may lack something, and says how the sweep ended."""
CLOSING = 15.0
"""Seconds that the other process has to end once it is told to."""


class Outbox:
    """Tells the other process what happens to a sweep's trials. News cost microseconds, whatever the store does.

    A context manager: the other process lives as long as the block. The first failure of the store is told once, the
    sweep goes on, and `finish` sends whatever is missing. Where that fails too, `trouble` says so.

    Parameters
    ----------
    uri, experiment, sweep
        See `Tracker`.
    folder
        The sweep's folder.

    Attributes
    ----------
    trouble
        What the store said when something could not be sent that it still lacks; None where all is there.
    link
        Where the sweep's run is in the MLflow UI: see `Tracker.link`.
    """

    def __init__(self, uri: str, experiment: str, sweep: str, folder: Place) -> None:
        check_uri(uri)
        self.uri, self.folder = uri, at(folder)
        self.trouble: str | None = None
        self.link: str | None = None
        self._facts: SweepFacts | None = None
        self._named = (uri, experiment, sweep, str(self.folder))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def reach(self) -> None:
        """Open the store, which is made where it is new; UserError, within a limited time, where it cannot be used."""
        self._ask("reach")

    def forget(self) -> None:
        """Delete the runs of an earlier sweep of this name."""
        self._ask("forget")

    def prepare(self, facts: SweepFacts | None = None, status: RunStatus = "KILLED") -> None:
        """Create what is missing of experiment and the sweep's run, before any trial; `facts`: see `Tracker.prepare`.

        Raises UserError where the store cannot be used: nothing has been worked on yet, so nothing is lost. From here
        on the folder says that the sweep ended with `status`, until `finish` knows better.
        """
        self._facts = facts
        self.link = self._ask("prepare", facts)
        self._leave_word(status)

    def start(self, key: str, facts: Mapping[str, Any]) -> None:
        """A trial starts, or starts again; `facts` hold label, method, configuration, seed and options."""
        self._news.put(("start", key, facts))

    def row(self, key: str, number: int, row: bytes) -> None:
        """A trial has done a round; its row of the history, pickled. One that a retry repeats is logged once."""
        self._news.put(("row", key, number, row))

    def end(self, key: str, status: RunStatus) -> None:
        """A trial is over."""
        self._news.put(("end", key, status))

    def listen(self) -> None:
        """Pass on what the other process has to say, if anything."""
        try:
            while self._pipe.poll():
                self._hear(self._pipe.recv())
        except (EOFError, OSError):
            if self.trouble is None:
                self._hear(("trouble", "the process that writes to the tracking store has died"))

    def finish(
        self, summary: Mapping[str, Any], status: RunStatus, models: Sequence[str] = (), outcome: str = ""
    ) -> list[str]:
        """The end of a sweep: all that the store lacks of the folder is sent, and how the sweep ended.

        Parameters
        ----------
        summary
            The content of `summary.json`.
        status
            FINISHED; FAILED where some trial failed; KILLED where the sweep was interrupted.
        models
            Trials whose runs are to have a model: the best of each method.
        outcome
            What the sweep came to, in Markdown.

        Returns
        -------
        list of str
            Those of `models` whose runs have none yet, for `log_model`.
        """
        self._leave_word(status)
        told = (dict(summary), status, list(models), outcome)
        try:
            trouble, lacking = self._ask("finish", *told)
        except WorkFailed:  # the other process has died; the folder has all that it knew
            self._stop()
            self._start()
            trouble, lacking = self._again(told)
        self.trouble = trouble or None
        return list(lacking)

    def log_model(self, key: str, model: Path | None, files: Sequence[Path], trouble: str) -> None:
        """Log a trial's model, as `exported.Packed` describes it; see `Tracker.log_model`."""
        try:
            self.trouble = self._ask("model", key, model, list(files), trouble) or self.trouble
        except WorkFailed as error:
            self.trouble = str(error)

    def register(self, key: str, name: str) -> None:
        """Make a trial's model a version of the registered model of that name, unless it is one."""
        try:
            self.trouble = self._ask("register", key, name) or self.trouble
        except (UserError, WorkFailed) as error:
            self.trouble = str(error)

    def views(self, best: Sequence[str]) -> dict[str, str]:
        """Where things are in the MLflow UI, see `Tracker.views`; nothing where the store does not answer."""
        try:
            found: dict[str, str] = {} if self.trouble else self._ask("views", list(best))
            return found
        except (UserError, WorkFailed):
            return {}

    def settled(self) -> None:
        """The store has everything, unless `trouble` says otherwise."""
        if self.trouble is None:
            self.folder.delete(UNSENT)

    def _again(self, told: tuple[Any, ...]) -> tuple[str, list[str]]:
        try:
            self._ask("prepare", self._facts)
            found: tuple[str, list[str]] = self._ask("finish", *told)
            return found
        except (UserError, WorkFailed) as error:
            return str(error), []

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-m", "avil_ray.tracking.desk", str(theirs.fileno())]
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(  # noqa: S603 (no shell, and no argument of the user's)
            command,
            pass_fds=[theirs.fileno()],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the sweep, which ends this process in order
        )
        theirs.close()
        self._news: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._news.put(self._named)
        self._sender = threading.Thread(target=_pass_on, args=(self._news, self._pipe), daemon=True)
        self._sender.start()

    def _stop(self) -> None:
        if self._process is None:
            return
        self._news.put(None)
        try:
            self._process.wait(CLOSING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._sender.join()
        self._pipe.close()
        self._process = None

    def _ask(self, *question: Any) -> Any:
        """The answer; UserError where the store refuses, WorkFailed where the other process is gone."""
        self._news.put(question)
        while True:
            try:
                kind, *content = self._pipe.recv()
            except (EOFError, OSError):
                raise WorkFailed("the process that writes to the tracking store has died") from None
            if kind == "answer":
                return content[0]
            if kind == "refused":
                raise UserError(content[0])
            self._hear((kind, *content))

    def _hear(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("trouble", text):
                self.trouble = text
                logger.warning("%s; the sweep goes on, and what is missing there is sent as soon as it can be", text)
            case ("left", count):
                logger.warning("%d trials are still to be sent to the tracking store", count)
            case ("warning", text):
                logger.warning("%s", text)

    def _leave_word(self, status: RunStatus) -> None:
        self.folder.write(UNSENT, json.dumps({"status": status}).encode())


def unsent(folder: Place) -> RunStatus | None:
    """How a sweep ended of which the tracking store may lack something; None where it has everything."""
    try:
        content = json.loads(at(folder).read(UNSENT))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return "KILLED"
    status: RunStatus = content["status"] if isinstance(content, dict) and "status" in content else "KILLED"
    return status


def _pass_on(news: queue.SimpleQueue[tuple[Any, ...] | None], pipe: Connection) -> None:
    """Write news to the pipe, which may be full, until there are no more; then the other process reads its end."""
    while (message := news.get()) is not None:
        try:
            pipe.send(message)
        except OSError:  # the other process is gone: `listen` says so
            return
    _shut(pipe)


def _shut(pipe: Connection) -> None:
    """The end of what is said, which still lets the other side speak."""
    import socket

    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        try:
            end.shutdown(socket.SHUT_WR)
        except OSError:  # the other process is gone
            return
