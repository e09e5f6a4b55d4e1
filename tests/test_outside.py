"""The suites outside: tables as the package ships them, splits that share no row, and search spaces that are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avil_ray.catalog import build_suite
from avil_ray.spaces.search_space import problems

ROOT = Path(__file__).parents[1]
TASKS = {
    "segments": ("shows", "nature", "plant", "lower", "noise"),
    "phishing": ("phishing", "request_from_other_domain", "anchor_from_other_domain", "age_of_domain", "noise"),
    "digits": ("prime", "odd", "loops", "wrong", "noise"),
    "cancer": ("malignant", "large_0", "large_5", "large_21", "noise"),
}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command line stands: in the project's folder, which is looked into for factories."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)


@pytest.mark.parametrize("name", ["segments", "phishing"])
def test_a_search_space_is_right(name):
    assert problems(ROOT / f"search_spaces/results_{name}.yaml") == []


@pytest.mark.parametrize(
    ("name", "labels", "sizes"),
    [
        ("segments", 70, (340, 1022, 400)),
        ("phishing", 60, (208, 625, 357)),
        ("digits", 70, (299, 898, 400)),
        ("cancer", 30, (94, 284, 161)),
    ],
)
def test_every_task_has_the_examples_that_it_should(name, labels, sizes):
    suite = build_suite({"factory": f"benchmarks.outside:{name}"})
    tasks = suite.draw(0)
    target = tasks[suite.target]
    assert suite.task_names == TASKS[name]
    assert (len(target.train) + len(target.dev), len(target.dev)) == (labels, labels // 3)
    (of_auxiliaries,) = {len(tasks[task].train) for task in TASKS[name][1:]}
    assert (len(target.select), len(target.test), of_auxiliaries) == sizes


def test_what_a_patch_shows_decides_whether_it_is_nature_and_a_plant():
    from benchmarks.outside import read_segments

    table = read_segments()
    found = {*zip(*(table.classes[task].tolist() for task in ("shows", "nature", "plant")), strict=True)}
    # in the order of the alphabet: brickface, cement, foliage, grass, path, sky, window
    assert found == {*zip(range(7), [0, 0, 1, 1, 0, 1, 0], [0, 0, 1, 1, 0, 0, 0], strict=True)}
    assert table.inputs.shape == (2045, 16)
    assert abs(table.classes["lower"].mean() - 0.5) < 0.02


def test_no_two_patches_are_alike():
    from benchmarks.outside import read_segments

    inputs = read_segments().inputs
    assert len(np.unique(inputs, axis=0)) == len(inputs)


def test_no_row_is_in_two_places_and_inputs_are_scaled_by_what_is_learned_from():
    from benchmarks import outside

    count = 900
    numbered = outside.Table(
        np.arange(count, dtype=np.float64)[:, None], {"a": np.arange(count) % 3, "b": np.arange(count) % 2}
    )
    target, *auxiliaries = outside._tasks(0, table=numbered, target_labels=60)
    splits = {split: getattr(target, split) for split in ("train", "dev", "select", "test")}
    scaled = {split: examples.inputs[:, 0].double().numpy() for split, examples in splits.items()}
    auxiliary = np.unique(np.concatenate([task.train.inputs[:, 0].double().numpy() for task in auxiliaries]))
    learned = np.concatenate([scaled["train"], scaled["dev"], auxiliary])
    assert (len(learned), abs(learned.mean()) < 1e-6, abs(learned.std() - 1) < 1e-6) == (300, True, True)

    everywhere = np.sort(np.concatenate([learned, scaled["select"], scaled["test"]]))
    step = (everywhere[-1] - everywhere[0]) / (count - 1)
    rows = {split: np.rint((inputs - everywhere[0]) / step).astype(int) for split, inputs in scaled.items()}
    assert np.allclose(np.diff(everywhere), step, atol=1e-5)  # each row once, none left out
    assert splits["test"].labels.tolist() == (rows["test"] % 3).tolist()
    noise = auxiliaries[-1].train
    assert noise.labels.tolist() != (np.rint((noise.inputs[:, 0].numpy() - everywhere[0]) / step) % 3).tolist()


def test_a_seed_draws_the_same_examples_again_and_another_seed_others():
    suite = build_suite({"factory": "benchmarks.outside:phishing"})
    first, again, other = (suite.draw(seed)["phishing"].train.inputs for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize("name", ["segments", "phishing"])
def test_all_auxiliaries_may_be_noise_on_the_same_inputs_and_the_target_stays(name):
    factory = f"benchmarks.outside:{name}"
    usual, noisy = (build_suite({"factory": factory, "all_noise": given}).draw(3) for given in (False, True))
    first = TASKS[name][0]
    assert usual[first].train.labels.equal(noisy[first].train.labels)
    for task in TASKS[name][1:]:
        assert usual[task].train.inputs.equal(noisy[task].train.inputs)
        agree = (usual[task].train.labels == noisy[task].train.labels).double().mean().item()
        assert abs(agree - 1 / (int(usual[task].train.labels.max()) + 1)) < 0.11
