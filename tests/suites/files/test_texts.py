import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.suites.files.table import Table, one_source
from avil_ray.suites.files.texts import Keys, keys_of, read_texts


def table(**columns: list) -> Table:
    count = len(next(iter(columns.values())))
    return one_source("a.csv", columns, np.arange(1, count + 1))


def keys(rows: Table, *groups: list[str]) -> Keys:
    return keys_of(rows, [read_texts(rows, group) for group in groups], [name for group in groups for name in group])


def test_columns_are_joined_and_empty_ones_left_out():
    rows = table(subject=["Hello", "", None], body=["world", "alone", "none"])
    assert read_texts(rows, ["subject", "body"]) == ["Hello\nworld", "alone", "none"]


@pytest.mark.parametrize("empty", ["", "  ", None, float("nan")])
def test_a_row_without_text_is_refused(empty):
    with pytest.raises(UserError, match=r"a\.csv, row 2: text 'body' is empty \(2 of 3 rows have none\)"):
        read_texts(table(body=["a", empty, empty]), ["body"])


def test_rows_are_equal_where_all_their_texts_are():
    alone = keys(table(body=["One, two!", "one two", "one"]), ["body"]).rows()
    assert alone[0] == alone[1] != alone[2]
    pairs = keys(table(a=["x", "X", "x"], b=["y", "y!", "z"]), ["a"], ["b"]).rows()
    assert pairs[0] == pairs[1] != pairs[2]


def test_japanese_texts_have_keys_of_their_own():
    assert len(set(keys(table(body=["猫が好き。", "犬が好き。", "猫が好き"]), ["body"]).rows().tolist())) == 2


@pytest.mark.parametrize(
    ("target", "auxiliary", "overlap"),
    [
        ({"body": ["a text"]}, {"body": ["A text!", "another"]}, [0]),
        ({"subject": ["re"], "body": ["a text"]}, {"body": ["a text", "re a text", "re", "other"]}, [0, 1, 2]),
        ({"body": ["a text"]}, {"subject": ["re", "re"], "body": ["a text", "b"]}, [0]),
        ({"subject": ["re"], "body": ["a text"]}, {"subject": ["re", "re"], "body": ["b", "a text"]}, [1]),
    ],
)
def test_an_overlap_is_a_text_that_is_one_of_the_other_or_a_part_of_one(target, auxiliary, overlap):
    one, other = (keys(table(**columns), list(columns)) for columns in (target, auxiliary))
    assert other.overlap(one, np.array([0])).tolist() == overlap
    assert other.overlap(one, np.array([], dtype=np.int64)).tolist() == []


def test_either_text_of_a_pair_may_overlap():
    pairs = keys(table(a=["x", "y", "z"], b=["1", "2", "x"]), ["a"], ["b"])
    assert pairs.overlap(keys(table(body=["X"]), ["body"]), np.array([0])).tolist() == [0, 2]
