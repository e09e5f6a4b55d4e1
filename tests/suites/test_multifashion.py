import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avil_ray.errors import UserError
from avil_ray.suites import multifashion, multimnist
from avil_ray.suites.idx import idx_images
from avil_ray.suites.multifashion import CLOTHES
from avil_ray.suites.overlay import draw_pairs
from avil_ray.suites.sources import Images, mnist_digits
from avil_ray.tasks.suite import Suite

WriteIdx = Callable[..., None]
SMALL = {"train": 60, "select": 30, "test": 40, "target_labels": 45}
SHOES, TOPS = {5, 7, 9}, {0, 2, 4, 6}


@pytest.fixture
def fashion(tmp_path: Path, write_idx: WriteIdx) -> Path:
    """400 articles and 100 more for the test: an article of class c is a picture of brightness 25 c."""
    labels = np.random.default_rng(0).integers(10, size=500)
    pixels = np.repeat(25 * labels, 28 * 28).reshape(-1, 28, 28)
    write_idx(tmp_path, pixels[:400], labels[:400], pixels[400:], labels[400:], ending=".gz")
    return tmp_path


def brightness(suite: Suite, split: str, row: int, column: int) -> list[int]:
    inputs = getattr(suite.draw(0)[suite.target], split).inputs
    return (inputs[:, 0, row, column] * 255).round().int().tolist()


def test_clothes_stand_on_both_sides_and_labels_answer_for_them(fashion: Path) -> None:
    suite = multifashion(data_dir=fashion, **SMALL)
    tasks = suite.draw(0)
    assert list(tasks) == ["left", "right", "left_shoe", "left_top"]
    left = [value // 25 for value in brightness(suite, "train", 0, 0)]
    right = [value // 25 for value in brightness(suite, "train", 35, 35)]
    assert tasks["left"].train.labels.tolist() == left
    assert tasks["right"].train.labels[:30].tolist() == right
    assert tasks["left_shoe"].train.labels[:30].tolist() == [int(kind in SHOES) for kind in left]
    assert tasks["left_top"].train.labels[:30].tolist() == [int(kind in TOPS) for kind in left]
    assert len(set(left)) > 5
    assert CLOTHES[9] == "ankle boot"


@pytest.mark.parametrize(("left", "right"), [("fashion", "mnist"), ("mnist", "fashion")])
def test_a_side_may_be_a_digit(fashion: Path, left: str, right: str) -> None:
    suite = multifashion(left=left, right=right, data_dir=fashion, **SMALL)
    questions = {"fashion": ("left_shoe", "left_top"), "mnist": ("left_odd", "left_large")}[left]
    assert suite.task_names == ("left", "right", *questions)
    sources: dict[str, Images] = {"fashion": idx_images(fashion), "mnist": mnist_digits()}
    counts = {"train": 60, "dev": 15, "select": 30, "test": 40}
    pairs = draw_pairs(0, "multifashion", sources[left], sources[right], counts)
    tasks = suite.draw(0)
    assert tasks["left"].test.labels.tolist() == sources[left].labels[pairs["test"][:, 0]].tolist()
    assert tasks["right"].train.labels.tolist() == sources[right].labels[pairs["train"][:, 1]].tolist()
    for row, (first, second) in enumerate(pairs["test"]):
        canvas = np.zeros((36, 36))
        canvas[:28, :28] = sources[left].pixels[first]
        canvas[8:, 8:] = np.maximum(canvas[8:, 8:], sources[right].pixels[second])
        expected = torch.tensor(canvas / 255, dtype=torch.float32)
        assert torch.equal(tasks["left"].test.inputs[row, 0], expected)


def test_digits_may_come_from_a_folder_too(fashion: Path, tmp_path: Path, write_idx: WriteIdx) -> None:
    digits = tmp_path / "mnist"
    digits.mkdir()
    write_idx(digits, np.full((50, 28, 28), 7), np.full(50, 3), np.full((20, 28, 28), 9), np.full(20, 4))
    suite = multifashion(right="mnist", data_dir=fashion, mnist_dir=digits, target="right", auxiliaries=[], **SMALL)
    target = suite.draw(0)["right"]
    assert set(target.train.labels.tolist()) == set(target.select.labels.tolist()) == {3}
    assert set(target.test.labels.tolist()) == {4}


@pytest.mark.parametrize("target", ["left", "right", "left_shoe", "left_top", "noise"])
def test_any_task_may_be_the_target(fashion: Path, target: str) -> None:
    suite = multifashion(target=target, data_dir=fashion, size=18, **SMALL)
    tasks, model = suite.draw(0), suite.model()
    for name in suite.task_names:
        inputs, labels = tasks[name].train.batch(torch.arange(4))
        assert model(inputs, name).shape == (4, 2 if name in ("left_shoe", "left_top") else 10)
        assert labels.dtype == torch.int64


def test_options_are_the_factorys_arguments_and_the_suite_travels_light(fashion: Path) -> None:
    suite = multifashion(left="mnist", data_dir=str(fashion), size=18, **SMALL)
    again = multifashion(**suite.options)
    assert (again.options, again.task_names) == (suite.options, suite.task_names)
    suite.draw(0)
    travelled = pickle.dumps(suite)
    assert len(travelled) < 10_000
    one, other = (drawn.draw(3)["left"].train for drawn in (suite, pickle.loads(travelled)))
    assert torch.equal(one.inputs, other.inputs)


def test_a_relative_folder_is_found_from_anywhere(fashion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fashion.parent)
    suites = [multifashion(data_dir=fashion.name, **SMALL), multimnist(data_dir=fashion.name, **SMALL)]
    monkeypatch.chdir("/")
    assert all(len(suite.draw(0)["left"].test) == 40 for suite in suites)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"left": "fashon"}, "multifashion: unknown left 'fashon'; did you mean 'fashion'?"),
        ({"target": "left_shoes"}, "multifashion: unknown target 'left_shoes'; did you mean 'left_shoe'?"),
        (
            {"left": "mnist", "target": "left_shoe"},
            "multifashion: unknown target 'left_shoe'; did you mean 'left_odd'?",
        ),
        (
            {"left": "mnist", "right": "mnist"},
            "multifashion: left and right are both mnist, which is the suite multimnist; use that one",
        ),
        (
            {"mnist_dir": "digits"},
            "multifashion: mnist_dir is given, but no side is mnist; leave it out, or give right: mnist",
        ),
        ({"size": 40}, "multifashion: size must be a whole number, 16 to 36, not 40"),
    ],
)
def test_wrong_options_are_one_line_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        multifashion(**options)
    assert str(caught.value) == message
