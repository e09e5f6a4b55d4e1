from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.suites import pictures
from avil_ray.suites.pictures import Pictures
from avil_ray.suites.sources import mnist_digits

WriteIdx = Callable[..., None]
ARRAYS = (np.zeros((30, 28, 28)), np.arange(30) % 10, np.ones((20, 28, 28)), np.arange(20) % 10)


def test_digits_are_mlxtends_unless_a_folder_is_given(tmp_path: Path, write_idx: WriteIdx) -> None:
    assert Pictures("mnist").read() is mnist_digits()
    write_idx(tmp_path, *ARRAYS)
    assert len(Pictures("mnist", tmp_path).read()) == 50


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_clothes_are_looked_for_where_debians_package_puts_them(
    tmp_path: Path, write_idx: WriteIdx, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(pictures, "FASHION_FOLDER", tmp_path)
    write_idx(tmp_path, *ARRAYS, ending=ending)
    assert len(Pictures("fashion").read()) == 50


def test_without_clothes_the_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FASHION_FOLDER", tmp_path / "nowhere")
    with pytest.raises(UserError) as caught:
        Pictures("fashion").read()
    for words in ("data_dir", "train-images-idx3-ubyte.gz", "apt install dataset-fashion-mnist"):
        assert words in str(caught.value)


def test_one_source_is_always_the_same_object(tmp_path: Path, write_idx: WriteIdx) -> None:
    write_idx(tmp_path, *ARRAYS)
    assert Pictures("fashion", tmp_path).read() is Pictures("fashion", tmp_path).read()
