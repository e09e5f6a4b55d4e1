import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.suites.files.label_columns import read_labels
from avil_ray.suites.files.splits import Division, divided, named_splits
from avil_ray.suites.files.table import Table, one_source
from avil_ray.tasks.checks import SPLITS

COUNT = 600


def table(values: list | None = None, **columns: list) -> Table:
    columns = {"label": values or ["a", "b", "c", "a", "a", "b"] * (COUNT // 6), **columns}
    return one_source("a.csv", columns, np.arange(1, len(columns["label"]) + 1))


def split(rows: Table, keys=None, given=None, seed: int = 0, **division):
    keys = np.arange(len(rows)) if keys is None else keys
    labels = read_labels(rows, "label", None)
    return divided(rows, keys, labels, given, Division(**division), np.random.default_rng(seed))


def test_every_row_is_in_one_split_and_each_has_the_labels_shares():
    rows = table()
    labels, parts = read_labels(rows, "label", None), split(rows)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(COUNT))
    assert {name: len(part) for name, part in parts.items()} == {"train": 240, "dev": 120, "select": 120, "test": 120}
    for name, part in parts.items():
        assert np.abs(labels.counts(part) / len(part) - [1 / 2, 1 / 3, 1 / 6]).max() < 0.02, name


def test_the_seed_decides_and_nothing_else():
    one, again, other = split(table()), split(table()), split(table(), seed=1)
    for name in SPLITS:
        assert np.array_equal(one[name], again[name])
        assert not np.array_equal(one[name], other[name])


def test_equal_texts_are_in_one_split():
    keys = np.arange(COUNT) % 50
    parts = split(table(), keys)
    groups = [set(keys[part].tolist()) for part in parts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 50


@pytest.mark.parametrize("rare", [1, 2, 3])
@pytest.mark.parametrize("labels", [None, 30])
def test_a_rare_label_is_learned_whatever_the_seed(rare, labels):
    values = ["rare"] * rare + ["a", "b"] * 100
    for seed in range(10):
        parts = split(table(values), seed=seed, target_labels=labels)
        assert np.isin(parts["train"], np.arange(rare)).any()


def test_sizes_are_those_asked_for():
    parts = split(table(), target_labels=90, dev_fraction=0.5, select_fraction=0.1, test_fraction=0.3)
    assert {name: len(part) for name, part in parts.items()} == {"train": 45, "dev": 45, "select": 60, "test": 180}


def test_large_files_have_no_larger_splits_than_are_of_use():
    parts = split(table(["a", "b"] * 60_000))
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 107_000,
        "dev": 1000,
        "select": 2000,
        "test": 10_000,
    }


def test_given_splits_are_kept_and_the_others_come_off_train():
    given = np.where(np.arange(COUNT) < 100, SPLITS.index("test"), 0)
    parts = split(table(), given=given)
    assert sorted(parts["test"].tolist()) == list(range(100))
    assert {name: len(part) for name, part in parts.items()} == {"train": 253, "dev": 127, "select": 120, "test": 100}
    every = np.arange(COUNT) % 4
    parts = split(table(), given=every)
    assert all(
        sorted(parts[name].tolist()) == np.flatnonzero(every == index).tolist() for index, name in enumerate(SPLITS)
    )


def test_the_same_text_in_two_given_splits_is_refused():
    keys, given = np.arange(COUNT), np.arange(COUNT) % 4
    keys[[5, 6]] = keys[[8, 8]]
    with pytest.raises(UserError, match=r"row 9: is in train, but its text is also in dev \(a.csv, row 6\), "):
        split(table(), keys, given)


def test_a_label_outside_of_train_alone_is_refused():
    values = ["a", "b"] * 20 + ["c"]
    given = np.array([0] * 20 + [3] * 21)
    with pytest.raises(UserError, match=r"a\.csv, row 41: label 'c' is in test, but in no training row"):
        split(table(values), given=given)


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        (["train", "dev", "validation", "test"], {}, [0, 1, 2, 3]),
        (["Training", "dev ", "VAL", "Test"], {}, [0, 1, 2, 3]),
        ([2019, 2020, 2021, 2022], {"train": ["2019", "2020"], "select": ["2021"], "test": ["2022"]}, [0, 0, 2, 3]),
    ],
)
def test_a_column_says_the_split(values, names, expected):
    assert named_splits(table(["a", "b", "a", "b"], part=values), "part", names).tolist() == expected


@pytest.mark.parametrize("names", [{}, {"train": ["train"]}])
def test_a_value_that_is_no_split_is_refused(names):
    with pytest.raises(UserError, match=r"a\.csv, row 2: column 'part': unknown split 'holdout'"):
        named_splits(table(["a", "b"], part=["train", "holdout"]), "part", names)


@pytest.mark.parametrize(
    ("division", "message"),
    [
        ({"target_labels": 1}, "target_labels must be a whole number, 2 or more"),
        ({"dev_fraction": 1}, "dev_fraction must be a number above 0 and below 1"),
        ({"select_fraction": 0}, "select_fraction must be"),
        ({"test_fraction": "a"}, "test_fraction must be"),
    ],
)
def test_a_wrong_size_is_refused(division, message):
    with pytest.raises(UserError, match=message):
        Division(**division)
