"""One run of an MLflow store: found by its tags or created, then brought up to what a list of items says."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from avil_ray.tracking.finding import find_run
from avil_ray.tracking.items import (
    ROUND,
    TAG_LENGTH,
    Data,
    File,
    Item,
    Metrics,
    Note,
    Origin,
    Parameters,
    Table,
    Tag,
    Text,
    Totals,
    cut,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as Stored

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
TABLES, NOTE = "mlflow.loggedArtifacts", "mlflow.note.content"
OUR_NOTE = "avil.note"
"""The tag that holds the checksum of the description as we wrote it last."""
CONTEXT = "mlflow.data.context"
"""The tag of an input that says what a run used it for: its split."""
# MLflow takes 1000 entities in one request, of these 100 parameters and 100 tags.
METRICS_AT_ONCE, OTHERS_AT_ONCE = 800, 100

Kind = TypeVar("Kind")
Value = TypeVar("Value")


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
        The rounds whose metrics are there; None until somebody asks (see `known_rounds`).
    data
        The name and the digest of each data set that is there as an input, by split.
    """

    client: MlflowClient
    run_id: str
    experiment_id: str
    status: str
    parameters: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    rounds: set[int] | None = None
    data: dict[str, tuple[str, str]] = field(default_factory=dict)

    def known_rounds(self) -> set[int]:
        """The rounds whose metrics are there. The store is asked once, and not at all about a run without any."""
        if self.rounds is None:
            marks = self.client.get_metric_history(self.run_id, ROUND) if ROUND in self.metrics else []
            self.rounds = {mark.step for mark in marks}
        return self.rounds

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
        """What is missing: parameters never change, rounds never repeat, files are replaced, no tag is an empty one.

        Files go first and tags last: where a tag is, all else is there.
        """
        items = list(items)
        for item in items:
            self._send_file(item)
        self._send_data([item for item in items if isinstance(item, Data)])
        parameters = _merged(items, Parameters, lambda item: item.entries)
        parameters = {name: value for name, value in parameters.items() if name not in self.parameters}
        tags = _merged(items, Tag, lambda item: {item.name: item.value})
        tags = {**self._note(items), **tags}
        tags = {name: value for name, value in tags.items() if self.tags.get(name, "") != value}
        totals = _merged(items, Totals, lambda item: item.entries)
        totals = {name: value for name, value in totals.items() if self.metrics.get(name) != value}
        rows = {item.step: item.entries for item in items if isinstance(item, Metrics)}
        rows = {step: rows[step] for step in sorted(rows) if step not in self.known_rounds()} if rows else {}
        self._send_batches(parameters, tags, [*rows.items(), (0, totals)])
        self.parameters |= parameters
        self.tags |= tags
        self.metrics |= totals
        if rows:
            self.rounds = self.known_rounds() | set(rows)

    def _note(self, items: Iterable[Item]) -> dict[str, str]:
        """The tags that make the last of the notes the run's description, unless somebody has edited it."""
        notes = [cut(item.content, TAG_LENGTH) for item in items if isinstance(item, Note)]
        now = self.tags.get(NOTE, "")
        edited = now and _checksum(now) != self.tags.get(OUR_NOTE)
        return {NOTE: notes[-1], OUR_NOTE: _checksum(notes[-1])} if notes and not edited else {}

    def _send_data(self, found: Sequence[Data]) -> None:
        """The data sets that are not yet among the run's inputs."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        new = [one for one in found if self.data.get(one.split) != (one.name, one.digest)]
        inputs = []
        for one in new:
            known = {task: size for task, size in one.sizes.items() if size is not None}
            profile = json.dumps({"num_rows": sum(known.values()), "rows_of_each_task": one.sizes}, ensure_ascii=False)
            dataset = Dataset(one.name, one.digest, "avil_ray", one.source, profile=profile)
            inputs.append(DatasetInput(dataset, [InputTag(CONTEXT, one.split)]))
        if inputs:
            self.client.log_inputs(self.run_id, inputs)
            self.data |= {one.split: (one.name, one.digest) for one in new}

    def _send_batches(
        self,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        rows: Sequence[tuple[int, Mapping[str, float]]],
    ) -> None:
        """In as few requests as MLflow takes, tags in the last."""
        from mlflow.entities import Param, RunTag

        batches = _batches(rows)
        params = _chunks([Param(name, value) for name, value in parameters.items()], OTHERS_AT_ONCE)
        run_tags = _chunks([RunTag(name, value) for name, value in tags.items()], OTHERS_AT_ONCE)
        count = max(len(batches), len(params), len(run_tags))
        params, batches = params + [[]] * (count - len(params)), batches + [[]] * (count - len(batches))
        run_tags = [[]] * (count - len(run_tags)) + run_tags
        for some in zip(batches, params, run_tags, strict=True):
            self.client.log_batch(self.run_id, *some, synchronous=True)

    def _send_file(self, item: Item) -> None:
        match item:
            case Text(name, content):
                self.client.log_text(self.run_id, content, name)
            case File(path, folder):
                self.client.log_artifact(self.run_id, str(path), folder or None)
            case Table():
                self._send_table(item)

    def _send_table(self, table: Table) -> None:
        """As `MlflowClient.log_table`, which would append to a table of that name: a resumed sweep's would grow."""
        content = {"columns": table.columns, "data": table.rows}
        self.client.log_text(self.run_id, json.dumps(content), table.name)
        known, entry = json.loads(self.tags.get(TABLES, "[]")), {"path": table.name, "type": "table"}
        if entry not in known:
            self.send([Tag(TABLES, json.dumps([*known, entry]))])


