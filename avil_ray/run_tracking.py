"""`avil-ray run --track`: a single run in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from avil_ray.catalog import settled_options
from avil_ray.errors import UserError, WorkFailed
from avil_ray.methods.method import Method
from avil_ray.storage import at
from avil_ray.sweeps.conclusion import pack
from avil_ray.sweeps.provenance import of_run
from avil_ray.sweeps.storage import tracking_folder
from avil_ray.sweeps.trial import make_record
from avil_ray.tasks.suite import Suite
from avil_ray.tracking.exported import Packed
from avil_ray.tracking.single import Follower
from avil_ray.tracking.store import experiment_name, tracking_uri
from avil_ray.training import Result

if TYPE_CHECKING:
    from avil_ray.running import Settings


def follower_of(asked: Settings, suite: Suite, method: Method) -> Follower:
    """What keeps MLflow up to date on a run: the store in `asked.track`, unless MLFLOW_TRACKING_URI names another."""
    assert asked.track is not None
    trial = _trial(asked, method)
    length = {"rounds": asked.rounds, "steps_per_round": asked.steps_per_round, "threads": 1}
    facts = of_run(method.prepare(suite), asked.method, trial["options"], length, asked.seed)
    uri = tracking_uri(tracking_folder(asked.track))
    return Follower(uri, experiment_name(suite.name), trial, facts, asked.resume)


def finish(follower: Follower, asked: Settings, result: Result) -> None:
    """Send everything that MLflow does not have yet of a result, and its model."""
    from avil_ray.running import write_result

    found = {"select": result.select, "test": dict(result.test), "best_round": result.best_round}
    with TemporaryDirectory() as spare:
        folder = Path(spare)
        (folder / "result").mkdir()
        write_result(at(folder / "result"), result)
        try:
            packed = pack(result, folder)
        except (UserError, WorkFailed) as error:
            packed = Packed(None, trouble=str(error))
        record = make_record(_trial(asked, result.method), "finished", result.rows, **found)
        follower.finish(record, folder / "result", packed)


def _trial(asked: Settings, method: Method) -> Mapping[str, Any]:
    name = asked.method
    options = settled_options(method)
    return {"key": name, "label": name, "method": name, "configuration": 0, "seed": asked.seed, "options": options}
