import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from text_models import save_encoder

from avil_ray.errors import UserError
from avil_ray.models.alignment import AlignedModel
from avil_ray.models.classifiers import Output, text_model
from avil_ray.models.text_export import TextExporter, load_text

TEXTS = ["the cat sees a river", "a dog found the old city", "old dog"]
PAIRS = ["a river", "the city", "the old cat sees a dog"]
KINDS = ("bert", "distilbert", "modernbert", "roberta", "gpt2")
OUTPUTS = {
    "churn": Output("classes", ("no", "yes", "maybe")),
    "stars": Output("regression", ("stars",)),
    "topics": Output("multi-label", ("a", "b", "c", "d")),
    "entities": Output("tokens", ("O", "B", "I")),
}

# Loads every folder as its user would: in another folder, without this library.
LOAD = """
import json, sys, warnings
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "avil_ray":
            raise ImportError("hidden")
sys.meta_path.insert(0, Hidden())
import torch, transformers
answers = {}
for name, folder, kind, texts in json.load(open(sys.argv[1])):
    auto = "AutoModelFor" + ("TokenClassification" if kind == "tokens" else "SequenceClassification")
    if "adapters" in name:
        import peft
        labels = json.load(open(folder + "/config.json"))["id2label"]
        model = getattr(peft, auto.replace("Auto", "AutoPeft")).from_pretrained(folder, num_labels=len(labels)).eval()
    else:
        model = getattr(transformers, auto).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(*texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        answers[name] = [model(**inputs).logits.tolist(), transformers.AutoConfig.from_pretrained(folder).label2id]
json.dump(answers, open(sys.argv[2], "w"))
"""


def made(encoder: Path, peft: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = text_model(str(encoder), OUTPUTS, peft=peft)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start, where an adapter would do nothing
            torch.nn.init.normal_(parameter)
    return model.eval()


def exported(model, encoder: Path, task: str, folder: Path, merge: bool = True, pairs: bool = False):
    folder.mkdir(parents=True)
    columns = (("text",), ("other",)) if pairs else (("text",),)
    exporter = TextExporter(str(encoder), OUTPUTS[task], columns, 12, merge)
    return load_text(folder, json.loads(json.dumps(exporter.save(model, task, folder))))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: save_encoder(folder / kind, [*TEXTS, *PAIRS], kind) for kind in KINDS}


@pytest.mark.slow
def test_transformers_alone_loads_every_kind_with_the_same_predictions(encoders, tmp_path) -> None:
    jobs, expected = [], {}
    for number, (kind, name) in enumerate(product(KINDS, ("full", "merged", "adapters"))):
        model = made(encoders[kind], "none" if name == "full" else "lora")
        task = list(OUTPUTS)[number % len(OUTPUTS)]
        key, kind_of_task, pairs = f"{kind} {name} {task}", OUTPUTS[task].kind, task == "churn"
        loaded = exported(model, encoders[kind], task, tmp_path / key, name != "adapters", pairs)
        texts = [TEXTS, PAIRS] if pairs else [TEXTS]
        inputs = dict(loaded.tokenizer(*texts, padding=True, truncation=True, return_tensors="pt"))
        words = {"words": inputs["input_ids"]} if kind_of_task == "tokens" else {}
        expected[key] = model(inputs | words, task).detach()
        torch.testing.assert_close(loaded(inputs | words), expected[key], rtol=1e-4, atol=1e-5)
        jobs.append((key, str(tmp_path / key), kind_of_task, texts))
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-P", "-c", LOAD, "jobs.json", "answers.json"]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers.keys() == expected.keys()
    for key, (logits, label2id) in answers.items():
        outputs = expected[key]
        torch.testing.assert_close(torch.tensor(logits).reshape(outputs.shape), outputs, rtol=1e-4, atol=1e-5)
        labels = OUTPUTS[key.split()[-1]].labels
        assert label2id == {label: number for number, label in enumerate(labels)}, key


def test_adapters_alone_are_small(encoders, tmp_path) -> None:
    exported(made(encoders["bert"], "lora"), encoders["bert"], "churn", tmp_path / "out", merge=False)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert "model.safetensors" not in names
    described = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert described["modules_to_save"] == ["classifier", "pooler"]
    assert described["base_model_name_or_path"] == str(encoders["bert"])


