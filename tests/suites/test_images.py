import csv
import json
import os
import pickle
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from image_files import SHAPES, class_folders, draw, drawn_rows, save_vision_encoder, write_table
from PIL import Image

import avil_ray as avil
from avil_ray.catalog import build_suite
from avil_ray.errors import UserError
from avil_ray.predicting import predict
from avil_ray.tasks.suite import Suite

SPLITS = ("train", "dev", "select", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_vision_encoder(tmp_path_factory.mktemp("models") / "vit")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "shapes", 90, seed=7)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "drawn.csv", drawn_rows(tmp_path, 60, seed=1))


def suite_of(folder: Path, table: Path, **options: Any) -> Suite:
    """Shapes in folders as the target, and three other questions on a table's images."""
    auxiliaries = {
        "colour": {"data": str(table), "image": "file", "label": "colour"},
        "share": {"data": str(table), "image": "file", "label": "share"},
        "tags": {"data": str(table), "image": "file", "label": "tags", "kind": "multi-label"},
    }
    return build_suite({"name": "images", "target": {"data": str(folder)}, "auxiliaries": auxiliaries, **options})


def files_of(suite: Suite, seed: int = 0) -> dict[str, list[Path]]:
    """The target's files in each split."""
    task = suite.draw(seed)[suite.target]
    inputs = {split: getattr(task, split).inputs for split in SPLITS}
    return {split: [rows.store.paths[row] for row in rows.rows] for split, rows in inputs.items()}


def test_folders_are_classes_and_a_tables_columns_are_tasks_of_any_kind(folder: Path, table: Path) -> None:
    suite = suite_of(folder, table)
    assert suite.task_names == ("shapes", "colour", "share", "tags")
    tasks, model = suite.draw(0), suite.build()
    assert {split: len(getattr(tasks["shapes"], split)) for split in SPLITS} == {
        "train": 36,
        "dev": 18,
        "select": 18,
        "test": 18,
    }
    kinds = {name: (task.loss, tuple(task.train.labels.shape[1:])) for name, task in tasks.items()}
    assert kinds == {
        "shapes": ("cross_entropy", ()),
        "colour": ("cross_entropy", ()),
        "share": ("mean_squared_error", ()),
        "tags": ("binary_cross_entropy", (3,)),
    }
    for name, shape in {"shapes": (4, 3), "colour": (4, 2), "share": (4,), "tags": (4, 3)}.items():
        inputs, _ = tasks[name].source("train").batch(torch.arange(4))
        assert inputs.shape == (4, 3, 32, 32)
        assert -1 <= inputs.min() < inputs.max() <= 1
        assert model(inputs, name).shape == shape
    assert tasks["colour"].train.inputs.store is tasks["tags"].train.inputs.store, "the same files are read once"
    assert len(pickle.dumps(suite)) < 10_000


def test_labels_stay_with_their_images(folder: Path, table: Path) -> None:
    train = suite_of(folder, table).draw(3)["shapes"].train
    files = [train.inputs.store.paths[row] for row in train.inputs.rows]
    assert [SHAPES[label] for label in train.labels] == [file.parent.name for file in files]


def test_the_small_network_learns_colours_and_counts_the_same_again(tmp_path: Path, table: Path) -> None:
    target = {"data": str(table), "image": "file", "label": "colour"}
    suite = build_suite({"name": "images", "target": target, "augment": ["flip", "shift"]})
    one, again = (avil.train(suite, avil.TargetOnly(), rounds=3, steps_per_round=10, seed=1) for _ in range(2))
    assert one.test["accuracy"] == 1
    assert np.array_equal(one.theta, again.theta)


@pytest.mark.parametrize("peft", ["none", "lora", "frozen"])
def test_a_vision_encoder_is_trained_with_all_kinds_of_tasks(folder: Path, table: Path, vit: str, peft: str) -> None:
    if peft == "frozen":
        with pytest.raises(UserError, match="peft: frozen leaves no shared parameters to train"):
            suite_of(folder, table, model=vit, peft=peft).build()
        return
    suite = suite_of(folder, table, model=vit, peft=peft)
    result = avil.train(suite, avil.Equal(), rounds=1, steps_per_round=2)
    assert set(result.test) == {"accuracy", "loss"}
    assert ("lora" in " ".join(name for name, _ in suite.build().named_parameters())) == (peft == "lora")


