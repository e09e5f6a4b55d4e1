import json
import pickle
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from glue_files import TASKS, rows_of, save
from text_models import save_encoder

import avil_ray as avil
from avil_ray.catalog import build_suite
from avil_ray.errors import UserError
from avil_ray.learning.parameters import ParameterSpace
from avil_ray.suites import glue_tasks
from avil_ray.suites.glue import glue
from avil_ray.suites.glue_data import Place, load
from avil_ray.tasks.suite import Suite

SPLITS = ("train", "dev", "select", "test")


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory):
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVIL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        datasets.disable_progress_bars()
        yield


@pytest.fixture(scope="module")
def data(caches, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    for task in TASKS:
        save(folder, task)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    texts = [
        text for task in TASKS for row in rows_of(task, "train", 20) for text in row.values() if isinstance(text, str)
    ]
    folder = tmp_path_factory.mktemp("models")
    return {kind: str(save_encoder(folder / kind, texts, kind)) for kind in ("bert", "roberta")}


def small(data: str, model: str, **options: object) -> Suite:
    options = {"target": "rte", "auxiliaries": ["copa", "wic", "stsb"]} | options
    return glue(data_dir=data, model=model, batch_size=4, learning_rate=1e-3, warmup=2, **options)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("target", TASKS)
def test_any_task_may_be_the_target(data, models, kind, target) -> None:
    suite = small(data, models[kind], target=target, auxiliaries=["copa" if target == "wic" else "wic"])
    tasks = suite.draw(0)
    assert {split: len(getattr(tasks[target], split)) for split in SPLITS}["test"] == 12
    result = avil.train(suite, avil.Equal(), rounds=1, steps_per_round=2)
    assert set(result.test) == {glue_tasks.TASKS[target].metric, "loss"}
    assert all(np.isfinite(list(result.test.values())))
    outputs = result.model()(tasks[target].test.inputs[torch.arange(3)])
    classes = len(glue_tasks.TASKS[target].classes)
    assert outputs.shape == ((3, classes) if classes else (3,))


@pytest.mark.parametrize("target", ["multirc", "rte"])
def test_no_source_is_in_two_splits(data, models, target) -> None:
    suite = small(data, models["bert"], target=target)
    drawn = suite.draw(3)[target]
    sources = {}
    for split in SPLITS:
        found = load(target, "validation" if split == "test" else "train", Place(data, models["bert"], None))
        sources[split] = set(found.sources[getattr(drawn, split).inputs.rows].tolist())
    for one, other in combinations(SPLITS, 2):
        assert sources[one]
        assert not sources[one] & sources[other], f"{one} and {other} share sources"


def test_what_is_held_out_is_in_no_train_split(tmp_path, models) -> None:
    mine, others, tested = (
        rows_of(*which) for which in (("rte", "train", 40), ("mrpc", "train", 40), ("rte", "validation", 8))
    )
    others[7]["sentence2"] = tested[3]["sentence1"].upper() + "!"
    mine[5]["sentence1"] = tested[2]["sentence1"].replace(" ", "  ")
    for number in range(20):
        others[10 + number]["sentence1"] = mine[number]["sentence2"]
    for task, split, rows in (("rte", "train", mine), ("mrpc", "train", others), ("rte", "validation", tested)):
        (tmp_path / task).mkdir(exist_ok=True)
        (tmp_path / task / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dropped = set()
    for seed in range(4):
        drawn = small(str(tmp_path), models["bert"], auxiliaries=["mrpc"]).draw(seed)
        assert all(5 not in getattr(drawn["rte"], split).inputs.rows for split in ("train", "dev", "select"))
        held = {row for split in ("dev", "select") for row in getattr(drawn["rte"], split).inputs.rows.tolist()}
        missing = set(range(40)) - set(drawn["mrpc"].train.inputs.rows.tolist())
        assert missing == {7} | {10 + row for row in held if row < 20}
        dropped |= missing
    assert len(dropped) > 10, "each seed holds out others"


def test_there_are_as_many_examples_as_asked(data, models) -> None:
    suite = small(data, models["bert"], target_labels=20, auxiliary_labels=7, select=5, dev_fraction=0.25)
    tasks = suite.draw(0)
    assert [len(getattr(tasks["rte"], split)) for split in SPLITS] == [15, 5, 5, 12]
    assert {len(tasks[name].train) for name in suite.auxiliaries} == {7}
    assert [len(getattr(small(data, models["bert"]).draw(0)["rte"], split)) for split in SPLITS] == [26, 6, 8, 12]


def test_one_seed_gives_the_same_data_and_another_seed_others(data, models) -> None:
    suite = small(data, models["bert"])
    first, again, other = suite.draw(0), pickle.loads(pickle.dumps(suite)).draw(0), suite.draw(1)
    for name in suite.task_names:
        assert first[name].train.inputs.rows.tolist() == again[name].train.inputs.rows.tolist()
        assert first[name].train.inputs.rows.tolist() != other[name].train.inputs.rows.tolist()
    assert first["rte"].test.inputs.rows.tolist() == other["rte"].test.inputs.rows.tolist()
    assert len(pickle.dumps(suite)) < 10_000


def test_labels_stay_with_their_texts(data, models) -> None:
    drawn, rows = small(data, models["bert"]).draw(0), rows_of("stsb", "train", 40)
    examples = drawn["stsb"].train
    assert np.allclose(examples.labels, [rows[row]["label"] for row in examples.inputs.rows])


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_with_lora_theta_is_adapters_and_heads(data, models, kind) -> None:
    suite = small(data, models[kind], peft="lora", lora_rank=2)
    space = ParameterSpace(suite.model())
    trunk = [entry for entry in space.entries if entry.where.stop <= space.trunk.stop]
    assert trunk
    assert all("lora_" in entry.name for entry in trunk)
    assert set(space.heads) == set(suite.task_names)
    assert space.trunk.stop == 2 * 2 * 2 * 2 * 16, "layers x (query, value) x two matrices x rank x width"
    assert space.size == space.trunk.stop + (2 * 17) + 17 + (2 * 49) + 17
    start = avil.train(suite, avil.TargetOnly(learning_rate=1e-12), rounds=1, steps_per_round=1)
    moved = avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=8)
    assert len(moved.theta) == space.size
    assert np.abs(moved.theta - start.theta)[space.trunk].max() > 1e-4


@pytest.mark.parametrize(
    "options", [{}, {"peft": "lora"}, {"precision": "bf16"}, {"optimizer": "sgd", "pooling": "mean"}]
)
def test_a_run_is_the_same_again(data, models, options) -> None:
    suite = small(data, models["roberta"], **options)
    one, other = (avil.train(suite, avil.AlphaVIL(), rounds=2, steps_per_round=2, seed=4) for _ in range(2))
    assert np.isfinite(one.theta).all()
    assert np.array_equal(one.theta, other.theta)
    assert one.test == other.test


def test_bf16_computes_in_bfloat16_and_keeps_theta_in_float32(data, models) -> None:
    exact, rough = (
        avil.train(small(data, models["bert"], precision=kind), avil.TargetOnly(), rounds=1, steps_per_round=4)
        for kind in ("fp32", "bf16")
    )
    assert rough.theta.dtype == np.float32
    difference = np.abs(exact.theta - rough.theta)
    assert 0 < difference.max() < 0.02
    assert abs(exact.test["loss"] - rough.test["loss"]) < 0.05


def test_a_task_is_learned(tmp_path, models) -> None:
    for split, count in (("train", 120), ("validation", 40)):
        rows = [row | {"label": int("green" in row["sentence"])} for row in rows_of("cola", split, count)]
        (tmp_path / "cola").mkdir(exist_ok=True)
        (tmp_path / "cola" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = glue(data_dir=tmp_path, model=models["bert"], learning_rate=0.01, warmup=10, batch_size=8)
    result = avil.train(suite, avil.TargetOnly(), rounds=8, steps_per_round=25)
    assert result.test["matthews"] > 0.8


def test_only_what_the_suite_uses_is_read(tmp_path, models) -> None:
    save(tmp_path, "rte")
    save(tmp_path, "cb")
    (tmp_path / "cb" / "train-00000-of-00001.parquet").write_bytes(b"damaged")
    (tmp_path / "mnli").mkdir()
    suite = glue(data_dir=tmp_path, model=models["bert"], target="rte", auxiliaries=[])
    assert list(suite.draw(0)) == ["rte"]
    code = """
import sys
from avil_ray.catalog import build_suite
for name in ("glue", "sentiment"):
    build_suite({"name": name})
heavy = {"transformers", "datasets", "peft", "ray", "mlflow"} & set(sys.modules)
sys.exit(str(heavy) if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_says_which_tasks_there_are(tmp_path, models) -> None:
    for task in ("mnli", "wic", "stsb"):
        save(tmp_path, task)
    suite = glue(data_dir=tmp_path, model=models["bert"])
    assert suite.task_names == ("wic", "stsb", "mnli"), "the smallest is the target"
    assert glue().task_names == ("rte", "mnli", "mrpc", "stsb")


def test_options_are_the_factorys_arguments(data, models) -> None:
    suite = small(data, models["bert"], peft="lora", precision="bf16", target_labels=20)
    again = build_suite({"name": "glue", **suite.options})
    assert again.options == suite.options
    assert (again.learning, again.task_names) == (suite.learning, suite.task_names)
    assert (again.learning.precision, again.learning.warmup, again.learning.learning_rate) == ("bf16", 2, 1e-3)
    assert glue(peft="lora").learning.learning_rate > glue().learning.learning_rate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "rtee"}, "glue: unknown target 'rtee'; did you mean 'rte'?"),
        ({"auxiliaries": ["colla"]}, "glue: unknown auxiliary 'colla'; did you mean 'cola'?"),
        ({"auxiliaries": ["rte"]}, "glue: 'rte' is the target; name other tasks as auxiliaries"),
        ({"pooling": "max"}, "glue: unknown pooling 'max'; did you mean 'mean'?"),
        ({"peft": "qlora"}, "glue: unknown peft 'qlora'; did you mean 'lora'?"),
        ({"peft": "lora", "lora_rank": 0}, "lora_rank must be a whole number, 1 or more, not 0"),
        ({"precision": "fp16"}, "glue: unknown precision 'fp16'; did you mean 'bf16'?"),
        ({"optimizer": "adam"}, "glue: unknown optimizer 'adam'; did you mean 'adamw'?"),
        ({"warmup": -1}, "glue: warmup must be a whole number, 0 or more, not -1"),
        ({"max_length": 2}, "glue: max_length must be a whole number, 3 or more, not 2"),
        ({"target_labels": 1}, "glue: target_labels must be a whole number, 2 or more, not 1"),
        ({"dev_fraction": 1}, "glue: dev_fraction must be a number above 0 and below 1, not 1"),
    ],
)
def test_wrong_options_are_one_line_errors(options, message) -> None:
    with pytest.raises(UserError) as caught:
        glue(**options)
    assert str(caught.value) == message


def test_too_few_examples_are_one_line(data, models) -> None:
    with pytest.raises(UserError) as caught:
        small(data, models["bert"], target_labels=30, select=11).draw(0)
    assert str(caught.value) == (
        "glue: rte has 40 train examples whose source is not in test, too few for 30 target_labels beside select 11; "
        "ask for fewer"
    )


def test_without_peft_lora_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avil_ray.models.text.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"peft: lora needs the package peft; run: pip install 'avil-ray\[text\]'"):
        glue(peft="lora")


@pytest.mark.parametrize("options", [{"target": "copa"}, {"target": "wic", "auxiliaries": ["rte"], "peft": "lora"}])
def test_the_model_can_be_exported(data, models, options, tmp_path: Path) -> None:
    import mlflow.pytorch

    from avil_ray.tracking.exported import export_model

    suite = small(data, models["bert"], **({"auxiliaries": ["rte"]} | options))
    model = avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=2).model()
    inputs = suite.draw(0)[suite.target].test.inputs
    export_model(model, inputs[torch.arange(2)], tmp_path / "model")
    batch = inputs[torch.arange(5)]
    with torch.no_grad():
        assert torch.allclose(
            mlflow.pytorch.load_model(str(tmp_path / "model"))(*batch.values()), model(batch), atol=1e-5
        )


def test_the_search_space_that_we_ship_is_right() -> None:
    from avil_ray.spaces.search_space import problems, read_search_space

    file = Path(__file__).parents[2] / "search_spaces" / "glue.yaml"
    assert problems(file, data=False) == []
    labels = [entry.label for entry in read_search_space(file).entries]
    assert labels == ["alpha-vil", "equal", "target-only", "static"]
    assert len(read_search_space(file).configurations()) >= 3 + 9
