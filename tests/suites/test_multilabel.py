import csv
import pickle
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.suites import multilabel
from avil_ray.suites.tables import yeast_file
from avil_ray.tasks.suite import Suite

SPLITS = ("train", "dev", "select", "test")
FINDINGS = ("Effusion", "Mass", "Nodule")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """300 rows; the input `row` tells them apart; `rain` is known everywhere, `snow` for even rows, `frost` for few."""
    file = tmp_path / "weather.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["row", "cold", "rain", "light snow", "frost", "station"])
        for row in range(300):
            snow = "" if row % 2 else int(row % 3 == 0)
            frost = int(row % 7 == 0) if row < 30 else ""
            writer.writerow([row, row * row % 17, int(row % 4 == 0), snow, frost, f"station {row // 3}"])
    return file


def weather(table: Path, **options: object) -> Suite:
    return multilabel(table=table, labels=["rain", "light snow", "frost"], group="station", **options)


def rows_of(suite: Suite, seed: int = 0) -> dict[str, dict[str, list[int]]]:
    """Task -> split -> the table's rows, told from the input `row`, which is an arithmetic progression."""
    tasks = suite.draw(seed)
    everything = torch.cat([examples.inputs[:, 0] for task in tasks.values() for examples in splits(task).values()])
    step = everything.unique().diff().min()
    first = everything.min()
    return {
        name: {split: ((e.inputs[:, 0] - first) / step).round().int().tolist() for split, e in splits(task).items()}
        for name, task in tasks.items()
    }


def splits(task: avil.Task) -> dict[str, avil.Examples]:
    return {split: getattr(task, split) for split in SPLITS if getattr(task, split) is not None}


def test_yeast_is_14_tasks_on_the_same_genes() -> None:
    suite = multilabel()
    assert (suite.target, len(suite.task_names)) == ("Class6", 14)
    tasks, rows = suite.draw(0), pd.read_csv(yeast_file())
    sizes = {split: len(examples) for split, examples in splits(tasks["Class6"]).items()}
    assert sizes == {"train": 967, "dev": 483, "select": 363, "test": 604}
    for task in tasks.values():
        assert torch.equal(task.train.inputs, tasks["Class6"].train.inputs)
        assert task.metric == "auc"
    inputs = torch.cat([examples.inputs for examples in splits(tasks["Class6"]).values()])
    assert len(inputs.unique(dim=0)) == len(np.unique(rows.iloc[:, :103], axis=0))
    for split, share in {"select": 0.15, "test": 0.25}.items():
        assert getattr(tasks["Class6"], split).labels.sum() == round(share * 597)


def test_river_is_read_but_not_imported() -> None:
    code = "import sys, avil_ray as avil; avil.suites.multilabel().draw(0); sys.exit('river' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_inputs_are_standardised_by_train_alone() -> None:
    suite = multilabel(target_labels=100)
    tasks = suite.draw(0)
    shared = tasks["Class1"].train.inputs
    assert shared.mean(dim=0).abs().max() < 1e-3
    assert (shared.std(dim=0, correction=0) - 1).abs().max() < 1e-3
    everything = torch.cat([examples.inputs for examples in splits(tasks["Class6"]).values()])
    assert everything.mean(dim=0).abs().max() > 0.01


@pytest.mark.parametrize("metric", ["auc", "f1"])
@pytest.mark.parametrize("target", ["Class1", "Class9", "Class14"])
def test_any_label_may_be_the_target(target: str, metric: str) -> None:
    suite = multilabel(target=target, metric=metric)
    assert suite.task_names[0] == target
    assert len(suite.task_names) == 14
    task = suite.draw(0)[target]
    assert task.metric == metric
    assert set(task.select.labels.tolist()) == set(task.test.labels.tolist()) == {0, 1}


def test_the_target_has_its_labels_and_the_others_keep_theirs() -> None:
    tasks = multilabel(target_labels=90, auxiliary_labels=500, auxiliaries=["Class1", "Class14"]).draw(0)
    assert list(tasks) == ["Class6", "Class1", "Class14"]
    assert {split: len(examples) for split, examples in splits(tasks["Class6"]).items()} == {
        "train": 60,
        "dev": 30,
        "select": 363,
        "test": 604,
    }
    assert len(tasks["Class1"].train) == len(tasks["Class14"].train) == 500


