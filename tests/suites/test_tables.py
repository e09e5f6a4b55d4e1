import gzip
from pathlib import Path

import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.suites.files.delimited import read_delimited
from avil_ray.suites.tables import read_answers, read_features, task_name, yeast_file

CSV = """width,height,rain,snow,who
1,2.5,1,0,ann
3,,0,,bob
5,6,1,1,ann
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weather.csv"
    path.write_text(CSV)
    return path


def test_yeast_is_2417_genes_with_14_labels() -> None:
    table = read_delimited(yeast_file(), None)
    labels = [name for name in table.columns if name.startswith("Class")]
    features = [name for name in table.columns if name not in labels]
    answers = read_answers(table, labels, None)
    counts = [762, 1038, 983, 862, 722, 597, 428, 480, 178, 253, 289, 1816, 1799, 34]
    assert answers.values.sum(axis=0).tolist() == counts
    assert answers.names == tuple(f"Class{number}" for number in range(1, 15))
    assert len(set(answers.groups)) == 2417
    assert read_features(table, features).shape == (2417, 103)


def test_columns_of_labels_may_have_gaps(file: Path) -> None:
    answers = read_answers(read_delimited(file, None), ["rain", "snow"], None)
    assert answers.names == ("rain", "snow")
    np.testing.assert_array_equal(answers.values, [[1, 0], [0, np.nan], [1, 1]])
    np.testing.assert_array_equal(answers.of("snow"), [0, np.nan, 1])
    assert answers.values.dtype == np.float32


def test_truth_values_with_gaps_are_labels(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\nTrue,1\n,0\nFalse,1\n")
    np.testing.assert_array_equal(read_answers(read_delimited(file, None), ["a"], None).values[:, 0], [1, np.nan, 0])


def test_one_column_may_name_the_labels(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("x,found\n1,Mass|Effusion\n2,No Finding\n3,\n4,None\n5, Effusion \n")
    answers = read_answers(read_delimited(file, None), "found", None)
    assert answers.names == ("Effusion", "Mass")
    np.testing.assert_array_equal(answers.values, [[1, 1], [0, 0], [np.nan, np.nan], [0, 0], [1, 0]])


def test_examples_of_one_group_have_one_number(file: Path) -> None:
    groups = read_answers(read_delimited(file, None), ["rain"], "who").groups
    assert groups[0] == groups[2] != groups[1]


def test_empty_cells_of_inputs_are_nan(file: Path) -> None:
    numbers = read_features(read_delimited(file, None), ["width", "height"])
    np.testing.assert_array_equal(numbers, np.array([[1, 2.5], [3, np.nan], [5, 6]], np.float32))


def test_a_table_may_be_gzipped(tmp_path: Path) -> None:
    file = tmp_path / "weather.csv.gz"
    file.write_bytes(gzip.compress(CSV.encode()))
    assert len(read_delimited(file, None)) == 3
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"weather\.csv\.gz: cannot be read \("):
        read_delimited(file, None)


@pytest.mark.parametrize(
    ("label", "name"), [("Mass", "Mass"), (" Pleural Thickening", "Pleural_Thickening"), ("3-way", "label_3_way")]
)
def test_a_label_becomes_a_tasks_name(label: str, name: str) -> None:
    assert task_name(label) == name
    assert name.isidentifier()


@pytest.mark.parametrize(
    ("labels", "group", "message"),
    [
        (["rian"], None, ": unknown column 'rian'; did you mean 'rain'?"),
        (["width"], None, ", row 3: label column 'width' holds '3'; a label is 1, 0, or empty"),
        (["who"], None, ", row 2: label column 'who' holds 'ann'; a label is 1, 0, or empty"),
        ("width", None, ": labels column 'width' must hold names with | between them; write labels: [width]"),
        (["rain"], "name", ": unknown column 'name'; available: height, rain, snow, who, width"),
        (["rain"], "snow", ", row 3: column 'snow' is empty; every example must belong to a group"),
    ],
)
def test_wrong_columns_are_one_line_errors(
    file: Path, labels: list[str] | str, group: str | None, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        read_answers(read_delimited(file, None), labels, group)
    assert str(caught.value).startswith(f"{file}{message}")


def test_labels_that_would_be_one_task_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a b,a-b\n1,0\n")
    with pytest.raises(UserError, match="labels 'a b' and 'a-b' would both be task a_b; rename one"):
        read_answers(read_delimited(file, None), ["a b", "a-b"], None)


def test_a_column_without_a_name_in_it_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("found,x\nNo Finding,1\n|,2\n")
    with pytest.raises(UserError, match="labels column 'found' names no label"):
        read_answers(read_delimited(file, None), "found", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,cold\n", ", row 2: column 'b' holds words, but inputs must be numbers"),
        ("a,b\n1,inf\n", ", row 2: column 'b' holds an infinite number"),
    ],
)
def test_inputs_must_be_numbers(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "t.csv"
    file.write_text(content)
    with pytest.raises(UserError) as caught:
        read_features(read_delimited(file, None), ["a", "b"])
    assert str(caught.value).startswith(f"{file}{message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, ": no such file"),
        (b"", ": the file is empty"),
        (b"a,b\n", ": holds a header and no rows"),
        (b"a,b\n1,2,3,4\n", ", row 2: 4 cells, but the header names 2 columns"),
        (b"\xff\xfea", ", row 1: byte 0xff at position 1 is not UTF-8"),
    ],
)
def test_what_is_no_table_is_a_one_line_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "t.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_delimited(file, None)
    assert str(caught.value).startswith(f"{file}{message}")
    assert "\n" not in str(caught.value)