def test_a_vision_encoder_is_given_what_its_own_processor_makes(folder: Path, table: Path, vit: str) -> None:
    task = suite_of(folder, table, model=vit).draw(0)["shapes"]
    train, (inputs, _) = task.train, task.source("train").batch(torch.arange(5))
    processor = transformers.AutoImageProcessor.from_pretrained(vit, backend="pil")
    images = [Image.open(train.inputs.store.paths[row]).convert("RGB") for row in train.inputs.rows[:5]]
    torch.testing.assert_close(inputs, processor(images, return_tensors="pt")["pixel_values"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equal_files_are_never_in_two_splits(folder: Path, table: Path, seed: int) -> None:
    for number in range(0, 90, 3):
        shutil.copy(folder / SHAPES[number % 3] / f"{number}.png", folder / SHAPES[number % 3] / f"again-{number}.png")
    contents = {
        split: {path.read_bytes() for path in paths} for split, paths in files_of(suite_of(folder, table), seed).items()
    }
    assert sum(map(len, contents.values())) == 90
    for one, other in combinations(SPLITS, 2):
        assert not contents[one] & contents[other]


def test_what_the_target_holds_out_is_dropped_and_counted(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = sorted(folder.rglob("*.png"))
    rows = [{"file": os.path.relpath(file, tmp_path), "size": str(number % 2)} for number, file in enumerate(files)]
    other = {"data": str(write_table(tmp_path / "sizes.csv", rows)), "image": "file", "label": "size"}
    suite = build_suite({"name": "images", "target": {"data": str(folder)}, "auxiliaries": {"size": other}})
    train = suite.draw(0)["size"].train
    held_out = {path for split, paths in files_of(suite).items() if split != "train" for path in paths}
    used = {train.inputs.store.paths[row].resolve() for row in train.inputs.rows}
    assert len(held_out) == 54
    assert used == {path.resolve() for path in files} - held_out
    assert (
        "images: size: 54 of 90 rows are dropped, as their images are in dev, select or test of shapes" in caplog.text
    )


def test_check_says_what_was_found(folder: Path, table: Path) -> None:
    shutil.copy(folder / "disc" / "0.png", folder / "disc" / "copy.png")
    suite = suite_of(folder, table)
    assert suite.details is not None
    lines = "\n".join(suite.details(0))
    assert f"shapes: 91 rows of {folder}" in lines
    assert "3 classes: disc 34.1 %, ring 33.0 %, square 33.0 %" in lines
    assert "images: 36 x 36 pixels in the median, scaled to 32 x 32; 1 are copies of another" in lines
    assert "no row's image is in dev, select or test of shapes" in lines


def test_files_for_each_split_and_a_column_of_splits(tmp_path: Path) -> None:
    for split, count, seed in (("train", 30, 0), ("test", 12, 500)):
        class_folders(tmp_path / split, count, seed)
    with pytest.raises(UserError, match=r"its folders look like splits, not classes; write data: \{test: "):
        build_suite({"name": "images", "target": {"data": str(tmp_path)}})
    data = {"train": str(tmp_path / "train"), "test": str(tmp_path / "test")}
    found = files_of(build_suite({"name": "images", "target": {"data": data, "name": "shape"}}))
    assert {path.parents[1].name for path in found["test"]} == {"test"}
    assert {path.parents[1].name for split in SPLITS[:3] for path in found[split]} == {"train"}
    rows = drawn_rows(tmp_path, 40, seed=1)
    part = ["test", "train", "train", "val"]
    table = write_table(tmp_path / "t.csv", [row | {"part": part[n % 4]} for n, row in enumerate(rows)])
    target = {"data": str(table), "image": "file", "label": "colour", "split": "part"}
    found = files_of(build_suite({"name": "images", "target": target}))
    assert {path.name for path in found["test"]} == {Path(row["file"]).name for row in rows[::4]}
    assert len(found["select"]) == 10


def test_a_changed_image_is_another_suite(folder: Path, table: Path) -> None:
    before = suite_of(folder, table).options
    draw(folder / "disc" / "0.png", "disc", "red", 20, seed=12345)
    (folder / "disc").touch()
    after = suite_of(folder, table).options
    assert before["contents"]["shapes"] != after["contents"]["shapes"]
    assert before["contents"]["colour"] == after["contents"]["colour"]


def test_an_image_in_another_folder_makes_another_suite(folder: Path) -> None:
    target = {"name": "images", "target": {"data": str(folder)}}
    before = build_suite(target).options["contents"]
    (folder / "square" / "89.png").rename(folder / "ring" / "89.png")
    assert build_suite(target).options["contents"] != before


def broken(table: Path, what: str) -> Path:
    lines = table.read_text().splitlines()
    image = table.parent / lines[3].split(",")[0]
    if what == "missing":
        image.unlink()
    elif what == "cut":
        image.write_bytes(image.read_bytes()[:200])
    elif what == "words":
        image.write_text("no image")
    else:
        lines[3] = "," + lines[3].split(",", 1)[1]
        table.write_text("\n".join(lines) + "\n")
    return image


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", "{image}: no such file"),
        ("cut", "{image}: cannot be read as an image ("),
        ("words", "{image}: cannot be read as an image ("),
        ("empty", "image 'file' must be the path of a file, not ''"),
    ],
)
def test_an_image_that_is_missing_or_broken_is_named_with_its_row(table: Path, what: str, message: str) -> None:
    image = broken(table, what)
    with pytest.raises(UserError) as caught:
        build_suite({"name": "images", "target": {"data": str(table), "image": "file", "label": "colour"}})
    assert str(caught.value).startswith(f"images: target: {table}, row 4: {message.format(image=image)}")
    assert "\n" not in str(caught.value)


def test_a_broken_image_in_a_folder_is_named_by_its_path(folder: Path) -> None:
    (folder / "disc" / "0.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        build_suite({"name": "images", "target": {"data": str(folder)}})
    assert str(caught.value).startswith(f"images: target: {folder / 'disc' / '0.png'}: cannot be read as an image (")


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ({"image": "fiel", "label": "colour"}, {}, "target: {table}: unknown column 'fiel'; did you mean 'file'?"),
        ({"image": "file", "label": "color"}, {}, "target: {table}: unknown column 'color'; did you mean 'colour'?"),
        ({"label": "colour"}, {}, "target: image and label must name the table's columns of paths and of labels"),
        ({"image": "file", "label": "colour", "kind": "tokens"}, {}, "target: kind: tokens is for words; images"),
        (
            {"image": "file", "label": "colour", "kinds": "x"},
            {},
            "target: unknown option 'kinds'; did you mean 'kind'?",
        ),
        ({"data": "nowhere"}, {}, "target: {folder}/nowhere: no such file"),
        ({"data": "shapes", "label": "x"}, {}, "target: data is a folder of classes, which says what the labels are"),
        ({"data": "empty"}, {}, "target: {folder}/empty/b: the class has no images: it is empty; remove the folder"),
        ({"data": "shapes"}, {"size": 8}, "size must be a whole number, 16 or more, not 8"),
        ({"data": "shapes"}, {"peft": "lora"}, "peft: lora is for a model of transformers, not for cnn"),
        ({"data": "shapes"}, {"augment": "flop"}, "augment: unknown augmentation 'flop'; did you mean 'flip'?"),
        ({"data": "shapes"}, {"model": "./vit"}, "model: model ./vit: no such folder; give one with a config.json"),
        ({"data": "shapes"}, {"model": "vit", "size": 64}, "size is for model: cnn; an encoder's image processor has"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, table: Path, monkeypatch: pytest.MonkeyPatch, target: dict[str, Any], options: Any, message: str
) -> None:
    root = folder.parent
    monkeypatch.chdir(root)
    (root / "empty" / "b").mkdir(parents=True)
    shutil.copytree(folder / "disc", root / "empty" / "a")
    with pytest.raises(UserError) as caught:
        build_suite({"name": "images", "target": {"data": str(table)} | target, **options})
    assert str(caught.value).startswith(f"images: {message.format(table=table, folder=root)}")
    assert "\n" not in str(caught.value)


OUTSIDE = """
import json, sys
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification
found = {}
for name, (folder, files) in json.load(sys.stdin).items():
    model = AutoModelForImageClassification.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    images = [Image.open(file).convert("RGB") for file in files]
    with torch.no_grad():
        logits = model(**processor(images, return_tensors="pt")).logits
    found[name] = {"logits": logits.tolist(), "labels": [model.config.id2label[i] for i in range(logits.shape[1])]}
assert "avil_ray" not in sys.modules
print(json.dumps(found))
"""


@pytest.mark.slow
def test_transformers_loads_what_was_trained_without_this_library(
    folder: Path, table: Path, vit: str, tmp_path: Path
) -> None:
    in_table = {"data": str(table), "image": "file"}
    options: dict[str, dict[str, Any]] = {
        "classes": {"target": {"data": str(folder)}},
        "lora": {"target": {"data": str(folder)}, "peft": "lora"},
        "tags": {"target": in_table | {"label": "tags", "kind": "multi-label"}},
        "share": {"target": in_table | {"label": "share"}},
    }
    asked, expected = {}, {}
    for name, given in options.items():
        suite = build_suite({"name": "images", "model": vit, **given})
        result = avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=3)
        result.save(tmp_path / name)
        inputs = suite.draw(0)[suite.target].test.inputs
        asked[name] = [str(tmp_path / name), [str(inputs.store.paths[row]) for row in inputs.rows[:6]]]
        with torch.no_grad():
            expected[name] = result.model()(inputs[torch.arange(6)])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", OUTSIDE]
    done = subprocess.run(
        command, input=json.dumps(asked), check=True, capture_output=True, text=True, cwd="/", env=environment
    )
    labels = {"classes": [*SHAPES], "lora": [*SHAPES], "tags": ["blue", "large", "red"], "share": ["share"]}
    for name, found in json.loads(done.stdout).items():
        assert found["labels"] == labels[name]
        logits = torch.tensor(found["logits"]).reshape(expected[name].shape)
        torch.testing.assert_close(logits, expected[name], rtol=0, atol=2e-5)


@pytest.mark.parametrize("target", ["classes", "tags", "share"])
def test_predictions_for_a_file_are_the_trained_models(
    folder: Path, table: Path, vit: str, tmp_path: Path, target: str
) -> None:
    kind = {"kind": "multi-label"} if target == "tags" else {}
    described = {"data": str(table), "image": "file", "label": target} | kind
    described = {"data": str(folder)} if target == "classes" else described
    suite = build_suite({"name": "images", "model": vit, "target": described})
    result = avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=3)
    result.save(tmp_path / "saved")
    inputs = suite.draw(0)[suite.target].test.inputs
    with torch.no_grad():
        expected = result.model()(inputs[torch.arange(6)])
    column = "image" if target == "classes" else "file"
    rows = [{column: str(inputs.store.paths[row])} for row in inputs.rows[:6]]
    text = predict(tmp_path / "saved", str(write_table(tmp_path / "new.csv", rows)), None)
    assert text is not None
    answers = list(csv.DictReader(text.splitlines()))
    if target == "classes":
        assert [row["prediction"] for row in answers] == [SHAPES[one] for one in expected.argmax(dim=1)]
    elif target == "share":
        assert [float(row["prediction"]) for row in answers] == pytest.approx(expected.tolist(), abs=1e-4)
    else:
        shares = expected.sigmoid()[:, 2].tolist()
        assert [float(row["probability/red"]) for row in answers] == pytest.approx(shares, abs=1e-4)


def test_the_small_network_is_saved_and_loaded_with_its_suite(table: Path, tmp_path: Path) -> None:
    target = {"data": str(table), "image": "file", "label": "colour"}
    suite = build_suite({"name": "images", "target": target})
    result = avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=2)
    result.save(tmp_path / "saved")
    inputs = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(avil.load(tmp_path / "saved")(inputs), result.model()(inputs))
