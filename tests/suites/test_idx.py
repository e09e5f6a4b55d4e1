import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avil_ray.errors import UserError
from avil_ray.suites.idx import idx_images, read_idx

WriteIdx = Callable[..., None]
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
ARRAYS = (
    np.arange(30 * 28 * 28).reshape(30, 28, 28) % 251,
    np.arange(30) % 10,
    np.arange(20 * 28 * 28).reshape(20, 28, 28) % 241,
    np.arange(20) % 7,
)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_folder_is_the_images_to_learn_from_then_the_official_test(
    tmp_path: Path, write_idx: WriteIdx, ending: str
) -> None:
    write_idx(tmp_path, *ARRAYS, ending=ending)
    images = idx_images(tmp_path)
    assert np.array_equal(images.pixels, np.concatenate(ARRAYS[::2]))
    assert np.array_equal(images.labels, np.concatenate(ARRAYS[1::2]))
    assert images.labels.dtype == np.int64
    assert (len(images), images.official_test) == (50, 20)
    assert idx_images(tmp_path) is images, "read once"


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path, write_idx: WriteIdx) -> None:
    write_idx(tmp_path, *ARRAYS)
    file = tmp_path / LABELS
    (tmp_path / "unpacked.gz").write_bytes(file.read_bytes())
    (tmp_path / "packed").write_bytes(gzip.compress(file.read_bytes()))
    for name in ("unpacked.gz", "packed"):
        assert np.array_equal(read_idx(tmp_path / name, dimensions=1), ARRAYS[1])


def test_a_missing_file_is_named(tmp_path: Path, write_idx: WriteIdx) -> None:
    write_idx(tmp_path, *ARRAYS)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte\.gz is there"):
        idx_images(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        idx_images(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        pytest.param(
            IMAGES, lambda old: old[:10_000], "23536 bytes expected for 30 x 28 x 28 values, found 10000", id="cut"
        ),
        pytest.param(
            IMAGES, lambda old: old + b"more", "23536 bytes expected for 30 x 28 x 28 values, found 23540", id="long"
        ),
        pytest.param(IMAGES, lambda old: old[:9], "values, found 9; download the file again", id="header cut"),
        pytest.param(IMAGES, lambda old: b"", "magic number 0x00000803 expected, found 0x;", id="empty"),
        pytest.param(
            IMAGES, lambda old: b"<html>", "magic number 0x00000803 expected, found 0x3c68746d; is it", id="web page"
        ),
        pytest.param(
            LABELS,
            lambda old: b"\0\0\x08\x03" + old[4:],
            "magic number 0x00000801 expected, found 0x00000803",
            id="images",
        ),
        pytest.param(LABELS, lambda old: gzip.compress(old)[:-9], "cannot be read (", id="gzip cut"),
        pytest.param(LABELS, lambda old: gzip.compress(old)[:12] + b"\xff" * 30, "cannot be read (", id="gzip broken"),
        pytest.param(
            LABELS,
            lambda old: b"\0\0\x08\x01\0\0\0\x04\0\1\2\3",
            f"30 labels expected, one for each image of {IMAGES}, found 4",
            id="fewer labels",
        ),
        pytest.param(LABELS, lambda old: old[:-1] + b"\x0a", "labels from 0 to 9 expected, found 10", id="wrong label"),
        pytest.param(
            IMAGES,
            lambda old: old[:8] + bytes((0, 0, 0, 14, 0, 0, 0, 56)) + old[16:],
            "images of 28 x 28 pixels expected, found 14 x 56",
            id="wrong size",
        ),
    ],
)
def test_a_wrong_file_is_a_one_line_error(
    tmp_path: Path, write_idx: WriteIdx, name: str, change: Callable[[bytes], bytes], message: str
) -> None:
    write_idx(tmp_path, *ARRAYS)
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    with pytest.raises(UserError) as caught:
        idx_images(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
