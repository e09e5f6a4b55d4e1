"""The one writer: sends items to an MLflow store, so that every trial has exactly one run however often it is retried.

MLflow mirrors a sweep; the sweep's folder is the truth. So a store that fails costs nothing but the mirror: the first
failure is told once, the sweep goes on, and `finish_sweep` sends whatever is missing. Where that fails too, `trouble`
says so, and the command ends with exit status 1; a later `--resume` sends it.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from avil_ray.errors import UserError, WorkFailed
from avil_ray.tracking.items import File, Item, SavedModel, Tag, identity, record_items, sweep_items
from avil_ray.tracking.runs import Run, RunStatus, delete_runs, open_run
from avil_ray.tracking.store import check_uri, first_line, open_experiment, open_store, quiet, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from avil_ray.reports.records import Status, TrialRecord
    from avil_ray.tracking.exported import Packed

logger = logging.getLogger("avil_ray.tracking")

STATUS: dict[Status, RunStatus] = {
    "finished": "FINISHED",
    "stopped": "FINISHED",  # by the scheduler: it did what it was asked to; its tag avil.status tells the difference
    "failed": "FAILED",
    "unfinished": "KILLED",
}
# After a failure: how long the store is left alone, and how many times longer than the failed attempt took. A store
# that is down so costs a sweep a tenth of its time at most.
REST_SECONDS, REST_FACTOR = 60.0, 10.0

Value = TypeVar("Value")


class Tracker:
    """The single writer of a sweep's runs: one parent for the sweep, below it one for each trial.

    A trial is known by its key within the sweep, the sweep itself by None. Every method but `prepare` keeps going where
    the store fails; see `trouble`. A pickled tracker opens the store anew.

    Parameters
    ----------
    uri
        The store: `sqlite:////absolute/path/mlflow.db`, `http://…`. UserError where it is relative.
    experiment
        The experiment's name.
    sweep
        The sweep's name.
    """

    def __init__(self, uri: str, experiment: str, sweep: str) -> None:
        check_uri(uri)
        self.uri = uri
        self.experiment = experiment
        self.sweep = sweep
        self.trouble: str | None = None
        """What the store said when something could not be sent that it still lacks; None where all is there."""
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._runs: dict[str | None, Run] = {}
        self._models: dict[str, Callable[[], bool]] = {}
        self._rest_until = 0.0

    def __reduce__(self) -> tuple[type[Tracker], tuple[str, str, str]]:
        return Tracker, (self.uri, self.experiment, self.sweep)

    def reach(self) -> None:
        """Open the store, which is made where it is new; UserError, within a limited time, where it cannot be used."""
        with quiet():
            self._client = self._client or open_store(self.uri)

    def prepare(self, items: Iterable[Item] = ()) -> None:
        """Create what is missing of store, experiment and the sweep's run, once, before any trial; log `items` there.

        Raises UserError where the store cannot be used: nothing has been worked on yet, so nothing is lost.
        """
        with quiet():
            self._start(None, items)

    @property
    def link(self) -> str | None:
        """Where the sweep's run is in the MLflow UI: from `#` on where no server is known. None before `prepare`."""
        if None not in self._runs:
            return None
        place = f"#/experiments/{self._experiment_id}/runs/{self._runs[None].run_id}"
        return f"{shown(self.uri).rstrip('/')}/{place}" if self.uri.startswith("http") else place

    def forget(self) -> None:
        """Delete the runs of an earlier sweep of this name, so that the next `prepare` starts with new ones."""
        with quiet():
            client, experiment = self._open()
            delete_runs(client, experiment, self.sweep)
        self._runs.clear()

    def start(self, key: str, items: Iterable[Item] = ()) -> None:
        """A trial starts, or starts again: its run, found or created, is running."""
        self._attempt(lambda: self._start(key, items))

    def send(self, key: str | None, items: Iterable[Item]) -> None:
        """Log items in a run; what is already there (a round, a parameter, an equal tag) is not sent twice."""
        self._attempt(lambda: self._run(key).send(items))

    def end(self, key: str | None, status: RunStatus) -> None:
        """A run is over."""
        self._attempt(lambda: self._run(key).set_status(status))

    def log_record(self, record: TrialRecord) -> None:
        """Bring the run of a trial that has ended up to date with the trial's own record."""
        self._attempt(lambda: self._log_record(record))

    def log_model(self, key: str, pack: Callable[[Path], Packed]) -> None:
        """Log a trial's model, loadable by MLflow without this library.

        A run has one such model: it is not logged again. A model that cannot be exported is no reason to fail: it is
        told, and stands in the run's tag `avil.model`. What the store does not take now is sent by `finish_sweep`.

        Parameters
        ----------
        pack
            Writes the model into an empty folder, which is removed afterwards; see `exported.pack_model`.
        """
        self._models[key] = lambda: self._log_model(key, pack)
        self._send_models()

    def finish_sweep(
        self, summary: Mapping[str, Any], folder: Path, records: Iterable[TrialRecord], status: RunStatus
    ) -> None:
        """The end of a sweep: every trial's run is brought up to date, the parent gets the comparison and its status.

        Parameters
        ----------
        summary
            The content of `summary.json`.
        folder
            The sweep's folder, with its report and figures.
        records
            Every trial that has ended.
        status
            FINISHED; FAILED where some trial failed; KILLED where the sweep was interrupted.
        """
        self.trouble, self._rest_until = None, 0.0
        for record in records:
            self.log_record(record)
        self._send_models()
        self.send(None, sweep_items(summary, folder))
        self.end(None, status)

    def _attempt(self, action: Callable[[], Value]) -> Value | None:
        """The action's result; None where it failed, or where the store is left alone after a failure."""
        if time.monotonic() < self._rest_until:
            return None
        began = time.monotonic()
        try:
            with quiet():
                return action()
        except Exception as error:  # noqa: BLE001 - whatever a driver, a server or a disk says: the work comes first
            if self.trouble is None:
                self.trouble = f"tracking store {shown(self.uri)!r}: {first_line(error)}"
                logger.warning("%s; the sweep goes on, and what is missing there is sent at its end", self.trouble)
            now = time.monotonic()
            self._rest_until = now + max(REST_SECONDS, REST_FACTOR * (now - began))
            return None

    def _run(self, key: str | None, *, anew: bool = False) -> Run:
        """The run of a trial, or of the sweep, as it was last seen in the store, or as it is now (`anew`)."""
        client, experiment = self._open()
        if anew or key not in self._runs:
            parent = None if key is None else self._run(None).run_id
            tags = identity(self.sweep, key, parent)
            self._runs[key] = open_run(client, experiment, tags, key or self.sweep)
        return self._runs[key]

    def _open(self) -> tuple[MlflowClient, str]:
        """The store's client and the experiment's id."""
        self._client = self._client or open_store(self.uri)
        self._experiment_id = self._experiment_id or open_experiment(self._client, self.uri, self.experiment)
        return self._client, self._experiment_id

    def _start(self, key: str | None, items: Iterable[Item]) -> None:
        run = self._run(key, anew=True)
        run.set_status("RUNNING")
        run.send(items)

    def _log_record(self, record: TrialRecord) -> None:
        run = self._run(record.key, anew=True)
        run.send(record_items(record))
        run.set_status(STATUS[record.status])

    def _send_models(self) -> None:
        """Log the models that are not there yet; one that fails stays for the next time."""
        self._models = {key: send for key, send in self._models.items() if not self._attempt(send)}

    def _log_model(self, key: str, pack: Callable[[Path], Packed]) -> bool:
        """True once the run has its model, or says why it has none."""
        run = self._run(key)
        if "avil.model" in run.tags:
            return True
        with tempfile.TemporaryDirectory() as folder:
            packed = _packed(pack, Path(folder))
            run.send([File(path) for path in packed.files])
            if packed.model is None:
                logger.warning("trial %s: %s; its named weights are kept in the run", key, packed.trouble)
                run.send([Tag("avil.model", packed.trouble)])
            else:
                run.send([SavedModel(packed.model)])
        return True


def _packed(pack: Callable[[Path], Packed], folder: Path) -> Packed:
    """What was packed, or why it was not: that is not the store's fault."""
    from avil_ray.tracking.exported import Packed

    try:
        return pack(folder)
    except (UserError, WorkFailed) as error:
        return Packed(None, trouble=str(error))
