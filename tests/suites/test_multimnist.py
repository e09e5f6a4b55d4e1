import hashlib
import pickle
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from avil_ray.errors import UserError
from avil_ray.suites import multimnist
from avil_ray.suites.idx import idx_images
from avil_ray.suites.multimnist import QUESTIONS
from avil_ray.suites.overlay import draw_pairs, overlay
from avil_ray.suites.sources import mnist_digits
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.suite import Suite

WriteIdx = Callable[..., None]
SMALL = {"train": 60, "select": 30, "test": 40}
SPLITS = ("train", "dev", "select", "test")


def pairs_of(suite: Suite, seed: int) -> dict[str, np.ndarray]:
    """The source digits behind each split's overlays."""
    return draw_pairs(seed, "multimnist", mnist_digits(), mnist_digits(), suite.tasks.keywords["sizes"].splits)


def pairs_of_folder(folder: Path) -> dict[str, np.ndarray]:
    images = idx_images(folder)
    return draw_pairs(0, "multimnist", images, images, {"train": 60})


def same(one: Examples, other: Examples) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target_labels", [2, 300, 3000])
def test_no_source_digit_is_in_two_splits(seed: int, target_labels: int) -> None:
    used = {split: set(rows.ravel()) for split, rows in pairs_of(multimnist(target_labels=target_labels), seed).items()}
    assert set(used) == set(SPLITS)
    for one, other in combinations(SPLITS, 2):
        assert not used[one] & used[other], f"{one} and {other} share source digits"


def test_images_are_the_maximum_of_the_two_source_digits() -> None:
    suite, digits = multimnist(target_labels=60, **SMALL), mnist_digits()
    target = suite.draw(7)["left"]
    for split, rows in pairs_of(suite, 7).items():
        images = getattr(target, split).inputs
        for image, (left, right) in zip(images, rows, strict=False):
            expected = np.zeros((36, 36))
            expected[:28, :28] = digits.pixels[left]
            expected[8:, 8:] = np.maximum(expected[8:, 8:], digits.pixels[right])
            assert torch.equal(image, torch.tensor(expected / 255, dtype=torch.float32)[None])


@pytest.mark.parametrize("target", ["left", "right", "left_odd", "left_large"])
def test_labels_answer_the_task_for_the_source_digits(target: str) -> None:
    suite = multimnist(target=target, target_labels=60, auxiliary_labels=50, **SMALL)
    pairs, classes = pairs_of(suite, 1), mnist_digits().labels
    answers = {
        "left": lambda rows: [int(classes[left]) for left, _ in rows],
        "right": lambda rows: [int(classes[right]) for _, right in rows],
        "left_odd": lambda rows: [int(classes[left]) % 2 for left, _ in rows],
        "left_large": lambda rows: [int(classes[left] >= 5) for left, _ in rows],
    }
    for name, task in suite.draw(1).items():
        for split in SPLITS if name == target else ("train",):
            labels = getattr(task, split).labels
            assert labels.dtype == torch.int64
            assert labels.tolist() == answers[name](pairs[split][: len(labels)])


def test_auxiliaries_see_the_targets_train_overlays_and_no_others() -> None:
    suite = multimnist(target_labels=45, auxiliary_labels=50, auxiliaries=["right", "noise"], **SMALL)
    tasks = suite.draw(0)
    assert len(tasks["left"].train) == 30
    left, right = pairs_of(suite, 0)["train"].T
    expected = overlay(mnist_digits().pixels[left], mnist_digits().pixels[right], 36)
    for name in suite.task_names:
        task = tasks[name]
        assert torch.equal(task.train.inputs, expected[: len(task.train)])
    for name in suite.auxiliaries:
        assert len(tasks[name].train) == 50
        assert (tasks[name].dev, tasks[name].select, tasks[name].test) == (None, None, None)


