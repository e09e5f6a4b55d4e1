from itertools import combinations

import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.suites.partition import Parts, Shares, partition

COUNT = 400
SPLITS = ("train", "dev", "select", "test")


def labels(share: float = 0.1, unknown: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(3)
    values = (random.random(COUNT) < share).astype(np.float32)
    values[random.random(COUNT) < unknown] = np.nan
    return values


def divide(
    target: np.ndarray, groups: np.ndarray | None = None, seed: int = 0, wanted: int | None = None, **options: object
) -> Parts:
    shares = Shares(select=0.2, test=0.3, target_labels=wanted, dev=0.25)
    groups = np.arange(COUNT) if groups is None else groups
    return partition(target, groups, shares, np.random.default_rng(seed), **options)


def rows(parts: Parts) -> dict[str, set[int]]:
    return {split: set(getattr(parts, split).tolist()) for split in SPLITS}


def test_every_example_is_in_one_split() -> None:
    parts = divide(labels())
    assert sum(len(found) for found in rows(parts).values()) == len(set.union(*rows(parts).values())) == COUNT
    sizes = {split: len(found) for split, found in rows(parts).items()}
    assert sizes == {"train": 150, "dev": 50, "select": 80, "test": 120}
    assert set(parts.shared) == rows(parts)["train"]


def test_the_targets_classes_are_as_frequent_in_select_and_test_as_in_all() -> None:
    target = labels(share=0.05)
    for seed in range(5):
        parts = divide(target, seed=seed)
        assert target[parts.select].sum() == round(0.2 * target.sum())
        assert target[parts.test].sum() == round(0.3 * target.sum())


@pytest.mark.parametrize("wanted", [None, 60])
def test_no_group_is_in_two_splits(wanted: int | None) -> None:
    groups = np.random.default_rng(0).integers(1000, 1080, size=COUNT)
    for seed in range(5):
        parts = divide(labels(0.2, unknown=0.3), groups, seed, wanted)
        used = {split: set(groups[list(found)]) for split, found in rows(parts).items()}
        used["shared"] = set(groups[parts.shared])
        for one, other in combinations(used, 2):
            assert not used[one] & used[other] or {one, other} == {"train", "shared"}
        assert used["train"] <= used["shared"]
        if wanted:
            assert len(parts.train) + len(parts.dev) == wanted


def test_the_target_has_only_examples_whose_label_is_known() -> None:
    target = labels(unknown=0.5)
    parts = divide(target)
    for found in rows(parts).values():
        assert not np.isnan(target[list(found)]).any()
    assert np.isnan(target[parts.shared]).any(), "others may learn from them"


def test_fewer_labels_are_among_more_and_leave_select_and_test_alone() -> None:
    target = labels(unknown=0.2)
    few, many = divide(target, wanted=20), divide(target, wanted=100)
    assert (len(few.train), len(few.dev)) == (15, 5)
    assert np.array_equal(few.train, many.train[:15])
    assert set(few.dev) <= set(many.dev)
    assert np.array_equal(few.select, many.select)
    assert np.array_equal(few.test, many.test)


def test_each_seed_divides_anew() -> None:
    one, other = (set(divide(labels(), seed=seed).test) for seed in (0, 1))
    assert len(one & other) / len(one) == pytest.approx(0.3, abs=0.12)


def test_an_official_test_is_the_test_and_what_is_in_no_list_is_left_out() -> None:
    place = np.arange(COUNT) % 4  # 0 and 1 learn, 2 test, 3 neither
    parts = divide(labels(), official=(place < 2, place == 2))
    assert set(parts.test) == set(np.flatnonzero(place == 2))
    assert len(parts.select) == pytest.approx(0.2 * 200, abs=1)
    assert rows(parts)["train"] | rows(parts)["dev"] | rows(parts)["select"] == set(np.flatnonzero(place < 2))


def test_a_group_in_both_official_parts_is_refused() -> None:
    groups, learn = np.arange(COUNT) // 2, np.arange(COUNT) != 7
    with pytest.raises(UserError, match="the official lists put rows 7, 8 of one group into both parts"):
        divide(labels(), groups, official=(learn, ~learn))


def test_more_labels_than_there_are_is_an_error() -> None:
    with pytest.raises(UserError, match=r"target_labels must be 2 to 200 .*, not 201"):
        divide(labels(), wanted=201)
    assert len(divide(labels(), wanted=200).train) == 150


def test_a_train_split_that_would_be_empty_is_an_error() -> None:
    groups = np.repeat([0, 1, 2, 3], COUNT // 4)  # one group is left to learn from, and dev takes it whole
    with pytest.raises(UserError, match="train split would be empty, as its groups are too large"):
        partition(
            np.zeros(COUNT, np.float32),
            groups,
            Shares(select=0.25, test=0.5, target_labels=None, dev=0.25),
            np.random.default_rng(0),
        )
