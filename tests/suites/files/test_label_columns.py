from decimal import Decimal

import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.suites.files.label_columns import read_labels
from avil_ray.suites.files.labels import Labels
from avil_ray.suites.files.table import Table, one_source
from avil_ray.suites.files.tags import read_tags


def table(**columns: list) -> Table:
    count = len(next(iter(columns.values())))
    return one_source("a.csv", columns, np.arange(1, count + 1))


def labels(values: list, kind=None, **more) -> Labels:
    return read_labels(table(label=values), "label", kind, **more)


@pytest.mark.parametrize(
    ("values", "names", "numbers"),
    [
        (["no", "yes", "no"], ("no", "yes"), [0, 1, 0]),
        ([" yes", "no ", "yes"], ("no", "yes"), [1, 0, 1]),
        (["10", "9", "10"], ("9", "10"), [1, 0, 1]),
        ([10, 9, -1], ("-1", "9", "10"), [2, 1, 0]),
        ([1.0, 2.0, 1.0], ("1", "2"), [0, 1, 0]),
        (["1.0", "2", "1"], ("1", "2"), [0, 1, 0]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
        (["007", "7a", "007"], ("007", "7a"), [0, 1, 0]),
        (["良い", "悪い", "良い"], ("悪い", "良い"), [1, 0, 1]),
        (["e5", "1e5x", "."], (".", "1e5x", "e5"), [2, 1, 0]),
    ],
)
def test_words_and_few_whole_numbers_are_classes_in_a_stable_order(values, names, numbers):
    found = labels(values)
    assert (found.kind, found.names, found.values.tolist()) == ("classes", names, numbers)
    assert found.values.dtype == np.int64
    assert found.note.startswith("classes, as labels are")
    assert labels(values, "classes").note == ""


def test_numbers_with_a_fraction_are_a_regression_and_it_is_said():
    found = labels(["1.5", "2", "-.5e1"])
    assert (found.kind, found.names, found.values.tolist()) == ("regression", (), [1.5, 2.0, -5.0])
    assert found.values.dtype == np.float32
    assert found.note == "regression, as labels are numbers with a fraction"


def test_whole_numbers_are_a_regression_where_it_is_asked_for():
    assert labels([1, 2, 3], "regression").values.tolist() == [1, 2, 3]


def test_decimal_numbers_of_databases_are_numbers():
    found = labels([Decimal("1.25"), Decimal("2.50"), Decimal("3.00")])
    assert found.kind == "regression"
    assert found.values.tolist() == [1.25, 2.5, 3.0]


def test_words_and_numbers_are_names_where_classes_are_asked_for():
    with pytest.raises(UserError, match="mixes words and numbers"):
        labels(["1", "2", "more"])
    assert labels(["2", "more", "10"], "classes").names == ("2", "10", "more")


@pytest.mark.parametrize(
    ("values", "more"),
    [
        ([["b"], ["a", "b"], []], {}),
        ([["b"], ["a", "b"], []], {"kind": "multi-label"}),
        (["b", "a|b", ""], {"kind": "multi-label"}),
        (["b", " b ; a", ""], {"kind": "multi-label", "separator": ";"}),
    ],
)
def test_several_labels_at_once(values, more):
    found = labels(values, **more)
    assert (found.kind, found.names) == ("multi-label", ("a", "b"))
    assert found.values.tolist() == [[0, 1], [1, 1], [0, 0]]
    assert found.values.dtype == np.float32
    assert bool(found.note) == (not more)


@pytest.mark.parametrize("one", ["1", 1, True, "true", 1.0, "1.0"])
def test_several_columns_are_several_labels(one):
    found = read_labels(table(spam=[one, "0", 0], urgent=[one, one, False]), ["spam", "urgent"], None)
    assert (found.kind, found.names) == ("multi-label", ("spam", "urgent"))
    assert found.values.tolist() == [[1, 1], [0, 1], [0, 0]]


@pytest.mark.parametrize("value", ["", None, "2", "yes"])
def test_label_columns_hold_nothing_but_0_and_1(value):
    with pytest.raises(UserError, match=r"a\.csv, row 2: label 'urgent' .*must hold 0 or 1"):
        read_labels(table(spam=["1", "0"], urgent=["1", value]), ["spam", "urgent"], None)


@pytest.mark.parametrize(("value", "stands"), [("a", "all 2 rows"), ("b", "all 2 rows")])
def test_a_label_that_says_nothing_is_refused(value, stands):
    with pytest.raises(UserError, match=f"label '{value}' stands in {stands}; leave it out"):
        labels([[value], [value, "c"]])


def test_lists_are_no_classes():
    with pytest.raises(UserError, match="row 1: label 'label' is a list, but kind is classes; give kind: multi-label"):
        labels([["a"], ["b"]], "classes")


@pytest.mark.parametrize("words", [["the cat", "a"], [["the", "cat"], ["a"]]])
@pytest.mark.parametrize("tags", [["O B", "O"], [["O", "B"], ["O"]]])
def test_tags_are_a_label_for_each_word(words, tags):
    sentences, found = read_tags(table(words=words, tags=tags), "words", "tags")
    assert sentences == [["the", "cat"], ["a"]]
    assert (found.kind, found.names) == ("tokens", ("B", "O"))
    assert (found.values.tolist(), found.ends.tolist()) == ([1, 0, 1], [2, 3])


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        ([["a"], ["b"]], [["O"], ["O", "B"]], "row 2: 'words' has 1 words, but 'tags' has 2 labels"),
        ([["a"], []], [["O"], []], "row 2: 'words' is empty"),
        ([["a"], [None]], [["O"], ["O"]], r"row 2: 'words' is \[None\]"),
        ([["a"], ["b"]], [["O"], None], "row 2: 'tags' is empty"),
        ([["a"], ["b"]], [["O"], ["O"]], "label 'tags' is 'O' for all words"),
    ],
)
def test_a_wrong_row_of_words_is_named(words, tags, message):
    with pytest.raises(UserError, match=message):
        read_tags(table(words=words, tags=tags), "words", "tags")


def test_counts_and_strata():
    assert labels(["b", "a", "b"]).counts(np.array([0, 1])).tolist() == [1, 1]
    several = labels([["a", "b"], ["a"], ["a", "c"], [], ["a"]])
    assert several.counts(np.array([0, 3])).tolist() == [1, 1, 0]
    strata = several.strata()
    assert strata[1] == strata[4]
    assert len(set(strata.tolist())) == 4
    _, tags = read_tags(table(words=["a b", "c"], tags=["O B", "O"]), "words", "tags")
    assert tags.counts(np.array([1])).tolist() == [0, 1]
    assert tags.counts(np.array([0])).tolist() == [1, 1]
    assert len(set(tags.strata().tolist())) == 2
    assert set(labels([0.5, 1.5]).strata().tolist()) == {0}
