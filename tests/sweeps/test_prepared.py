"""A method that prepares the suite for itself: every place that builds its model must take the suite so prepared."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
import torch
import yaml
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray.methods.alignment import Alignment
from avil_ray.reports.records import read_records
from avil_ray.spaces.preview import preview
from avil_ray.spaces.search_space import read_search_space
from avil_ray.sweeps.sweep import run_sweep
from avil_ray.tracking.store import open_store


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_in_a_sweep_trials_and_logged_models_have_the_matrices(tmp_path: Path, migrated_store: Path) -> None:
    space = {
        "name": "aligned",
        "suite": {"factory": "tiny_suite:tiny_suite"},
        "rounds": 2,
        "steps_per_round": 3,
        "seeds": [0],
        "resources": {"per_task": {"cpu": 0.5}, "driver": {"cpu": 0.5}},
        "methods": [{"method": "alignment", "weighting": "alpha-vil", "options": {"alpha_steps": 2}}],
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    read = read_search_space(tmp_path / "space.yaml")
    assert "       218 parameters with alignment" in preview(read, {"CPU": 4.0}).lines()  # 110 and 3 times 6 x 6
    outcome = run_sweep(read, migrated_store.parent)
    (record,) = read_records(outcome.folder)
    method = Alignment(weighting=avil.AlphaVIL(alpha_steps=2))
    expected = avil.train(tiny_suite(), method, rounds=2, steps_per_round=3, seed=0)
    assert record.test == expected.test
    client = open_store(f"sqlite:///{migrated_store}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (logged,) = (run.data.tags["avil.model"] for run in runs if "avil.model" in run.data.tags)
    folder = client.get_logged_model(logged.removeprefix("models:/")).artifact_location
    inputs = tiny_suite().draw(0)["a"].test.inputs
    torch.testing.assert_close(mlflow.pytorch.load_model(folder)(inputs), expected.model()(inputs))
