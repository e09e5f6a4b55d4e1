"""NYUv2 from tiny folders in the layout that MTAN, LibMTL, Auto-Lambda and ForkMerge share."""

import pickle
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.suites import nyuv2_data
from avil_ray.suites.dense_objectives import objectives
from avil_ray.suites.nyuv2 import Shares, draw, nyuv2, split_rows
from avil_ray.suites.nyuv2_data import FOLDERS, DenseImages, ScaleCropFlip, read_layout
from avil_ray.tasks.metrics import find_measure

HEIGHT, WIDTH, CLASSES = 8, 12, 5
KINDS = tuple(FOLDERS)
ANSWERS = ("label", "depth", "normal")
WHOLE = Shares(dev=0.2, select=0.15, target_labels=None, auxiliary_labels=None)


def arrays(seed: int, height: int = HEIGHT, width: int = WIDTH) -> dict[str, np.ndarray]:
    """One image and its answers in the types of the original files, a quarter of the answers unknown."""
    random = np.random.default_rng(seed)
    unknown = random.random((height, width)) < 0.25
    normals = random.standard_normal((height, width, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return {
        "image": random.random((height, width, 3)).astype(np.float32),
        "label": np.where(unknown, -1, random.integers(CLASSES, size=(height, width))).astype(np.float32),
        "depth": np.where(unknown, 0, 1 + random.random((height, width)))[..., None],
        "normal": np.where(unknown[..., None], 0, normals),
    }


def write(folder: Path, train: int = 8, val: int = 3) -> Path:
    for part, count, first in (("train", train, 0), ("val", val, 1000)):
        for number in range(count):
            for name, array in arrays(first + number).items():
                path = folder / part / name / f"{number}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path)


def images(folder: Path, kind: str, numbers: tuple[int, ...] = (0, 1, 2), part: str = "train") -> DenseImages:
    return DenseImages(folder / part, kind, np.array(numbers), (HEIGHT, WIDTH), CLASSES)


def test_an_item_is_its_files_channels_first(folder: Path) -> None:
    wanted = arrays(1002)
    for kind, name in FOLDERS.items():
        image, answers = images(folder, kind, (1, 2), "val")[1]
        assert torch.equal(image, torch.tensor(wanted["image"].transpose(2, 0, 1)))
        if kind == "segmentation":
            assert torch.equal(answers, torch.tensor(wanted[name]).long())
        else:
            assert torch.equal(answers, torch.tensor(wanted[name].transpose(2, 0, 1), dtype=torch.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_what_the_model_the_loss_and_the_metrics_take(folder: Path, kind: str) -> None:
    suite = nyuv2(data_dir=folder, target=kind, classes=CLASSES, width=4)
    inputs, targets = next(iter(DataLoader(images(folder, kind), batch_size=3)))
    outputs = suite.model()(inputs, kind)
    found = objectives(kind)
    losses = found["loss"](outputs, targets)
    assert losses.shape == (3,)
    assert losses.min() > 0
    for given in (found["metric"], *found["also"]):
        metric = find_measure(given, None, found["loss"], kind).make()
        metric.update(outputs.detach(), targets)
        assert np.isfinite(metric.compute())


@pytest.mark.parametrize("kind", KINDS)
def test_answers_that_no_task_asks_for_may_be_missing(folder: Path, kind: str) -> None:
    others = [name for name in ANSWERS if name != FOLDERS[kind]]
    for part in ("train", "val"):
        for name in others:
            for path in (folder / part / name).iterdir():
                path.unlink()
            (folder / part / name).rmdir()
    assert read_layout(folder, [FOLDERS[kind]]) == ((8, 3), (HEIGHT, WIDTH))


def test_nothing_is_read_before_it_is_asked_for_and_nothing_is_kept(folder: Path, monkeypatch) -> None:
    read: list[str] = []
    load = np.load

    def noted(path: Path, mmap_mode: str | None = None) -> np.ndarray:
        assert mmap_mode == "r"
        read.append(f"{path.parent.name}/{path.name}")
        return load(path, mmap_mode=mmap_mode)

    monkeypatch.setattr(nyuv2_data.np, "load", noted)
    dataset = images(folder, "depth", (5, 6))
    assert read == []
    dataset[1], dataset[1]
    assert read == ["image/6.npy", "depth/6.npy"] * 2
    assert len(pickle.dumps(dataset)) < 1000


@pytest.mark.parametrize("count", [3, 8, 795])
@pytest.mark.parametrize("seed", range(3))
def test_no_image_is_in_two_splits_and_auxiliaries_see_none_that_is_held_out(count: int, seed: int) -> None:
    rows = {name: set(found.tolist()) for name, found in split_rows(seed, count, WHOLE).items()}
    assert all(rows.values())
    for one, other in combinations(("train", "dev", "select"), 2):
        assert not rows[one] & rows[other]
    assert rows["train"] | rows["dev"] | rows["select"] == set(range(count))
    assert rows["auxiliaries"] == rows["train"]


def test_few_labels_are_the_targets_alone() -> None:
    rows = split_rows(0, 795, Shares(dev=0.2, select=0.15, target_labels=50, auxiliary_labels=400))
    assert {name: len(found) for name, found in rows.items()} == {
        "train": 40,
        "dev": 10,
        "select": 119,
        "auxiliaries": 400,
    }
    assert not set(rows["auxiliaries"]) & {*rows["dev"], *rows["select"]}


def test_a_seed_gives_the_same_splits_and_another_seed_others() -> None:
    first, again, other = (split_rows(seed, 795, WHOLE) for seed in (0, 0, 1))
    for name in first:
        assert np.array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


def test_more_labels_than_images_are_one_line() -> None:
    with pytest.raises(UserError) as caught:
        split_rows(0, 20, Shares(dev=0.2, select=0.15, target_labels=18, auxiliary_labels=None))
    wanted = "nyuv2: target_labels must be a whole number, 2 to 17 (what select leaves of train/), not 18"
    assert str(caught.value) == wanted


def change(path: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / path, array)


def remove(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def rename(path: str, new: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        (folder / path).rename(folder / new)

    return act


ONE_SIZE = "all images, and their answers, must be of one height and width"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (rename("val", "test"), "val/image: no such folder; val/ must hold image, label, depth, normal"),
        (
            rename("train/normal", "train/normals"),
            "train/normal: no such folder; train/ must hold image, label, depth, normal",
        ),
        (
            remove("train/depth/7.npy"),
            "train/depth: it has 7 files, but image/ has 8; each image needs one, of the same number",
        ),
        (
            remove("val/image/2.npy"),
            "val/label: it has 3 files, but image/ has 2; each image needs one, of the same number",
        ),
        (remove("train/label/3.npy"), "train/label/3.npy: no such file; files are numbered from 0.npy without a gap"),
        (
            change("train/image/0.npy", np.zeros((3, HEIGHT, WIDTH))),
            "train/image/0.npy: an image must be [height, width, 3], 8 pixels or more each way, not [3, 8, 12]",
        ),
        (
            change("train/image/0.npy", np.zeros((7, 12, 3))),
            "train/image/0.npy: an image must be [height, width, 3], 8 pixels or more each way, not [7, 12, 3]",
        ),
        (
            change("val/depth/0.npy", np.zeros((HEIGHT, WIDTH))),
            f"val/depth/0.npy: its shape must be [8, 12, 1], not [8, 12]; {ONE_SIZE}",
        ),
        (
            change("val/image/0.npy", np.zeros((HEIGHT, 16, 3))),
            f"val/image/0.npy: its shape must be [8, 12, 3], not [8, 16, 3]; {ONE_SIZE}",
        ),
        (
            change("train/image/0.npy", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)),
            "train/image/0.npy: it must hold floating-point numbers, 0 to 1, not uint8",
        ),
        (
            change("train/depth/0.npy", np.zeros((HEIGHT, WIDTH, 1), dtype=np.int32)),
            "train/depth/0.npy: it must hold floating-point numbers, not int32",
        ),
        (
            lambda folder: (folder / "val/normal/0.npy").write_text("?"),
            "val/normal/0.npy: cannot be read as an array (",
        ),
    ],
)
def test_a_folder_laid_out_otherwise_is_one_line(folder: Path, spoil, message: str) -> None:
    spoil(folder)
    with pytest.raises(UserError) as caught:
        read_layout(folder, ANSWERS)
    assert str(caught.value).startswith(f"{folder}/{message}")
    assert "\n" not in str(caught.value)


def test_too_few_images_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train/image: it has 2 images, but train, dev and select need 3$"):
        read_layout(write(tmp_path, train=2), ANSWERS)


@pytest.mark.parametrize(
    ("kind", "path", "array", "message"),
    [
        ("depth", "image", np.zeros((9, 12, 3)), f"its shape must be [8, 12, 3], not [9, 12, 3]; {ONE_SIZE}"),
        ("segmentation", "label", np.full((8, 12), 5), "classes must be whole numbers, -1 to 4, not 5 to 5"),
        ("segmentation", "label", np.full((8, 12), 255), "classes must be whole numbers, -1 to 4, not 255 to 255"),
        ("segmentation", "label", np.full((8, 12), 0.5), "classes must be whole numbers, -1 to 4, not fractions"),
        ("segmentation", "label", np.zeros((8, 12), bool), "it must hold whole numbers, not bool"),
        ("depth", "depth", np.full((8, 12, 1), np.nan), "it holds numbers that are not finite; "),
        ("normals", "normal", np.full((8, 12, 3), np.inf), "it holds numbers that are not finite; "),
        ("normals", "image", np.full((8, 12, 3), np.nan), "it holds numbers that are not finite; "),
    ],
)
def test_a_wrong_file_is_named_when_it_is_read(folder: Path, kind: str, path: str, array, message: str) -> None:
    np.save(folder / "train" / path / "2.npy", array)
    dataset = images(folder, kind)
    dataset[0]
    with pytest.raises(UserError) as caught:
        dataset[2]
    assert str(caught.value).startswith(f"{folder}/train/{path}/2.npy: {message}")


def test_classes_may_be_whole_numbers_of_any_type(folder: Path) -> None:
    label = arrays(0)["label"]
    for kind in (np.int64, np.int8, np.float64):
        np.save(folder / "train/label/0.npy", label.astype(kind))
        assert torch.equal(images(folder, "segmentation")[0][1], torch.tensor(label).long())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "nyuv2: data_dir is missing; give the preprocessed folder that holds train/ and val/"),
        ("nowhere", "nowhere: no such folder; data_dir must be the preprocessed folder that holds train/ and val/"),
    ],
)
def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, given: str | None, message: str) -> None:
    suite = nyuv2(data_dir=given and tmp_path / given)
    with pytest.raises(UserError) as caught:
        suite.draw(0)
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "normal"}, "nyuv2: unknown target 'normal'; did you mean 'normals'?"),
        ({"auxiliaries": ["seg"]}, "nyuv2: unknown auxiliary 'seg'; available: depth, normals, segmentation"),
        ({"auxiliaries": ["segmentation"]}, "nyuv2: 'segmentation' is the target; name other tasks as auxiliaries"),
        ({"target_labels": 1}, "nyuv2: target_labels must be a whole number, 2 or more, not 1"),
        ({"auxiliary_labels": 0}, "nyuv2: auxiliary_labels must be a whole number, 1 or more, not 0"),
        ({"dev_fraction": 0}, "nyuv2: dev_fraction must be a number above 0 and below 1, not 0"),
        ({"select_fraction": 1.5}, "nyuv2: select_fraction must be a number above 0 and below 1, not 1.5"),
        ({"classes": 1}, "nyuv2: classes must be a whole number, 2 or more, not 1"),
        ({"width": 0}, "nyuv2: width must be a whole number, 1 or more, not 0"),
    ],
)
def test_wrong_options_are_one_line_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        nyuv2(**options)
    assert str(caught.value) == message


