"""A diagnosis in a real store, as MLflow's own client reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from simulated_affinity import make_affinity

from avil_ray.errors import UserError, WorkFailed
from avil_ray.reports.affinity_report import write_affinity
from avil_ray.tracking.affinity import affinity_items, log_affinity
from avil_ray.tracking.items import Totals
from avil_ray.tracking.store import open_store


@pytest.fixture
def uri(migrated_store: Path) -> str:
    return f"sqlite:///{migrated_store}"


def test_one_run_holds_the_numbers_the_table_and_the_figure(uri: str, tmp_path: Path) -> None:
    affinity = make_affinity()
    run_id = log_affinity(affinity, write_affinity(tmp_path, affinity), uri, "digits")
    client = open_store(uri)
    experiment = client.get_experiment_by_name("digits")
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (run_id, "affinity", "FINISHED")
    assert run.data.params == {
        "suite": "digits",
        "target": "goal",
        "suite.size": "18",
        "steps": "60",
        "seeds": "[0, 1, 2, 3]",
    }
    for row in affinity.frame().to_dict("records"):
        for figure in ("loss_change", "loss_change_error", "metric_change", "cosine", "input_similarity"):
            assert run.data.metrics[f"{figure}/{row['auxiliary']}"] == row[figure]
    assert run.data.metrics["total/gradient_steps"] == 1234
    assert {file.path for file in client.list_artifacts(run_id)} == {
        "affinity.csv",
        "affinity.json",
        "affinity.png",
        "cosines.csv",
    }
    where = client.download_artifacts(run_id, "affinity.csv")
    assert Path(where).read_bytes() == (tmp_path / "affinity.csv").read_bytes()
    table = json.loads(Path(client.download_artifacts(run_id, "affinity.json")).read_text())
    assert [row[0] for row in table["data"]] == ["good", "odd", "bad"]


def test_the_same_diagnosis_has_the_same_run_and_another_one_another(uri: str, tmp_path: Path) -> None:
    one = make_affinity()
    other = make_affinity(configuration={**one.configuration, "steps": 30})
    files = write_affinity(tmp_path, one)
    ids = [log_affinity(affinity, files, uri, "digits") for affinity in (one, one, other)]
    assert ids[0] == ids[1] != ids[2]
    runs = [open_store(uri).get_run(run_id) for run_id in ids]
    assert [run.data.params["steps"] for run in runs] == ["60", "60", "30"]
    assert {run.info.run_name for run in runs} == {"affinity"}


def test_what_is_no_number_is_left_out() -> None:
    affinity = make_affinity(1, metric_changes=np.full((1, 3), np.nan), scores=None)
    items = affinity_items(affinity, [])
    [totals] = [item for item in items if isinstance(item, Totals)]
    assert set(totals.entries) == {
        "total/gradient_steps",
        *(f"{figure}/{task}" for figure in ("loss_change", "cosine") for task in ("bad", "good", "odd")),
    }
    json.dumps([item.rows for item in items if hasattr(item, "rows")], allow_nan=False)


def test_a_store_that_cannot_be_opened_or_does_not_take_it_is_one_line(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        log_affinity(make_affinity(), [], "sqlite:////dev/null/mlflow.db", "digits")
    with pytest.raises(WorkFailed, match="the diagnosis is not logged") as caught:
        log_affinity(make_affinity(), [tmp_path / "missing.csv"], uri, "digits")
    assert "\n" not in str(caught.value)
