"""One run of an MLflow store: found by its tags or created, then brought up to what a list of items says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from avil_ray.tracking.items import ROUND, File, Item, Metrics, Parameters, SavedModel, Table, Tag, Text, Totals

if TYPE_CHECKING:
    from mlflow import MlflowClient

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
TABLES = "mlflow.loggedArtifacts"
# MLflow takes 1000 entities in one request, of these 100 parameters and 100 tags.
METRICS_AT_ONCE, OTHERS_AT_ONCE = 800, 100

Kind = TypeVar("Kind")


@dataclass
class Run:
    """A run as the store has it: what is there is not sent again.

    Parameters
    ----------
    client
        Where it is stored.
    run_id, experiment_id, status
        The run, its experiment, and how it stands.
    parameters, tags, metrics
        What the store has, of metrics the latest values.
    rounds
        The rounds whose metrics are there.
    """

    client: MlflowClient
    run_id: str
    experiment_id: str
    status: str
    parameters: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    rounds: set[int]

    def set_status(self, status: RunStatus) -> None:
        """Say how the run stands; any status but RUNNING is its end."""
        if status == self.status:
            return
        if status == "RUNNING":
            self.client.update_run(self.run_id, status=status)
        else:
            self.client.set_terminated(self.run_id, status)
        self.status = status

    def send(self, items: Iterable[Item]) -> None:
        """What is missing: parameters never change, rounds never repeat, files are replaced, no tag is an empty one."""
        items = list(items)
        parameters = _merged(items, Parameters, lambda item: item.entries)
        parameters = {name: value for name, value in parameters.items() if name not in self.parameters}
        tags = _merged(items, Tag, lambda item: {item.name: item.value})
        tags = {name: value for name, value in tags.items() if self.tags.get(name, "") != value}
        totals = _merged(items, Totals, lambda item: item.entries)
        totals = {name: value for name, value in totals.items() if self.metrics.get(name) != value}
        rows = {item.step: item.entries for item in items if isinstance(item, Metrics) and item.step not in self.rounds}
        self._send_batches(parameters, tags, [*rows.items(), (0, totals)])
        self.parameters |= parameters
        self.tags |= tags
        self.metrics |= totals
        self.rounds |= set(rows)
        for item in items:
            self._send_file(item)

    def _send_batches(
        self,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        rows: Sequence[tuple[int, Mapping[str, float]]],
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for step, row in rows for name, value in row.items()]
        params = [Param(name, value) for name, value in parameters.items()]
        run_tags = [RunTag(name, value) for name, value in tags.items()]
        while metrics or params or run_tags:
            some = metrics[:METRICS_AT_ONCE], params[:OTHERS_AT_ONCE], run_tags[:OTHERS_AT_ONCE]
            self.client.log_batch(self.run_id, *some, synchronous=True)
            del metrics[:METRICS_AT_ONCE], params[:OTHERS_AT_ONCE], run_tags[:OTHERS_AT_ONCE]

    def _send_file(self, item: Item) -> None:
        match item:
            case Text(name, content):
                self.client.log_text(self.run_id, content, name)
            case File(path, folder):
                self.client.log_artifact(self.run_id, str(path), folder or None)
            case Table():
                self._send_table(item)
            case SavedModel(folder, name):
                self._send_model(folder, name)

    def _send_table(self, table: Table) -> None:
        """As `MlflowClient.log_table`, which would append to a table of that name: a resumed sweep's would grow."""
        content = {"columns": table.columns, "data": table.rows}
        self.client.log_text(self.run_id, json.dumps(content), table.name)
        known, entry = json.loads(self.tags.get(TABLES, "[]")), {"path": table.name, "type": "table"}
        if entry not in known:
            self.send([Tag(TABLES, json.dumps([*known, entry]))])

    def _send_model(self, folder: Path, name: str) -> None:
        """Register the folder as the run's model, which MLflow keeps outside the run's own files."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        logged = self.client.create_logged_model(self.experiment_id, name, self.run_id)
        description = Model.load(str(folder))
        description.artifact_path = logged.artifact_location
        description.model_id = description.model_uuid = logged.model_id
        description.run_id = self.run_id
        description.save(str(folder / "MLmodel"))
        self.client.log_model_artifacts(logged.model_id, str(folder))
        self.client.finalize_logged_model(logged.model_id, "READY")
        self.client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self.send([Tag("avil.model", f"models:/{logged.model_id}")])


def open_run(client: MlflowClient, experiment_id: str, tags: Mapping[str, str], name: str) -> Run:
    """The experiment's run with the tag `avil.key` of `tags`; where there is none, a new one. Either has all of `tags`.

    A run that was deleted in MLflow is restored. Looking and creating are two steps, so only one writer may do this.
    """
    from mlflow.entities import ViewType

    key = tags["avil.key"]
    quote = '"' if "'" in key else "'"
    query = f"tags.`avil.key` = {quote}{key}{quote}"
    for kind in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY):
        found = client.search_runs([experiment_id], query, kind, 1, order_by=["attributes.start_time ASC"])
        if found:
            break
    run = found[0] if found else client.create_run(experiment_id, tags=dict(tags), run_name=name)
    if run.info.lifecycle_stage == "deleted":
        client.restore_run(run.info.run_id)
    old = {tag: value for tag, value in tags.items() if run.data.tags.get(tag) != value}
    for tag, value in old.items():  # its sweep's run was removed for good, and made anew
        client.set_tag(run.info.run_id, tag, value)
    info, data = run.info, run.data
    marks = client.get_metric_history(info.run_id, ROUND) if ROUND in data.metrics else []
    return Run(
        client=client,
        run_id=info.run_id,
        experiment_id=experiment_id,
        status=info.status,
        parameters=dict(data.params),
        tags={**data.tags, **tags},
        metrics=dict(data.metrics),
        rounds={mark.step for mark in marks},
    )


def delete_runs(client: MlflowClient, experiment_id: str, sweep: str) -> None:
    """Mark the sweep's run and its trials' runs as deleted; MLflow's own clean-up removes them for good.

    They lose their `avil.key` (those that were deleted before, too), so that no later sweep takes them for its own.
    """
    from mlflow.entities import ViewType

    token = None
    doomed: list[tuple[str, str]] = []
    while True:
        page = client.search_runs([experiment_id], "tags.`avil.key` LIKE '%'", ViewType.ALL, page_token=token)
        for run in page:
            key = run.data.tags["avil.key"]
            if key == sweep or key.startswith(f"{sweep}/"):
                doomed.append((run.info.run_id, run.info.lifecycle_stage))
        token = page.token
        if not token:
            break
    for run_id, stage in doomed:
        if stage == "deleted":  # MLflow changes no tag of a deleted run
            client.restore_run(run_id)
        client.delete_tag(run_id, "avil.key")
        client.delete_run(run_id)


def _merged(items: Iterable[Item], kind: type[Kind], values: Callable[[Kind], Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for item in items if isinstance(item, kind) for name, value in values(item).items()}
