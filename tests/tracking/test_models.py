"""Models in a real store: logged once, with a name, figures and data, and registered where that is asked."""

import pytest
import torch
from torch import nn

from avil_ray.errors import UserError
from avil_ray.tracking import models
from avil_ray.tracking.exported import pack_model
from avil_ray.tracking.items import Data, Parameters, Tag, Totals
from avil_ray.tracking.store import open_store

KEY = "equal/c000/s0"


class OfTheData(nn.Module):
    """Its path depends on its input, which no graph can follow."""

    def forward(self, inputs):
        return inputs if inputs.sum() > 0 else -inputs


def log(store, folder):
    tracker = store.tracker()
    packed = pack_model(nn.Linear(3, 2), torch.ones(4, 3), folder)
    tracker.log_model(KEY, packed.model, packed.files, packed.trouble)
    return tracker


def test_a_run_has_one_model(store, tmp_path):
    tracker = store.tracker()
    for number in range(2):
        packed = pack_model(nn.Linear(3, 2), torch.ones(4, 3), tmp_path / str(number))
        assert tracker.lacks_model(KEY) == (number == 0)
        tracker.log_model(KEY, packed.model, packed.files, packed.trouble)
        tracker = store.tracker()
    run = open_store(store.uri).get_run(store.run(KEY).info.run_id)
    (output,) = run.outputs.model_outputs
    assert run.data.tags["avil.model"] == f"models:/{output.model_id}"
    assert str(open_store(store.uri).get_logged_model(output.model_id).status) == "READY"


def test_a_model_has_its_methods_name_the_runs_parameters_and_figures_and_their_data(store, tmp_path):
    many = {f"p{number:03d}": "x" for number in range(250)}
    store.tracker().bring(
        KEY,
        [
            Parameters(many),
            Totals({"test/accuracy": 0.9, "best/select": 0.8, "total/gradient_steps": 7.0}),
            Tag("avil.label", "static 0.5"),
            Data("moons", "d1", "test", {"a": 5}, "{}"),
        ],
    )
    log(store, tmp_path)
    client = open_store(store.uri)
    (model,) = client.search_logged_models([store.run(KEY).info.experiment_id])
    assert model.name == "static 0_5"
    assert model.params == many
    assert {(one.key, one.value, one.dataset_name, one.dataset_digest) for one in model.metrics} == {
        ("test/accuracy", 0.9, "moons", "d1"),
        ("best/select", 0.8, None, None),
    }
    assert store.history(KEY, "test/accuracy") == [(0, 0.9)], "the run itself gets no second point"


def test_a_model_is_registered_once_and_loads_by_that_name(store, tmp_path, monkeypatch):
    import mlflow

    for number in range(2):
        assert log(store, tmp_path / str(number)).register(KEY, "digits best") == ""
    client = open_store(store.uri)
    (version,) = client.search_model_versions("name='digits best'")
    assert (version.version, version.run_id) == (1, store.run(KEY).info.run_id)
    (model,) = client.search_logged_models([store.run(KEY).info.experiment_id])
    assert "digits best" in model.tags["mlflow.modelVersions"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    loaded = mlflow.pytorch.load_model("models:/digits best/1")
    assert loaded(torch.ones(2, 3)).shape == (2, 2)


def test_a_run_without_a_model_says_so_where_one_is_to_be_registered(store):
    tracker = store.tracker()
    assert "the run has none" in tracker.register(KEY, "digits")
    tracker.log_model(KEY, None, (), "it cannot be exported")
    assert "it cannot be exported" in tracker.register(KEY, "digits")


@pytest.mark.parametrize("name", ["", " ", ".", "a/b", "a:b", "it's"])
def test_a_name_that_mlflow_takes_for_no_registered_model_is_refused(name):
    with pytest.raises(UserError, match="--register"):
        models.require_name(name)


def test_a_model_that_cannot_be_exported_is_no_failure(store, caplog, tmp_path):
    tracker, weights = store.tracker(), tmp_path / "model.safetensors"
    weights.write_bytes(b"content")
    packed = pack_model(OfTheData(), torch.ones(4, 3), tmp_path, files=[weights])
    tracker.log_model(KEY, packed.model, packed.files, packed.trouble)
    files = open_store(store.uri).list_artifacts(store.run(KEY).info.run_id, "weights")
    assert [file.path for file in files] == [f"weights/{weights.name}"]
    assert "cannot be exported" in caplog.text
    assert store.run(KEY).data.tags["avil.model"].startswith("the model cannot be exported")