@pytest.mark.parametrize("seed", range(3))
def test_no_example_and_no_group_is_in_two_splits(table: Path, seed: int) -> None:
    rows = rows_of(weather(table), seed)
    stations = {split: {row // 3 for row in found} for split, found in rows["rain"].items()}
    learned = {row // 3 for name in ("light_snow", "frost") for row in rows[name]["train"]}
    for one, other in combinations(SPLITS, 2):
        assert not stations[one] & stations[other]
    for split in ("dev", "select", "test"):
        assert not stations[split] & learned


def test_an_example_whose_label_nobody_knows_is_not_among_a_tasks_data(table: Path) -> None:
    suite = weather(table, target="rain", target_labels=60)
    rows, tasks = rows_of(suite), suite.draw(0)
    assert len(rows["frost"]["train"]) < 30
    assert all(row % 2 == 0 for row in rows["light_snow"]["train"])
    assert all(row < 30 for row in rows["frost"]["train"])
    assert tasks["light_snow"].train.labels.tolist() == [int(row % 3 == 0) for row in rows["light_snow"]["train"]]
    assert tasks["rain"].test.labels.tolist() == [int(row % 4 == 0) for row in rows["rain"]["test"]]


def test_a_target_with_gaps_has_known_labels_in_every_split(table: Path) -> None:
    rows = rows_of(weather(table, target="light snow"))
    assert all(row % 2 == 0 for found in rows["light_snow"].values() for row in found)
    assert any(row % 2 for row in rows["rain"]["train"])


def test_the_usual_target_is_nearest_to_a_quarter(table: Path) -> None:
    assert weather(table).target == "rain"
    assert multilabel(table=table, labels=["light snow", "frost"], features=["cold"]).target == "light_snow"


def test_a_table_is_learned_end_to_end(table: Path) -> None:
    suite = weather(table, features=["row", "cold"], hidden=[16, 8])
    assert suite.model()(torch.randn(5, 2), "frost").shape == (5, 2)
    result = avil.train(suite, avil.Equal(), rounds=2, steps_per_round=3)
    assert set(result.test) == {"auc", "loss"}


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    """40 patients with 1 to 4 images each, in ChestX-ray14's own layout; a finding is a bright stripe of its own."""
    random = np.random.default_rng(0)
    entries, lists = [], {"train_val_list.txt": [], "test_list.txt": []}
    for patient in range(1, 41):
        for image in range(int(random.integers(1, 5))):
            name = f"{patient:08d}_{image:03d}.png"
            found = [finding for finding in FINDINGS if random.random() < 0.3]
            pixels = random.integers(60, size=(48, 48)).astype(np.uint8)
            for finding in found:
                pixels[12 * FINDINGS.index(finding) : 12 * FINDINGS.index(finding) + 12] += 150
            folder = tmp_path / f"images_{1 + patient % 2:03d}" / "images"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name)
            entries.append([name, "|".join(found) or "No Finding", image, patient, 50, "M", "PA"])
            lists["test_list.txt" if patient % 4 == 0 else "train_val_list.txt"].append(name)
    header = [
        "Image Index",
        "Finding Labels",
        "Follow-up #",
        "Patient ID",
        "Patient Age",
        "Patient Gender",
        "View Position",
    ]
    with (tmp_path / "Data_Entry_2017.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *entries])
    for name, images in lists.items():
        (tmp_path / name).write_text("\n".join(images) + "\n")
    return tmp_path


def patients(suite: Suite, seed: int = 0) -> dict[str, set[str]]:
    tasks = suite.draw(seed)
    found = {split: examples.inputs for split, examples in splits(tasks[suite.target]).items()}
    found["shared"] = tasks[suite.auxiliaries[0]].train.inputs
    return {split: {inputs.store.paths[row].name[:8] for row in inputs.rows} for split, inputs in found.items()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lists", [True, False])
def test_no_patient_is_in_two_splits(chest: Path, seed: int, lists: bool) -> None:
    if not lists:
        for file in chest.glob("*_list.txt"):
            file.unlink()
    used = patients(multilabel(images=chest, size=16), seed)
    for one, other in combinations(used, 2):
        assert not used[one] & used[other] or {one, other} == {"train", "shared"}
    official = {f"{patient:08d}" for patient in range(4, 41, 4)}
    assert (used["test"] == official) == lists


def test_every_finding_of_the_csv_is_a_task_and_its_labels_are_right(chest: Path) -> None:
    suite = multilabel(images=chest, size=16, target="Mass")
    assert suite.task_names == ("Mass", "Effusion", "Nodule")
    tasks = suite.draw(0)
    for name, rows in {"Mass": tasks["Mass"].test, "Nodule": tasks["Nodule"].train}.items():
        images, labels = rows.batch(torch.arange(len(rows)))
        stripe = slice(4 * FINDINGS.index(name), 4 * FINDINGS.index(name) + 4)
        assert images.shape == (len(rows), 1, 16, 16)
        bright = images[:, 0, stripe].mean(dim=(1, 2)) > 1
        others = images[:, 0, stripe].mean(dim=(1, 2)).median()
        assert torch.equal(bright.long(), labels), f"{name}, median {others}"


def test_images_are_learned_end_to_end_and_read_once(chest: Path) -> None:
    suite = multilabel(images=chest, size=16, target="Mass", keep_images=True)
    result = avil.train(suite, avil.AlphaVIL(), rounds=4, steps_per_round=8)
    assert result.test["auc"] > 0.9
    again = avil.train(multilabel(images=chest, size=16, target="Mass", keep_images=False), avil.TargetOnly(), rounds=1)
    assert 0 <= again.test["auc"] <= 1


def test_another_csv_may_say_what_is_in_the_images(chest: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in chest.rglob("*.png"))
    file = tmp_path / "own.csv"
    file.write_text("file,cat,dog\n" + "".join(f"{n},{i % 2},{'' if i % 5 else 1}\n" for i, n in enumerate(names)))
    suite = multilabel(images=chest, table=file, labels=["cat", "dog"], image_column="file", size=16, colour=True)
    for listed in chest.glob("*_list.txt"):
        listed.unlink()
    tasks = suite.draw(0)
    assert suite.task_names == ("cat", "dog")
    assert tasks["cat"].train.batch(torch.arange(2))[0].shape == (2, 3, 16, 16)
    assert set(tasks["dog"].train.labels.tolist()) == {1}


def test_a_missing_image_is_named(chest: Path) -> None:
    gone = next(chest.rglob("00000003_000.png"))
    gone.unlink()
    with pytest.raises(UserError, match=r"1 of \d+ images in the table are missing, '00000003_000.png' first"):
        multilabel(images=chest, size=17).draw(0)


def test_one_seed_gives_the_same_data_and_another_seed_others(table: Path) -> None:
    suite = multilabel(target_labels=100)
    travelled = pickle.dumps(suite)
    assert len(travelled) < 10_000
    first, again, other = suite.draw(0), pickle.loads(travelled).draw(0), suite.draw(1)
    for name, task in first.items():
        for split, examples in splits(task).items():
            assert torch.equal(examples.inputs, getattr(again[name], split).inputs)
            assert torch.equal(examples.labels, getattr(again[name], split).labels)
        assert not torch.equal(task.train.inputs, other[name].train.inputs)


def test_options_are_the_factorys_arguments(table: Path, chest: Path) -> None:
    for suite in (multilabel(), weather(table, target_labels=60), multilabel(images=chest, size=20)):
        again = multilabel(**suite.options)
        assert (again.options, again.task_names) == (suite.options, suite.task_names)


def test_a_relative_path_is_found_from_anywhere(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(table.parent)
    suite = weather(Path(table.name))
    monkeypatch.chdir("/")
    assert len(suite.draw(0)["rain"].train) > 50
    assert suite.model() is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "Clas6"}, "multilabel: unknown target 'Clas6'; did you mean 'Class6'?"),
        ({"auxiliaries": ["Class99"]}, "multilabel: unknown auxiliary 'Class99'; did you mean 'Class9'?"),
        ({"auxiliaries": ["Class6"]}, "multilabel: 'Class6' is the target; name other tasks as auxiliaries"),
        ({"metric": "accuracy"}, "multilabel: unknown metric 'accuracy'; did you mean 'auc'?"),
        ({"target_labels": 1}, "multilabel: target_labels must be a whole number, 2 or more, not 1"),
        ({"test_fraction": 0.9}, "multilabel: test_fraction must be a number above 0 and below 0.85, not 0.9"),
        ({"size": 8}, "multilabel: size must be a whole number, 16 or more, not 8"),
        ({"labels": ["rain"]}, "multilabel: labels and group are for a table or images of your own; give these too, "),
        ({"table": "nowhere.csv"}, "multilabel: labels must name the table's label columns, such as [rain, snow]"),
        ({"hidden": []}, "multilabel: hidden must be a list of one width or more, such as [64], not []"),
    ],
)
def test_wrong_options_are_one_line_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        multilabel(**options)
    assert str(caught.value).startswith(message)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv: no such file"):
        multilabel(table=tmp_path / "nowhere.csv", labels=["rain"])


def test_more_labels_than_there_are_is_told(table: Path) -> None:
    with pytest.raises(UserError, match="multilabel: target_labels must be 2 to "):
        weather(table, target="frost", target_labels=200).draw(0)


def test_a_split_without_both_classes_is_told(table: Path) -> None:
    table.write_text("x,y\n" + "".join(f"{row},{int(row == 3)}\n" for row in range(50)))
    with pytest.raises(
        UserError, match="multilabel: y's select split of 7 examples needs both yes and no; give a larger"
    ):
        multilabel(table=table, labels=["y"]).draw(0)


def test_yeast_can_be_learned() -> None:
    result = avil.train(multilabel(target="Class4"), avil.TargetOnly(), rounds=5)
    assert 0.76 < result.test["auc"] < 0.86