def open_run(client: MlflowClient, experiment_id: str, tags: Mapping[str, str], made: Origin) -> Run:
    """The experiment's run with the tag `avil.key` of `tags`; where there is none, a new one. Either has all of `tags`.

    A new run is called as `made` says. A run that was deleted in MLflow is restored. Looking and creating are two
    steps, so only one writer may do this.
    """
    return opened(client, experiment_id, find_run(client, experiment_id, tags["avil.key"]), tags, made)


def opened(
    client: MlflowClient, experiment_id: str, found: Stored | None, tags: Mapping[str, str], made: Origin
) -> Run:
    """As `open_run`, once it is known what is there."""
    run = found or client.create_run(experiment_id, tags={**made.tags, **tags}, run_name=made.name)
    if run.info.lifecycle_stage == "deleted":
        client.restore_run(run.info.run_id)
    old = {tag: value for tag, value in tags.items() if run.data.tags.get(tag) != value}
    for tag, value in old.items():  # its sweep's run was removed for good, and made anew
        client.set_tag(run.info.run_id, tag, value)
    info, data = run.info, run.data
    return Run(
        client=client,
        run_id=info.run_id,
        experiment_id=experiment_id,
        status=info.status,
        parameters=dict(data.params),
        tags={**data.tags, **tags},
        metrics=dict(data.metrics),
        data=_inputs(run),
    )


def _inputs(run: Stored) -> dict[str, tuple[str, str]]:
    """The name and the digest of each data set that a run has as an input, by split."""
    there = run.inputs.dataset_inputs if run.inputs else []
    splits = [{tag.key: tag.value for tag in one.tags}.get(CONTEXT, "") for one in there]
    return {split: (one.dataset.name, one.dataset.digest) for split, one in zip(splits, there, strict=True)}


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _batches(rows: Sequence[tuple[int, Mapping[str, float]]]) -> list[list[Metric]]:
    """Metrics for one request each. A round is in one of them if it fits: MLflow takes a request's metrics or none."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    batches: list[list[Metric]] = []
    for step, row in rows:
        metrics = [Metric(name, value, now, step) for name, value in row.items()]
        for some in _chunks(metrics, METRICS_AT_ONCE):
            if not batches or len(batches[-1]) + len(some) > METRICS_AT_ONCE:
                batches.append([])
            batches[-1] += some
    return batches


def _chunks(values: list[Value], size: int) -> list[list[Value]]:
    return [values[first : first + size] for first in range(0, len(values), size)]


def _merged(items: Iterable[Item], kind: type[Kind], values: Callable[[Kind], Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for item in items if isinstance(item, kind) for name, value in values(item).items()}