def test_random_labels_say_nothing_about_the_digits() -> None:
    suite = multimnist(target="noise", auxiliaries=["left"])
    for seed in range(2):
        tasks = suite.draw(seed)
        noise, left = tasks["noise"].test.labels, mnist_digits().labels[pairs_of(suite, seed)["test"][:, 0]]
        assert sorted(set(noise.tolist())) == list(range(10))
        assert (noise.numpy() == left).mean() == pytest.approx(0.1, abs=0.03)
        train = tasks["noise"].train.labels
        assert (noise == train).float().mean() == pytest.approx(0.1, abs=0.03), "the splits have the same random labels"
    again = multimnist(target="left", auxiliaries=["noise"]).draw(1)["noise"].train.labels
    assert torch.equal(again[:2000], train)


@pytest.mark.parametrize("target", QUESTIONS)
def test_any_task_may_be_the_target(target: str) -> None:
    suite = multimnist(target=target, target_labels=30, **SMALL)
    assert suite.task_names[0] == suite.target == target
    assert set(suite.auxiliaries) == set(QUESTIONS) - {target, "noise"}
    tasks, model = suite.draw(0), suite.model()
    for name in suite.task_names:
        inputs, _ = tasks[name].train.batch(torch.arange(4))
        assert model(inputs, name).shape == (4, QUESTIONS[name].classes)


def test_one_seed_gives_the_same_data_and_another_seed_others() -> None:
    suite = multimnist(target_labels=60, auxiliaries=["right", "noise"], size=18, **SMALL)
    first, again, other = suite.draw(0), pickle.loads(pickle.dumps(suite)).draw(0), suite.draw(1)
    for name in suite.task_names:
        assert same(first[name].train, again[name].train)
        assert not torch.equal(first[name].train.inputs, other[name].train.inputs)
        assert not torch.equal(first[name].train.labels, other[name].train.labels)
    for split in ("dev", "select", "test"):
        assert same(getattr(first["left"], split), getattr(again["left"], split))
        assert not torch.equal(getattr(first["left"], split).inputs, getattr(other["left"], split).inputs)


def test_a_seeds_data_stay_the_same_from_version_to_version() -> None:
    digest = hashlib.sha256()
    for name, task in multimnist(target="noise", auxiliaries=["left", "left_odd"], **SMALL).draw(7).items():
        for split in SPLITS:
            if getattr(task, split) is not None:
                examples = getattr(task, split)
                digest.update(f"{name}{split}".encode() + examples.inputs.numpy().tobytes())
                digest.update(examples.labels.numpy().tobytes() + str(examples.labels.dtype).encode())
    assert digest.hexdigest() == "727be7b01019b70fb1e5ce3a5909c7820e2741cd1572c8ffdafc9d252daad00c"


def test_fewer_labels_are_the_first_of_more() -> None:
    few, many = (multimnist(target_labels=labels, **SMALL).draw(0)["left"] for labels in (15, 60))
    assert same(few.train, Examples(many.train.inputs[:10], many.train.labels[:10]))
    assert same(few.dev, Examples(many.dev.inputs[:5], many.dev.labels[:5]))
    assert same(few.select, many.select)
    assert same(few.test, many.test)


@pytest.mark.parametrize("labels", [2, 3, 40, 59, 60])
@pytest.mark.parametrize("dev_fraction", [0.05, 1 / 3, 0.9])
def test_the_target_has_exactly_its_labels(labels: int, dev_fraction: float) -> None:
    target = multimnist(target_labels=labels, dev_fraction=dev_fraction, **SMALL).draw(0)["left"]
    assert len(target.train) + len(target.dev) == labels
    assert (len(target.select), len(target.test)) == (30, 40)


def test_the_suite_travels_light() -> None:
    suite = multimnist()
    suite.draw(0)
    assert len(pickle.dumps(suite)) < 10_000


