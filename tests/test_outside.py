"""The suites outside: tables as the package ships them, splits that share no row, and search spaces that are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avil_ray.catalog import build_suite
from avil_ray.sweeps.search_space import problems

ROOT = Path(__file__).parents[1]
TASKS = {
    "segments": ("shows", "nature", "plant", "lower", "noise"),
    "phishing": ("phishing", "request_from_other_domain", "anchor_from_other_domain", "age_of_domain", "noise"),
}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command line stands: in the project's folder, which is looked into for factories."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)


@pytest.mark.parametrize("name", TASKS)
def test_a_search_space_is_right(name):
    assert problems(ROOT / f"search_spaces/results_{name}.yaml") == []


@pytest.mark.parametrize(
    ("name", "labels", "sizes"), [("segments", 70, (385, 1155, 400)), ("phishing", 60, (208, 625, 357))]
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
    assert table.inputs.shape == (2310, 16)
    assert abs(table.classes["lower"].mean() - 0.5) < 0.02


@pytest.mark.parametrize("name", TASKS)
def test_every_input_has_mean_0_and_variance_1(name):
    from benchmarks import outside

    inputs = {"segments": outside.read_segments, "phishing": outside.read_phishing}[name]().inputs.astype(np.float64)
    assert np.abs(inputs.mean(0)).max() < 1e-6
    assert np.abs(inputs.std(0) - 1).max() < 1e-6


def test_no_row_is_in_two_places():
    from benchmarks import outside

    count = 900
    numbered = outside.Table(
        np.arange(count, dtype=np.float32)[:, None], {"a": np.arange(count) % 3, "b": np.arange(count) % 2}
    )
    target, *auxiliaries = outside._tasks(0, table=numbered, target_labels=60)
    rows = {split: {*getattr(target, split).inputs[:, 0].tolist()} for split in ("train", "dev", "select", "test")}
    rows["auxiliaries"] = {row for task in auxiliaries for row in task.train.inputs[:, 0].tolist()}
    assert sum(map(len, rows.values())) == len(set.union(*rows.values()))
    assert [int(label) for label in target.test.labels] == [int(row) % 3 for row in target.test.inputs[:, 0]]
    noise = auxiliaries[-1].train
    assert [int(label) for label in noise.labels] != [int(row) % 3 for row in noise.inputs[:, 0]]


def test_a_seed_draws_the_same_examples_again_and_another_seed_others():
    suite = build_suite({"factory": "benchmarks.outside:phishing"})
    first, again, other = (suite.draw(seed)["phishing"].train.inputs for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)
