import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from text_models import save_encoder
from torch import nn

from avil_ray.errors import WorkFailed
from avil_ray.models.classifiers import Output, text_model
from avil_ray.models.multitask import MultitaskModel, SingleTask
from avil_ray.models.text_export import TextExporter, load_text
from avil_ray.tracking.exported import export_model, export_pipeline, pack_model
from avil_ray.tracking.store import open_store

KEY = "equal/c000/s0"
TEXTS = ["the cat sees a river", "a dog found the old city"]

# Loads a model as its user would: in another folder, without this library, with pickle forbidden by MLflow's default.
LOAD = """
import sys
import numpy as np
try:
    import avil_ray
except ImportError:
    pass
else:
    raise SystemExit("this test must not find avil_ray")
import mlflow
import torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model(sys.argv[2])
arrays = np.load(sys.argv[3])
with torch.no_grad():
    outputs = model(*(torch.from_numpy(arrays[name]) for name in arrays.files))
np.save(sys.argv[4], outputs.numpy())
"""


class Words(nn.Module):
    """A mean of embeddings over a mask, from a mapping as tokenizers make it."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8)

    def forward(self, inputs):
        mask = inputs["attention_mask"].unsqueeze(-1)
        return (self.table(inputs["input_ids"]) * mask).sum(1) / mask.sum(1)


def vision():
    trunk = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 6 * 6, 8))
    return SingleTask(MultitaskModel(trunk, {"left": nn.Linear(8, 4), "right": nn.Linear(8, 2)}), "left")


def text():
    return SingleTask(MultitaskModel(Words(), {"topic": nn.Linear(8, 3)}), "topic")


def words(examples, length):
    ids = torch.randint(0, 50, (examples, length))
    return {"input_ids": ids, "attention_mask": (torch.arange(length) < length - 1).long().expand(examples, length)}


def loaded_elsewhere(store, reference, inputs, folder):
    """The outputs of the logged model, computed in a fresh process that cannot import this library."""
    named = {"inputs": inputs} if isinstance(inputs, torch.Tensor) else inputs
    np.savez(folder / "inputs.npz", **{name: tensor.numpy() for name, tensor in named.items()})
    arguments = [store.uri, reference, str(folder / "inputs.npz"), str(folder / "outputs.npy")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # -P and another folder: neither the script's place nor the current one is searched
    command = [sys.executable, "-P", "-c", BLOCK + LOAD, *arguments]
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return torch.from_numpy(np.load(folder / "outputs.npy"))


# Where this library is installed in the same environment, hide it.
BLOCK = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "avil_ray":
            raise ImportError("hidden")
sys.meta_path.insert(0, Hidden())
"""


@pytest.mark.parametrize(
    ("make", "example", "inputs"),
    [
        (vision, torch.rand(1, 1, 8, 8), torch.rand(5, 1, 8, 8)),
        (text, words(2, 7), words(3, 11)),
    ],
    ids=["tensor", "mapping"],
)
@pytest.mark.slow
def test_a_logged_model_loads_without_this_library(store, tmp_path, make, example, inputs):
    module, tracker = make(), store.tracker()
    packed = pack_model(module, example, tmp_path)
    tracker.log_model(KEY, packed.model, packed.files, packed.trouble)
    reference = store.run(KEY).data.tags["avil.model"]
    with torch.no_grad():
        expected = module.eval()(inputs)
    torch.testing.assert_close(loaded_elsewhere(store, reference, inputs, tmp_path), expected)


def test_one_tensor_can_be_served_as_arrays(store, tmp_path):
    import mlflow

    module, tracker = vision(), store.tracker()
    packed = pack_model(module, torch.rand(3, 1, 8, 8), tmp_path)
    tracker.log_model(KEY, packed.model, packed.files, packed.trouble)
    model_id = store.run(KEY).data.tags["avil.model"].removeprefix("models:/")
    inputs = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32)
    served = mlflow.pyfunc.load_model(open_store(store.uri).get_logged_model(model_id).artifact_location)
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(inputs))
    np.testing.assert_allclose(served.predict(inputs), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_exporting_leaves_the_module_as_it_was(tmp_path):
    module = vision().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    export_model(module, torch.rand(2, 1, 8, 8), tmp_path / "model")
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_what_cannot_be_traced_is_said(tmp_path):
    with pytest.raises(WorkFailed, match="cannot be exported"):
        export_model(vision(), torch.rand(2, 1, 5, 5), tmp_path / "model")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_encoder(tmp_path_factory.mktemp("encoders") / "bert", TEXTS))


@pytest.mark.parametrize("kind", ["classes", "multi-label", "regression", "tokens", "pairs"])
def test_a_classifier_of_texts_takes_strings_and_gives_labels(encoder, tmp_path, kind):
    import mlflow

    output = Output("classes" if kind == "pairs" else kind, ("O", "B") if kind == "tokens" else ("no", "yes"))
    columns = (("text",), ("other",)) if kind == "pairs" else (("text",),)
    model = text_model(encoder, {"target": output}).eval()
    saved = tmp_path / "saved"
    saved.mkdir()
    facts = TextExporter(encoder, output, columns, 12).save(model, "target", saved)
    export_pipeline(saved, of_words=kind == "tokens", pairs=kind == "pairs", folder=tmp_path / "model")
    served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    given = [{"text": text, "text_pair": text} for text in TEXTS] if kind == "pairs" else TEXTS
    found = served.predict(given)
    expected = load_text(saved, facts).predict(TEXTS, TEXTS if kind == "pairs" else None)
    if kind == "tokens":
        tags = [text.split(",") for text in found]
        assert {tag for each in tags for tag in each} <= {"O", "B"}
        tokenizer = load_text(saved, facts).tokenizer
        assert list(map(len, tags)) == [len(tokenizer.tokenize(text)) for text in TEXTS]  # with those tagged O
    elif kind == "multi-label":
        for (_, row), answer in zip(found.iterrows(), expected, strict=True):
            scores = {f"probability/{entry['label']}": entry["score"] for entry in row}
            assert scores == pytest.approx({key: answer[key] for key in scores}, abs=1e-5)
            assert len(scores) == 2
    elif kind == "regression":
        assert found["score"].tolist() == pytest.approx([answer["prediction"] for answer in expected], abs=1e-5)
    else:
        assert found["label"].tolist() == [answer["prediction"] for answer in expected]
        scores = [answer[f"probability/{answer['prediction']}"] for answer in expected]
        assert found["score"].tolist() == pytest.approx(scores, abs=1e-5)
    served.predict([{"text": "dog " * 40, "text_pair": "cat"}] if kind == "pairs" else ["dog " * 40])
    assert not list((tmp_path / "model").rglob("*.pkl"))
