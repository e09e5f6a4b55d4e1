"""A run by itself in the tracking store, for `avil-ray run --track`: a thread sends its rounds while it trains."""

from __future__ import annotations

import hashlib
import json
import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from avil_ray.reports.records import HISTORY, RESULT
from avil_ray.tracking import models, views
from avil_ray.tracking.contents import configuration, record_items, trial_items
from avil_ray.tracking.files import RECORD, figure
from avil_ray.tracking.items import File, Item, Origin, Tag, Text, round_metrics
from avil_ray.tracking.runs import Run, RunStatus, open_run
from avil_ray.tracking.store import first_line, open_experiment, open_store, quiet, require_usable, shown
from avil_ray.tracking.system import Monitor

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from avil_ray.reports.facts import SweepFacts
    from avil_ray.reports.records import TrialRecord
    from avil_ray.tracking.exported import Packed

logger = logging.getLogger("avil_ray.tracking")


class Follower:
    """Keeps one run in an MLflow store up to date. Training never waits for the store.

    A context manager: entering it raises a UserError where the store cannot be used. The run is made once a round is
    done, so that wrong input leaves none. A store that fails meanwhile is told once; `finish` sends all that it lacks.

    Parameters
    ----------
    uri, experiment
        The store, and the name of the experiment.
    trial
        The run's label, method, configuration, seed and options.
    facts
        What it is a run of: as of a sweep with this one trial.
    resume
        Go on with the last run of the same configuration, if there is one.

    Attributes
    ----------
    trouble
        What the store lacks and why; None where it has everything.
    link
        Where the run is in the MLflow UI, from `#` on where no server is known.
    """

    def __init__(self, uri: str, experiment: str, trial: Mapping[str, Any], facts: SweepFacts, resume: bool) -> None:
        self.uri, self.experiment, self.trial, self.facts, self.resume = uri, experiment, trial, facts, resume
        self.trouble: str | None = None
        self.link = ""
        self._key = ""
        self._run: Run | None = None
        self._monitor: Monitor | None = None
        self._rows: queue.SimpleQueue[tuple[int, Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._quiet = quiet()

    def __enter__(self) -> Self:
        require_usable(self.uri)
        self._quiet.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if error is not None and self._run is not None:
            failed = isinstance(error, Exception)  # else somebody has interrupted it
            reason = first_line(error) if isinstance(error, Exception) else "interrupted"
            tags = [Tag("avil.reason", reason), Tag("avil.status", "failed" if failed else "unfinished")]
            self._attempt(tags, "FAILED" if failed else "KILLED")
        self._quiet.__exit__(kind, error, trace)

    def row(self, number: int, row: Mapping[str, Any]) -> None:
        """The run has done a round: its row of the history."""
        self._rows.put((number, row))

    def finish(self, record: TrialRecord, folder: Path, packed: Packed) -> None:
        """The run has ended: all that the store lacks of its record, and its model.

        Parameters
        ----------
        folder
            Holds the files that `avil-ray run --output` writes.
        packed
            Its model.
        """
        self._stop()
        items = record_items(record, sweep=self.facts)
        for name in (RESULT, HISTORY):
            items.append(Text(f"{RECORD}/{name}", (folder / name).read_text(encoding="utf-8")))
        curves = figure(record, self.facts.metric)
        items += [curves] if curves else []
        items += [File(path, "weights") for path in packed.files]
        if self._attempt(items, None):
            self._attempt([Tag(models.MODEL, packed.trouble)] if packed.model is None else [], "FINISHED", packed.model)

    def _attempt(self, items: Sequence[Item], status: RunStatus | None, model: Path | None = None) -> bool:
        """Send it, once the store was asked what is there; whether the store took it."""
        try:
            run = self._open()
            run.send(items)
            if model is not None and models.MODEL not in run.tags:
                models.log_model(run, model, self.trial["label"])
            if status is not None:
                run.set_status(status)
        except Exception as error:  # noqa: BLE001 - whatever a driver, a server or a disk says: the run itself is done
            self.trouble = f"tracking store {shown(self.uri)!r}: {first_line(error)}"
            return False
        self.trouble = None
        return True

    def _follow(self) -> None:
        """Send rounds as they come; those that the store does not take are sent at the end."""
        while (news := self._rows.get()) is not None:
            number, row = news
            try:
                run = self._run or self._open()
                run.send([round_metrics(row, number)])
            except Exception as error:  # noqa: BLE001 - as above
                if self.trouble is None:
                    self.trouble = f"tracking store {shown(self.uri)!r}: {first_line(error)}"
                    logger.warning("%s; training goes on, and what is missing there is sent at its end", self.trouble)

    def _open(self) -> Run:
        """The run as the store has it now, made where there is none: its key is this process's own, or the resumed."""
        client = open_store(self.uri)
        experiment = open_experiment(client, self.uri, self.experiment)
        items = trial_items(self.trial, self.facts)
        made = next(item for item in items if isinstance(item, Origin))
        self._key = self._key or self._last(client, experiment) or f"{self._prefix}{uuid4().hex[:8]}"
        run = open_run(client, experiment, {"avil.key": self._key}, made)
        if self._run is None:
            run.send(items)
            run.set_status("RUNNING")
            place = views.run(experiment, run.run_id)
            self.link = f"{shown(self.uri).rstrip('/')}/{place}" if self.uri.startswith("http") else place
            self._monitor = Monitor(run.run_id, self.uri)
        self._run = run
        return run

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._rows.put(None)
            self._thread.join()
        if self._monitor is not None:
            self._monitor.finish()

    @property
    def _prefix(self) -> str:
        """How the keys of all runs of this configuration begin."""
        told = json.dumps(configuration(self.trial, self.facts), sort_keys=True, default=str)
        return f"run-{hashlib.sha256(told.encode()).hexdigest()[:8]}-"

    def _last(self, client: MlflowClient, experiment: str) -> str:
        """The key of the latest run of this configuration, where one is to be resumed; empty where there is none."""
        query, order = f"tags.`avil.key` LIKE '{self._prefix}%'", ["attributes.start_time DESC"]
        found = client.search_runs([experiment], query, max_results=1, order_by=order) if self.resume else []
        return found[0].data.tags["avil.key"] if found else ""
