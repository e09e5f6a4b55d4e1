from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avil_ray.suites.overlay import Question, draw_pairs, overlay, split_sources
from avil_ray.suites.sources import Images, mnist_digits

PAIRS = np.array([[0, 4999], [1234, 777]])


def images(count: int, official_test: int = 0) -> Images:
    return Images(np.zeros((count, 28, 28), np.uint8), np.arange(count) % 10, official_test)


def overlaid(size: int) -> torch.Tensor:
    left, right = (mnist_digits().pixels[rows] for rows in PAIRS.T)
    return overlay(left, right, size)


def test_a_question_has_as_many_classes_as_answers() -> None:
    assert Question("left", (0, 1, 1, 0)).classes == 2
    assert Question(None, tuple(range(10))).classes == 10


def test_each_seed_splits_the_sources_anew() -> None:
    one, other = (set(split_sources(images(5000), seed, "sources")["test"]) for seed in (0, 1))
    assert len(one) == len(other) == 1250
    assert len(one & other) / 1250 == pytest.approx(0.25, abs=0.05)


def test_the_splits_have_their_shares_and_no_picture_in_common() -> None:
    parts = split_sources(images(200), 0, "sources")
    assert {split: len(rows) for split, rows in parts.items()} == {"train": 100, "dev": 20, "select": 30, "test": 50}
    assert len(set(np.concatenate(list(parts.values())))) == 200


def test_an_official_test_is_the_test_and_the_other_splits_share_the_rest() -> None:
    parts = split_sources(images(200, official_test=50), 0, "sources")
    assert {split: len(rows) for split, rows in parts.items()} == {"train": 100, "dev": 20, "select": 30, "test": 50}
    assert set(parts["test"]) == set(range(150, 200))
    assert set(np.concatenate([parts[split] for split in ("train", "dev", "select")])) == set(range(150))
    assert parts["test"].tolist() != list(range(150, 200)), "not shuffled"


def test_a_split_uses_its_pictures_evenly_on_both_sides() -> None:
    source = images(5000)
    rows = draw_pairs(0, "suite", source, source, {"test": 3000})["test"]
    for side in rows.T:
        _, times = np.unique(side, return_counts=True)
        assert len(times) == 1250
        assert set(times) == {2, 3}


def test_two_sources_of_different_size_make_pairs() -> None:
    few, many = images(40), images(4000, official_test=1000)
    counts = {"train": 60, "dev": 10, "select": 30, "test": 40}
    pairs = draw_pairs(0, "suite", few, many, counts)
    assert {split: len(rows) for split, rows in pairs.items()} == counts
    for side, source in enumerate((few, many)):
        used = {split: set(rows[:, side]) for split, rows in pairs.items()}
        assert max(map(max, used.values())) < len(source)
        for one, other in combinations(used, 2):
            assert not used[one] & used[other]
    assert set(np.bincount(pairs["train"][:, 0])) == {0, 3}, "each of 20 train pictures three times"


def test_another_suite_draws_other_pairs() -> None:
    source = images(100)
    one, other = (draw_pairs(0, name, source, source, {"train": 50})["train"] for name in ("one", "other"))
    assert not np.array_equal(one, other)


def test_fewer_pairs_are_the_first_of_more() -> None:
    source, other = images(100), images(70)
    for right in (source, other):
        few, many = (draw_pairs(0, "suite", source, right, {"train": count})["train"] for count in (20, 300))
        assert np.array_equal(few, many[:20])


def test_halving_is_the_mean_of_four_pixels() -> None:
    blocks = overlaid(36).reshape(2, 1, 18, 2, 18, 2).mean(dim=(3, 5))
    assert torch.allclose(overlaid(18), blocks, atol=1e-6)


@pytest.mark.parametrize("size", [16, 18, 25, 36])
def test_scaling_is_by_areas(size: int) -> None:
    scaled = overlaid(size)
    assert scaled.shape == (2, 1, size, size)
    assert scaled.dtype == torch.float32
    assert torch.allclose(scaled, F.interpolate(overlaid(36), (size, size), mode="area"))
    assert 0 <= scaled.min() < scaled.max() <= 1
