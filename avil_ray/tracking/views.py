"""Where things are in the MLflow UI: addresses from `#` on, which every server of the same store understands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

from avil_ray.plain import plain
from avil_ray.reports.provenance import UI

TRIALS_OF = "tags.mlflow.parentRunId = '{}'"
"""The filter that lists the trials of a sweep."""
MACHINE_LEARNING = {"workflowType": "machine_learning"}
"""Without it MLflow opens its GenAI view, which hides metrics and descriptions."""


USUAL_STORAGE = "avil-results"
"""Where sweeps are stored unless it is said where."""


def experiment(experiment_id: str) -> str:
    """The experiment's runs.

    Examples
    --------
    >>> experiment("1")
    '#/experiments/1/runs?workflowType=machine_learning'
    """
    return _address(f"experiments/{experiment_id}/runs", {})


def trials(experiment_id: str, parent: str, *, mode: str = "max", charts: bool = False) -> str:
    """The trials of the sweep that has the run `parent`, as a table or as charts, the best on select first.

    In their usual order MLflow would fold them into the sweep's run.
    """
    order = {"orderByKey": "metrics.`best/select`", "orderByAsc": "true" if mode == "min" else "false"}
    asked = {"searchFilter": TRIALS_OF.format(parent), **order, **({"compareRunsMode": "CHART"} if charts else {})}
    return _address(f"experiments/{experiment_id}/runs", asked)


def run(experiment_id: str, run_id: str) -> str:
    """One run."""
    return _address(f"experiments/{experiment_id}/runs/{run_id}", {})


def artifact(experiment_id: str, run_id: str, path: str) -> str:
    """A file of a run."""
    return _address(f"experiments/{experiment_id}/runs/{run_id}/artifacts/{quote(path)}", {})


def comparison(experiment_id: str, runs: Sequence[str]) -> str:
    """Some runs side by side."""
    return _address("compare-runs", {"runs": json.dumps(list(runs)), "experiments": json.dumps([experiment_id])})


def served(place: str) -> str:
    """An address as a browser takes it: where `avil-ray ui` serves it, unless it names its server."""
    return plain(f"{UI}{place}" if place.startswith("#") else place)


def addresses(found: Mapping[str, str], storage: str) -> list[str]:
    """Lines that say where the views of a sweep are; `avil-ray ui` has to serve those without a server."""
    if not found:
        return []
    own = any(place.startswith("#") for place in found.values())
    where = "" if storage == USUAL_STORAGE else f" --storage {shlex.quote(plain(storage))}"
    head = f"in MLflow, once `avil-ray ui{where}` runs:" if own else "in MLflow:"
    width = max(map(len, found))
    return [head, *(f"  {name:{width}}  {served(place)}" for name, place in found.items())]


def _address(path: str, asked: Mapping[str, str]) -> str:
    return f"#/{path}?{urlencode({**MACHINE_LEARNING, **asked}, quote_via=quote)}"
