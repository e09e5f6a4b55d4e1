"""Where things are in the MLflow UI: addresses from `#` on, which every server of the same store understands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

TRIALS_OF = "tags.mlflow.parentRunId = '{}'"
"""The filter that lists the trials of a sweep."""
MACHINE_LEARNING = {"workflowType": "machine_learning"}
"""Without it MLflow opens an experiment among the traces of its GenAI view."""


def experiment(experiment_id: str) -> str:
    """The experiment's runs.

    Examples
    --------
    >>> experiment("1")
    '#/experiments/1/runs?workflowType=machine_learning'
    """
    return f"#/experiments/{experiment_id}/runs?{urlencode(MACHINE_LEARNING)}"


def trials(experiment_id: str, parent: str, *, charts: bool = False) -> str:
    """The trials of the sweep that has the run `parent`: as a table, or their charts."""
    mode = {"compareRunsMode": "CHART"} if charts else {}
    asked = {**MACHINE_LEARNING, "searchFilter": TRIALS_OF.format(parent), **mode}
    return f"#/experiments/{experiment_id}/runs?{urlencode(asked, quote_via=quote)}"


def run(experiment_id: str, run_id: str) -> str:
    """One run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}"


def artifact(experiment_id: str, run_id: str, path: str) -> str:
    """A file of a run."""
    return f"{run(experiment_id, run_id)}/artifacts/{quote(path)}"


def comparison(experiment_id: str, runs: Sequence[str]) -> str:
    """Some runs side by side."""
    asked = {"runs": json.dumps(list(runs)), "experiments": json.dumps([experiment_id])}
    return f"#/compare-runs?{urlencode(asked, quote_via=quote)}"
