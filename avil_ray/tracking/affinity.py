"""A diagnosis in the tracking store: one run called affinity, with its table, figure and numbers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

from avil_ray.errors import UserError, WorkFailed
from avil_ray.reports.affinity import Affinity
from avil_ray.tracking.contents import made_by
from avil_ray.tracking.items import File, Item, Origin, Totals, mlflow_name, parameters
from avil_ray.tracking.items import Table as TableItem
from avil_ray.tracking.runs import open_run
from avil_ray.tracking.store import first_line, open_experiment, open_store, quiet, shown

NAME = "affinity"


def affinity_items(affinity: Affinity, files: Sequence[Path]) -> list[Item]:
    """What was asked for, the figures as metrics `<figure>/<auxiliary>`, the table, and the files."""
    frame = affinity.frame()
    rows = frame.to_dict("records")
    figures = {f"{name}/{row['auxiliary']}": row[name] for row in rows for name in frame.columns[1:]}
    figures["total/gradient_steps"] = affinity.gradient_steps
    finite = {mlflow_name(name): float(value) for name, value in figures.items() if math.isfinite(value)}
    table = tuple(tuple(None if value != value else value for value in row.values()) for row in rows)
    return [
        parameters(affinity.configuration),
        Totals(finite),
        TableItem("affinity.json", tuple(frame.columns), table),
        *(File(file) for file in files),
    ]


def log_affinity(affinity: Affinity, files: Sequence[Path], uri: str, experiment: str) -> str:
    """Log a diagnosis in the run that it has in the experiment, or in a new one; the run's id.

    A diagnosis of the same suite, options, steps and seeds has the same run, however often it is made.

    Raises
    ------
    UserError
        Where the store cannot be opened.
    WorkFailed
        Where it does not take what it is sent.
    """
    asked = json.dumps(affinity.configuration, sort_keys=True, default=str)
    tags = {"avil.key": f"{NAME}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"}
    try:
        with quiet():
            client = open_store(uri)
            made = Origin(NAME, made_by("avil-ray affinity", None))
            run = open_run(client, open_experiment(client, uri, experiment), tags, made)
            run.send(affinity_items(affinity, files))
            run.set_status("FINISHED")
            return run.run_id
    except UserError:
        raise
    except Exception as error:
        raise WorkFailed(f"tracking store {shown(uri)!r}: {first_line(error)}; the diagnosis is not logged") from error
