"""Trained models in MLflow: each one logged with its name, parameters, figures and data, and registered if asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from avil_ray.errors import UserError
from avil_ray.tracking.items import Tag
from avil_ray.tracking.runs import Run

if TYPE_CHECKING:
    from mlflow.entities import Metric

MODEL = "avil.model"
"""The tag that names a run's model, `models:/…`, or says why there is none."""
URI = "models:/"
VERSIONS = "mlflow.modelVersions"
"""The tag by which MLflow shows the registered versions of a model."""
PARAMETERS_AT_ONCE = 100
"""MLflow takes no more parameters of a model in one request."""


def log_model(run: Run, folder: Path, name: str) -> None:
    """Log a folder in MLflow's model format (see `exported.py`) as the run's model.

    It gets the run's parameters, and the run's figures on select and test with the data that they were measured on.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client, parameters = run.client, list(run.parameters.items())
    first, rest = dict(parameters[:PARAMETERS_AT_ONCE]), parameters[PARAMETERS_AT_ONCE:]
    logged = client.create_logged_model(run.experiment_id, model_name(name), run.run_id, params=first)
    for start in range(0, len(rest), PARAMETERS_AT_ONCE):
        client.log_model_params(logged.model_id, dict(rest[start : start + PARAMETERS_AT_ONCE]))
    description = Model.load(str(folder))
    description.artifact_path = logged.artifact_location
    description.model_id = description.model_uuid = logged.model_id
    description.run_id = run.run_id
    description.save(str(folder / "MLmodel"))
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    client.log_batch(run.run_id, _figures(run, logged.model_id), synchronous=True)
    run.send([Tag(MODEL, f"{URI}{logged.model_id}")])


def register(run: Run, name: str) -> str | None:
    """Make the run's model a version of the registered model of that name, once; why there is none, or None."""
    from mlflow.exceptions import MlflowException

    found, client = run.tags.get(MODEL, ""), run.client
    if not found.startswith(URI):
        return f"no model is registered as {name!r}: {found or 'the run has none'}"
    model = client.get_logged_model(found.removeprefix(URI))
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
    # as versions name no model everywhere, they are known by where their files are
    versions = {one.source: one.version for one in client.search_model_versions(f"name='{name}'")}
    place = model.artifact_location
    if place not in versions:
        versions[place] = client.create_model_version(name, place, run.run_id, model_id=model.model_id).version
    known, entry = json.loads(model.tags.get(VERSIONS, "[]")), {"name": name, "version": versions[place]}
    if entry not in known:
        client.set_logged_model_tags(model.model_id, {VERSIONS: json.dumps([*known, entry])})
    return None


def require_name(name: str) -> None:
    """UserError for a name that no registered model may have."""
    if not re.fullmatch(r"[^/:'\"\\]+", name) or name.strip() in ("", ".", ".."):
        raise UserError(f"--register {name!r}: a registered model's name has no slash, colon, quote or backslash")


def model_name(label: str) -> str:
    """A label as MLflow takes it for a model's name.

    Examples
    --------
    >>> model_name("static 0.5")
    'static 0_5'
    """
    return re.sub(r"[/:.%\"']", "_", label) or "model"


def _figures(run: Run, model_id: str) -> list[Metric]:
    """The run's figures on select and test, once more, as the model's.

    With the time at which they were logged: then the run itself does not get a second point.
    """
    from mlflow.entities import Metric

    found = []
    for name in run.metrics:
        split = "select" if name == "best/select" else name.partition("/")[0]
        if name == "best/select" or split == "test":
            last = run.client.get_metric_history(run.run_id, name)[-1]
            called, digest = run.data.get(split, (None, None))
            found.append(Metric(name, last.value, last.timestamp, last.step, model_id, called, digest, run.run_id))
    return found
