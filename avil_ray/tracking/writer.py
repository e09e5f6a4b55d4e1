"""What a sweep's trials have come to, written into an MLflow store: exactly one run a trial, however often it starts.

Whatever a store says is raised. `delivery.py` calls this in a process beside the sweep's, and tries again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avil_ray.tracking import models, notes, views
from avil_ray.tracking.contents import origin, record_items, sweep_items, sweep_start, trial_items
from avil_ray.tracking.finding import delete_runs, find_run, find_runs
from avil_ray.tracking.items import MARK, File, Item, Note, Origin, Tag, identity
from avil_ray.tracking.runs import Run, RunStatus, opened
from avil_ray.tracking.store import check_uri, open_experiment, open_store, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Stored

    from avil_ray.reports.facts import SweepFacts
    from avil_ray.reports.records import Status, TrialRecord

logger = logging.getLogger("avil_ray.tracking")

STATUS: dict[Status, RunStatus] = {
    "finished": "FINISHED",
    "stopped": "FINISHED",  # by the scheduler: it did what it was asked to; its tag avil.status tells the difference
    "failed": "FAILED",
    "unfinished": "KILLED",
}


class Tracker:
    """The single writer of a sweep's runs: one parent for the sweep, below it one for each trial.

    A trial is known by its key within the sweep, the sweep itself by None.

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
        self.facts: SweepFacts | None = None
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._found: dict[str, Stored] | None = None
        self._alone = False
        self._runs: dict[str | None, Run] = {}
        self._doubtful: set[str | None] = set()

    def reach(self) -> None:
        """Open the store, which is made where it is new; UserError, within a limited time, where it cannot be used."""
        self._client = self._client or open_store(self.uri)

    def prepare(self, facts: SweepFacts | None = None) -> None:
        """Create what is missing of store, experiment and the sweep's run, and say there what the sweep is.

        From here on this process is the only one that makes runs of the sweep: what runs it has is asked once, in few
        requests however many there are.

        Parameters
        ----------
        facts
            What all trials have in common, which their runs show too; None where nobody knows.
        """
        self._runs.clear()
        self._found = None
        self._alone = True
        self.facts = facts
        self.bring(None, sweep_start(facts), "RUNNING")
        run = self._run(None)
        run.send([self._note("", ())])

    @property
    def run_id(self) -> str:
        """The id of the sweep's run."""
        return self._run(None).run_id

    @property
    def link(self) -> str | None:
        """Where the sweep's run is in the MLflow UI: from `#` on where no server is known. None before `prepare`."""
        if None not in self._runs:
            return None
        return self._address(views.run(self._experiment_id, self._runs[None].run_id))

    def views(self, best: Sequence[str]) -> dict[str, str]:
        """Where the sweep's trials, those of the keys `best` side by side, and its report are in the MLflow UI."""
        parent, mode = self.run_id, self.facts.mode if self.facts else "max"
        found = {
            "trials": views.trials(self._experiment_id, parent, mode=mode),
            "charts": views.trials(self._experiment_id, parent, mode=mode, charts=True),
            "comparison": views.comparison(self._experiment_id, [self._run(key).run_id for key in best]),
            "report": views.artifact(self._experiment_id, parent, "report.html"),
        }
        return {name: self._address(place) for name, place in found.items() if best or name != "comparison"}

    def forget(self) -> None:
        """Delete the runs of an earlier sweep of this name, so that the next `prepare` starts with new ones."""
        client, experiment = self._open()
        delete_runs(client, experiment, self.sweep)
        self._runs.clear()

    def bring(self, key: str | None, items: Iterable[Item], status: RunStatus | None = None) -> None:
        """Log items in a run, found or created, and say how it stands.

        What is already there (a round, a parameter, an equal tag) is not sent twice.
        """
        items = list(items)
        made = next((item for item in items if isinstance(item, Origin)), None)
        run = self._run(key, made)
        run.send(items)
        if status is not None:
            run.set_status(status)

    def started(self, trial: Mapping[str, Any]) -> list[Item]:
        """What the run of a trial shows from its start; `trial`: see `contents.trial_items`."""
        return trial_items(trial, self.facts)

    def bring_record(self, record: TrialRecord, mark: str = "", files: Sequence[Item] = ()) -> None:
        """Bring the run of a trial that has ended up to date with the trial's own record and files; see `shows`."""
        self.bring(record.key, [*record_items(record, mark, self.facts), *files], STATUS[record.status])

    def shows(self, key: str, status: Status, mark: str) -> bool:
        """Whether the trial's run is there and shows all of the record with that mark."""
        found = self._seen(key)
        return bool(mark) and found is not None and found == (STATUS[status], mark)

    def running(self) -> list[str]:
        """The trials whose runs are said to be running."""
        keys = [key.removeprefix(f"{self.sweep}/") for key in self._all() if key != self.sweep]
        known = [key for key in self._runs if key is not None]
        return [key for key in dict.fromkeys([*keys, *known]) if (self._seen(key) or ("", ""))[0] == "RUNNING"]

    def doubt(self, key: str | None) -> None:
        """A request for this run failed: what arrived of it is not known, so the store is asked before the next one."""
        self._runs.pop(key, None)
        self._runs.pop(None, None)
        self._doubtful |= {key, None}
        self._experiment_id = ""

    def lacks_model(self, key: str) -> bool:
        """Whether the trial's run neither has a model nor says why not."""
        return models.MODEL not in self._run(key).tags

    def log_model(self, key: str, model: Path | None, files: Iterable[Path], trouble: str) -> None:
        """Log a trial's model, as `exported.Packed` describes it, unless the run has one.

        A model that cannot be exported is no reason to fail: it is told, and stands in the run's tag `avil.model`.
        """
        run = self._run(key)
        if models.MODEL in run.tags:
            return
        run.send([File(path, "weights") for path in files])
        if model is None:
            logger.warning("trial %s: %s; its named weights are kept in the run", key, trouble)
            run.send([Tag(models.MODEL, trouble)])
        else:
            models.log_model(run, model, run.tags.get("avil.label", key))

    def register(self, key: str, name: str) -> str:
        """Make a trial's model a version of the registered model of that name, unless it is one; why it cannot be."""
        return models.register(self._run(key), name) or ""

    def end(
        self, summary: Mapping[str, Any], folder: Path, status: RunStatus, outcome: str = "", best: Sequence[str] = ()
    ) -> None:
        """The sweep's own run gets the comparison (the content of `summary.json`), the report and its status.

        Parameters
        ----------
        outcome
            What the sweep came to, in Markdown, for the run's description.
        best
            Keys of the best trial of each method.
        """
        note = [self._note(outcome, best)] if outcome else []
        self.bring(None, [*sweep_items(summary, folder), *note], status)

    def _note(self, outcome: str, best: Sequence[str]) -> Note:
        runs = [self._run(key).run_id for key in best]
        return Note(notes.sweep(self.facts, self._experiment_id, self.run_id, outcome, runs))

    def _address(self, place: str) -> str:
        return f"{shown(self.uri).rstrip('/')}/{place}" if self.uri.startswith("http") else place

    def _open(self) -> tuple[MlflowClient, str]:
        """The store's client and the experiment's id."""
        self._client = self._client or open_store(self.uri)
        self._experiment_id = self._experiment_id or open_experiment(self._client, self.uri, self.experiment)
        return self._client, self._experiment_id

    def _run(self, key: str | None, made: Origin | None = None) -> Run:
        """The run of a trial, or of the sweep, as it was last seen in the store; a new one where there is none."""
        client, experiment = self._open()
        if key not in self._runs:
            parent = None if key is None else self._run(None).run_id
            tags = identity(self.sweep, key, parent)
            name = tags["avil.key"]
            if key is None or key in self._doubtful or not self._alone:
                found = find_run(client, experiment, name)
            else:
                found = self._all().get(name)
            made = made or Origin(key or self.sweep, origin(self.facts))
            self._runs[key] = opened(client, experiment, found, tags, made)
            self._doubtful.discard(key)
        return self._runs[key]

    def _all(self) -> dict[str, Stored]:
        """The runs that the sweep had when they were first asked for."""
        if self._found is None:
            client, experiment = self._open()
            self._found = find_runs(client, experiment, self.sweep)
        return self._found

    def _seen(self, key: str) -> tuple[str, str] | None:
        """The status and the mark of a trial's run, as far as they are known; None where the run is not there."""
        if key in self._runs:
            return self._runs[key].status, self._runs[key].tags.get(MARK, "")
        found = self._all().get(identity(self.sweep, key, "")["avil.key"])
        if found is None or key in self._doubtful or found.info.lifecycle_stage == "deleted":
            return None
        return found.info.status, found.data.tags.get(MARK, "")
