import os
from pathlib import Path

import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.suites.label_source import Source, make_source, standardised


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weather.csv"
    path.write_text("width,rain,who\n1,1,7\n3,0,8\n5,1,7\n")
    return path


def test_inputs_are_all_columns_but_labels_and_group(file: Path) -> None:
    assert make_source(file, ["rain"], None, None, None).read().features.tolist() == [[1, 7], [3, 8], [5, 7]]
    assert make_source(file, ["rain"], None, "who", None).read().features.tolist() == [[1], [3], [5]]
    assert make_source(file, ["rain"], ["who"], None, None).read().features.tolist() == [[7], [8], [7]]


def test_a_table_with_nothing_but_labels_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match="no column is left as an input"):
        make_source(file, ["rain"], [], None, None).read()


def test_a_file_is_read_once_until_it_changes(file: Path) -> None:
    source: Source = make_source(file, ["rain"], None, None, None)
    first = source.read()
    assert source.read() is first
    file.write_text("width,rain\n1,1\n")
    os.utime(file, ns=(1, 1))
    assert len(source.read().answers.values) == 1


def test_statistics_are_those_of_the_given_rows_alone() -> None:
    numbers = np.array([[1, 5, np.nan], [3, 5, 2], [100, 7, 4], [np.nan, 5, 6]], np.float32)
    scaled = standardised(numbers, np.array([0, 1, 3]))
    np.testing.assert_allclose(scaled[:, 0], [-1, 1, 98, 0])
    np.testing.assert_allclose(scaled[:, 1], [0, 0, 0, 0])  # never varies in those rows: says nothing
    np.testing.assert_allclose(scaled[:, 2], [0, -1, 0, 1])
    assert scaled.dtype == np.float32


def test_scaling_real_numbers_gives_mean_0_and_deviation_1() -> None:
    numbers = np.random.default_rng(0).normal(1000, 0.01, size=(500, 3)).astype(np.float32)
    scaled = standardised(numbers, np.arange(400))
    np.testing.assert_allclose(scaled[:400].mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(scaled[:400].std(axis=0), 1, atol=1e-2)


def test_a_tables_labels_must_be_named(file: Path) -> None:
    with pytest.raises(UserError, match="labels must name the table's label columns"):
        make_source(file, None, None, None, None)
    with pytest.raises(UserError, match="labels and group are for a table or images of your own"):
        make_source(None, ["rain"], None, None, None)