def test_an_alignment_matrix_becomes_part_of_the_embeddings(encoders, tmp_path) -> None:
    model = AlignedModel(made(encoders["bert"], "none"), tuple(OUTPUTS)).eval()
    torch.nn.init.normal_(model.heads["churn"].alignment.shift, std=0.1)
    loaded = exported(model, encoders["bert"], "churn", tmp_path / "out")
    inputs = dict(loaded.tokenizer(TEXTS, padding=True, return_tensors="pt"))
    torch.testing.assert_close(loaded(inputs), model(inputs, "churn"), rtol=1e-4, atol=1e-5)
    adapted = AlignedModel(made(encoders["bert"], "lora"), tuple(OUTPUTS))
    with pytest.raises(UserError, match="merge: false cannot store alignment matrices"):
        exported(adapted, encoders["bert"], "churn", tmp_path / "adapters", merge=False)


def test_a_model_of_another_make_is_refused(encoders, tmp_path) -> None:
    with pytest.raises(UserError, match="the method has made a Linear of the suite's model"):
        exported(torch.nn.Linear(2, 2), encoders["bert"], "churn", tmp_path / "out")


def test_predictions_are_labels_by_name_with_their_probabilities(encoders, tmp_path) -> None:
    model, encoder = made(encoders["roberta"], "none"), encoders["roberta"]
    for parameter in model.heads.parameters():
        torch.nn.init.normal_(parameter)  # so that answers differ
    churn, topics, stars = (exported(model, encoder, task, tmp_path / task) for task in ("churn", "topics", "stars"))
    for text, answer in zip(TEXTS, churn.predict(TEXTS), strict=True):
        outputs = churn(churn.tokenizer([text], truncation=True, return_tensors="pt"))[0]
        expected = dict(zip(OUTPUTS["churn"].labels, outputs.softmax(0).tolist(), strict=True))
        assert answer["prediction"] == max(expected, key=expected.__getitem__)
        assert {name: answer[f"probability/{name}"] for name in expected} == pytest.approx(expected, abs=1e-5)
    for text, answer in zip(TEXTS, topics.predict(TEXTS), strict=True):
        outputs = topics(topics.tokenizer([text], truncation=True, return_tensors="pt"))[0]
        assert answer["prediction"] == [name for name, o in zip("abcd", outputs.tolist(), strict=True) if o > 0]
        assert list(answer) == ["prediction", *(f"probability/{name}" for name in "abcd")]
    outputs = stars(stars.tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt"))
    assert [answer["prediction"] for answer in stars.predict(TEXTS)] == pytest.approx(outputs.tolist(), abs=1e-5)


def test_words_have_a_label_each_however_long_the_sentence_is(encoders, tmp_path) -> None:
    model = made(encoders["bert"], "none")
    loaded = exported(model, encoders["bert"], "entities", tmp_path / "out")
    short, lists = "the cat sees", ["the", "cat", "sees"]
    assert loaded.predict([short]) == loaded.predict([lists])
    ids = loaded.tokenizer(short, return_tensors="pt")
    tags = [OUTPUTS["entities"].labels[number] for number in loaded(ids)[0].argmax(-1).tolist()]
    assert loaded.predict([short])[0]["prediction"] == tags[1:4], "each word is one token, behind [CLS]"
    long = ["dog"] * 40
    assert [len(answer["prediction"]) for answer in loaded.predict([long, short, ["cat"]])] == [40, 3, 1]


def test_what_is_no_text_is_refused(encoders, tmp_path) -> None:
    model, encoder = made(encoders["bert"], "none"), encoders["bert"]
    alone = exported(model, encoder, "churn", tmp_path / "alone")
    pairs = exported(model, encoder, "churn", tmp_path / "pairs", pairs=True)
    words = exported(model, encoder, "entities", tmp_path / "words")
    with pytest.raises(UserError, match="text 2 must be text, not 3"):
        alone.predict(["a dog", 3])
    with pytest.raises(UserError, match="text 1 must be text, not ''"):
        alone.predict([""])
    with pytest.raises(UserError, match="text 1 must be a list of words, not "):
        words.predict([[1, 2]])
    with pytest.raises(UserError, match="takes texts alone, not pairs; 1 texts and 1 second texts are given"):
        alone.predict(["a dog"], ["a cat"])
    with pytest.raises(UserError, match="takes a second text for each; 2 texts and 1 second texts are given"):
        pairs.predict(["a dog", "b"], ["a cat"])
    assert len(pairs.predict(TEXTS, PAIRS)) == 3
    assert alone.predict([]) == []
