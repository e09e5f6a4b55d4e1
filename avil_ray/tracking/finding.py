"""The runs of a sweep in a store, found by their tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Stored

RUNS_AT_ONCE = 1000


def find_run(client: MlflowClient, experiment_id: str, key: str) -> Stored | None:
    """The run of that `avil.key`, if need be among the deleted ones; the oldest, should there be several."""
    from mlflow.entities import ViewType

    query = f"tags.`avil.key` = {_quoted(key)}"
    for kind in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY):
        found = client.search_runs([experiment_id], query, kind, 1, order_by=["attributes.start_time ASC"])
        if found:
            return found[0]
    return None


def find_runs(client: MlflowClient, experiment_id: str, sweep: str) -> dict[str, Stored]:
    """Every run of the sweep by its `avil.key`, chosen as by `find_run`, in a few requests however many there are."""
    from mlflow.entities import ViewType

    found: dict[str, Stored] = {}
    # `_` and `%` of a name match more than themselves, so what is found is looked at again
    for query in (f"tags.`avil.key` = {_quoted(sweep)}", f"tags.`avil.key` LIKE {_quoted(f'{sweep}/%')}"):
        for run in _all_runs(client, experiment_id, query, ViewType.ALL):
            key = run.data.tags["avil.key"]
            before = found.get(key)
            deleted = before is not None and before.info.lifecycle_stage == "deleted" != run.info.lifecycle_stage
            if _of(key, sweep) and (before is None or deleted):
                found[key] = run
    return found


def _all_runs(client: MlflowClient, experiment_id: str, query: str, kind: int) -> Iterator[Stored]:
    """Every run that matches, the oldest first."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], query, kind, RUNS_AT_ONCE, order_by=["attributes.start_time ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def delete_runs(client: MlflowClient, experiment_id: str, sweep: str) -> None:
    """Mark the sweep's run and its trials' runs as deleted; MLflow's own clean-up removes them for good.

    They lose their `avil.key` (those that were deleted before, too), so that no later sweep takes them for its own.
    """
    from mlflow.entities import ViewType

    runs = _all_runs(client, experiment_id, "tags.`avil.key` LIKE '%'", ViewType.ALL)
    doomed = [(run.info.run_id, run.info.lifecycle_stage) for run in runs if _of(run.data.tags["avil.key"], sweep)]
    for run_id, stage in doomed:
        if stage == "deleted":  # MLflow changes no tag of a deleted run
            client.restore_run(run_id)
        client.delete_tag(run_id, "avil.key")
        client.delete_run(run_id)


def _of(key: str, sweep: str) -> bool:
    return key == sweep or key.startswith(f"{sweep}/")


def _quoted(text: str) -> str:
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"