def test_options_are_the_factorys_arguments() -> None:
    suite = multimnist(target="right", auxiliaries=["left", "noise"], target_labels=300, size=18)
    again = multimnist(**suite.options)
    assert (again.options, again.task_names) == (suite.options, suite.task_names)
    assert all(torch.equal(again.draw(0)[name].train.labels, task.train.labels) for name, task in suite.draw(0).items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "lefty"}, "multimnist: unknown target 'lefty'; did you mean 'left'?"),
        ({"auxiliaries": ["rigth"]}, "multimnist: unknown auxiliary 'rigth'; did you mean 'right'?"),
        ({"auxiliaries": ["left"]}, "multimnist: 'left' is the target; name other tasks as auxiliaries"),
        ({"auxiliaries": ["right", "right"]}, "suite 'multimnist': task 'right' is listed twice; name each task once"),
        (
            {"auxiliaries": "noise"},
            "multimnist: auxiliaries must be a list of names such as [right, left_odd], not 'noise'",
        ),
        ({"size": 15}, "multimnist: size must be a whole number, 16 to 36, not 15"),
        ({"size": 37}, "multimnist: size must be a whole number, 16 to 36, not 37"),
        ({"dev_fraction": 1}, "multimnist: dev_fraction must be a number above 0 and below 1, not 1"),
        (
            {"target_labels": 3001},
            "multimnist: target_labels must be a whole number, 2 to 3000 (the largest is option train), not 3001",
        ),
        ({"select": 0}, "multimnist: select must be a whole number, 2 to 10000000, not 0"),
    ],
)
def test_wrong_options_are_one_line_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        multimnist(**options)
    assert str(caught.value) == message


def test_all_of_mnist_comes_from_a_folder_and_its_official_test_is_test(tmp_path: Path, write_idx: WriteIdx) -> None:
    labels = np.arange(100) % 10
    dark, bright = (np.full((count, 28, 28), value) for count, value in ((100, 100), (50, 255)))
    write_idx(tmp_path, dark, labels, bright, labels[:50])
    suite = multimnist(data_dir=str(tmp_path), target_labels=60, **SMALL)
    assert suite.options["data_dir"] == str(tmp_path)
    target = suite.draw(0)["left"]
    for split in SPLITS:
        brightest = (getattr(target, split).inputs * 255).amax(dim=(1, 2, 3)).round()
        assert set(brightest.tolist()) == {255.0 if split == "test" else 100.0}
    sources = pairs_of_folder(tmp_path)
    assert target.train.labels.tolist() == labels[sources["train"][:40, 0]].tolist()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    suite = multimnist(data_dir=tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere: no such folder; name one that holds train-images-idx3-ubyte"):
        suite.draw(0)


def test_a_target_may_stand_alone() -> None:
    assert multimnist(auxiliaries=[]).task_names == ("left",)


def test_the_target_is_learned_from_300_labels(learn) -> None:
    suite = multimnist(target_labels=300, size=18)
    assert 0.75 < learn(suite, seed=0, tasks=["left"]) < 0.95


def test_random_labels_cannot_be_learned(learn) -> None:
    suite = multimnist(target="noise", auxiliaries=[], target_labels=300, size=18)
    assert 0.05 < learn(suite, seed=0, tasks=["noise"], steps=100) < 0.15


def test_a_share_of_an_auxiliarys_labels_can_be_random_and_nothing_else_changes() -> None:
    clean = multimnist(size=18, train=2000, select=30, test=40)
    noisy = multimnist(size=18, train=2000, select=30, test=40, random_labels={"right": 0.2})
    before, after = clean.draw(3), noisy.draw(3)
    changed = (before["right"].train.labels != after["right"].train.labels).float().mean()
    assert 0.15 < changed < 0.21, "a random label is the right one in a tenth of the cases"
    for task in ("left", "left_odd", "left_large"):
        assert same(before[task].train, after[task].train)
    assert noisy.options["random_labels"] == {"right": 0.2}


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"rigth": 0.2}, "multimnist: random_labels: unknown auxiliary 'rigth'; did you mean 'right'?"),
        ({"left": 0.2}, "multimnist: random_labels: unknown auxiliary 'left'; did you mean 'left_odd'?"),
        ({"right": 1.5}, "multimnist: random_labels: right must be a share from 0 to 1, not 1.5"),
    ],
)
def test_wrong_shares_of_random_labels_are_one_line(shares: dict[str, float], said: str) -> None:
    with pytest.raises(UserError) as caught:
        multimnist(random_labels=shares)
    assert str(caught.value) == said