def test_the_suite_travels_light_and_options_are_the_factorys_arguments(folder: Path) -> None:
    suite = nyuv2(data_dir=folder, target="depth", auxiliaries=["normals"], target_labels=4, augment=True)
    assert len(pickle.dumps(suite)) < 10_000
    again = nyuv2(**suite.options)
    assert (again.options, again.task_names) == (suite.options, suite.task_names)


def augmented(kind: str, seed: int, image: torch.Tensor, answers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return ScaleCropFlip(kind)(image, answers)


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_keeps_shapes_and_types_and_repeats_with_pytorchs_generator(folder: Path, kind: str) -> None:
    image, answers = images(folder, kind)[0]
    before = image.clone(), answers.clone()
    for seed in range(10):
        first, again = (augmented(kind, seed, image, answers) for _ in range(2))
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        assert (first[0].shape, first[1].shape, first[1].dtype) == (image.shape, answers.shape, answers.dtype)
    assert torch.equal(image, before[0])
    assert torch.equal(answers, before[1])


def test_answers_stay_with_what_they_are_of() -> None:
    """Where every pixel's class, depth and normal can be read off its colour, so they can after augmentation."""
    columns = torch.arange(36) // 6
    image = (columns / 5).expand(3, 24, 36)
    classes = columns.expand(24, 36)
    scales = set()
    for seed in range(30):
        new_image, new_classes = augmented("segmentation", seed, image, classes)
        seen = new_image[0] * 5
        inside = (seen - seen.round()).abs() < 0.01  # elsewhere the image is blended across an edge
        assert inside.float().mean() > 0.5
        assert torch.equal(seen.round().long()[inside], new_classes[inside])
        _, depth = augmented("depth", seed, image, 1 + classes[None].float())
        factor = ((1 + new_classes) / depth[0]).unique()
        assert len(factor.round(decimals=4).unique()) == 1, "depths shrink by one factor"
        scales.add(round(factor[0].item(), 2))
        flipped = new_classes[0, 0] > new_classes[0, -1]
        normal = torch.tensor([0.6, 0.0, 0.8])[:, None, None].expand(3, 24, 36)
        _, normals = augmented("normals", seed, image, normal)
        wanted = torch.tensor([-0.6 if flipped else 0.6, 0.0, 0.8])
        torch.testing.assert_close(normals, wanted[:, None, None].expand(3, 24, 36))
    assert scales == {1.0, 1.2, 1.5}


def test_an_answer_is_the_nearest_pixels() -> None:
    columns = torch.arange(36)
    for seed in range(20):  # on a ramp of colours the scaled image says where each of its pixels comes from
        image, answers = augmented("segmentation", seed, columns.float().expand(3, 24, 36), columns.expand(24, 36))
        assert (image[0] - answers).abs().max() <= 0.501


def test_augmentation_makes_up_no_answers(folder: Path) -> None:
    for kind in KINDS:
        image, answers = images(folder, kind)[0]
        known = set(answers.flatten().tolist()) if kind == "segmentation" else None
        for seed in range(5):
            _, new = augmented(kind, seed, image, answers)
            if known is not None:
                assert set(new.flatten().tolist()) <= known
            elif kind == "normals":
                lengths = new.norm(dim=0)
                assert ((lengths < 1e-6) | ((lengths - 1).abs() < 1e-5)).all()


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("target", KINDS)
def test_any_task_may_be_the_target(folder: Path, target: str, augment: bool) -> None:
    suite = nyuv2(data_dir=folder, target=target, classes=CLASSES, width=4, augment=augment)
    tasks = suite.draw(0)
    counts = {split: len(getattr(tasks[target], split)) for split in ("train", "dev", "select", "test")}
    assert counts == {"train": 6, "dev": 1, "select": 1, "test": 3}
    results = [avil.train(suite, avil.AlphaVIL(), rounds=2, steps_per_round=1) for _ in range(2)]
    assert results[0].test == results[1].test
    assert set(results[0].test) == {"loss", *(measure.name for measure in tasks[target].measures)}
    assert all(np.isfinite(list(results[0].test.values())))


def test_the_official_validation_images_are_test_and_nothing_else(folder: Path) -> None:
    task, *others = draw(0, folder=folder, names=KINDS, classes=CLASSES, shares=WHOLE, augment=False)
    parts = {split: getattr(task, split).part.name for split in ("train", "dev", "select", "test")}
    assert parts == {"train": "train", "dev": "train", "select": "train", "test": "val"}
    assert {other.train.part.name for other in others} == {"train"}
