from itertools import combinations

import numpy as np
import pytest

from avil_ray.suites.held_out import cut, text_key, text_keys, without


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("counts", [(0,), (7,), (10, 20, 5), (200, 50), (1000,)])
def test_parts_share_no_group_and_have_as_many_as_asked(seed: int, counts: tuple[int, ...]) -> None:
    groups = np.random.default_rng(seed).integers(60, size=300) * 1000
    parts = cut(groups, counts, np.random.default_rng(seed))
    assert len(parts) == len(counts) + 1
    for part, count in zip(parts, counts, strict=False):
        assert len(part) == min(count, 300)
    for one, other in combinations(parts, 2):
        assert not set(groups[one]) & set(groups[other])
    every = np.concatenate(parts)
    assert len(set(every)) == len(every)


def test_nothing_is_lost_where_every_example_is_its_own_group() -> None:
    parts = cut(np.arange(50), (10, 15), np.random.default_rng(0))
    assert [len(part) for part in parts] == [10, 15, 25]
    assert sorted(np.concatenate(parts)) == list(range(50))


def test_the_rest_mixes_groups() -> None:
    *_, rest = cut(np.repeat(np.arange(40), 25), (100,), np.random.default_rng(0))
    assert len(set((rest[:100] // 25).tolist())) > 20


def test_there_may_be_nothing_to_cut() -> None:
    assert [len(part) for part in cut(np.array([], dtype=np.int64), (3,), np.random.default_rng(0))] == [0, 0]


def test_texts_differ_by_letters_and_digits_only() -> None:
    assert text_key("It's  GOOD, no?") == text_key("its good no")
    assert text_key("Café_1") == text_key("café 1")
    assert text_key("good 1") != text_key("good 2")
    assert text_key("!!!") != text_key("???")
    assert len(set(text_keys(["a", "A", "b"]).tolist())) == 2


def test_rows_with_any_held_out_key_go() -> None:
    keys = np.array([[1, 2], [3, 4], [5, 1], [6, 7]])
    assert without(keys, np.array([1, 4])).tolist() == [3]
    assert without(keys[:, 0], np.array([1, 4])).tolist() == [1, 2, 3]
