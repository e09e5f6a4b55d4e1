from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avil_ray.errors import UserError
from avil_ray.suites.image_folder import (
    ImageRows,
    ImageStore,
    data_entry,
    find_images,
    official_lists,
    statistics,
)


def save(path: Path, value: int | tuple[int, int, int] = 0, mode: str = "L", size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [save(tmp_path / f"{value}.png", value) for value in (10, 20, 60, 110)]


def test_images_are_found_at_any_depth_by_name_or_by_path(tmp_path: Path) -> None:
    one = save(tmp_path / "images_001" / "images" / "a.png")
    two = save(tmp_path / "images_002" / "images" / "b.PNG")
    three = save(tmp_path / "c.jpg")
    (tmp_path / "d.txt").write_text("no image")
    assert find_images(tmp_path, ["c.jpg", "a.png", "images_002/images/b.PNG"]) == (three, one, two)


def test_missing_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(UserError) as caught:
        find_images(tmp_path, ["a.png", "b.png", "c.png"])
    assert "2 of 3 images that the table names are not there, 'b.png' first" in str(caught.value)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        find_images(tmp_path / "nowhere", ["a.png"])


@pytest.mark.parametrize("keep", [True, False])
def test_images_are_scaled_and_of_one_kind(tmp_path: Path, keep: bool) -> None:
    files = [save(tmp_path / "a.png", 200), save(tmp_path / "b.png", (255, 0, 0, 255), "RGBA", (90, 90))]
    grey = ImageStore(files, 16, colour=False, keep=keep).pixels(np.array([1, 0, 1]))
    assert grey.shape == (3, 1, 16, 16)
    assert grey.dtype == np.uint8
    assert [int(image.min()) for image in grey] == [int(image.max()) for image in grey] == [76, 200, 76]
    colour = ImageStore(files, 20, colour=True, keep=keep).pixels(np.array([0, 1]))
    assert colour.shape == (2, 3, 20, 20)
    assert colour.max(axis=(2, 3)).tolist() == [[200, 200, 200], [255, 0, 0]]


def test_images_are_read_when_asked_for_and_kept_only_if_wanted(paths: list[Path]) -> None:
    kept, fresh = (ImageStore(paths, 16, colour=False, keep=keep) for keep in (True, False))
    rows = np.array([1, 0])
    before = [store.pixels(rows) for store in (kept, fresh)]
    for path in paths[:2]:
        path.unlink()
    assert np.array_equal(kept.pixels(rows), before[0])
    with pytest.raises(UserError, match=r"20\.png: cannot be read as an image"):
        fresh.pixels(rows)


def test_a_damaged_image_is_named(paths: list[Path]) -> None:
    whole = paths[2].read_bytes()
    store = ImageStore(paths, 16, colour=False, keep=True)
    for content in (whole[:-30], b"", b"a page of text"):
        paths[2].write_bytes(content)
        with pytest.raises(UserError) as caught:
            store.pixels(np.array([2]))
        assert str(caught.value).startswith(f"{paths[2]}: cannot be read as an image (")


def test_inputs_are_standardised_rows_of_the_store(paths: list[Path]) -> None:
    store = ImageStore(paths, 16, colour=False, keep=True)
    mean, deviation = statistics(store, np.array([0, 1, 2]))
    assert mean.item() == pytest.approx(30)
    assert deviation.item() == pytest.approx(np.std([10, 20, 60]))
    inputs = ImageRows(store, np.array([3, 1]), mean, deviation)
    both = inputs.join(ImageRows(store, np.array([0]), mean, deviation))
    assert (len(inputs), len(both)) == (2, 3)
    batch = both[torch.tensor([2, 0, 0])]
    assert batch.dtype == torch.float32
    expected = (np.array([10, 110, 110]) - 30) / deviation.item()
    assert batch.mean(dim=(1, 2, 3)).tolist() == pytest.approx(expected.tolist())


def test_images_of_one_shade_do_not_divide_by_zero(paths: list[Path]) -> None:
    _, deviation = statistics(ImageStore(paths, 16, colour=False, keep=True), np.array([1]))
    assert deviation.item() == 1


def test_the_data_entry_file_is_found_whatever_its_year(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Data_Entry\*\.csv is there; give the file as table: path\.csv"):
        data_entry(tmp_path)
    (tmp_path / "Data_Entry_2017.csv").touch()
    assert data_entry(tmp_path).name == "Data_Entry_2017.csv"
    (tmp_path / "Data_Entry_2017_v2020.csv").touch()
    with pytest.raises(UserError, match=r"Data_Entry_2017\.csv and Data_Entry_2017_v2020\.csv is there; give the file"):
        data_entry(tmp_path)


def test_the_official_lists_say_what_is_test(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png"]
    assert official_lists(tmp_path, names) is None
    (tmp_path / "test_list.txt").write_text("c.png\n")
    with pytest.raises(UserError, match=r"train_val_list\.txt: no such file, but test_list\.txt is there"):
        official_lists(tmp_path, names)
    (tmp_path / "train_val_list.txt").write_text("a.png\r\nother.png")
    learn, test = official_lists(tmp_path, names)
    assert (learn.tolist(), test.tolist()) == ([True, False, False], [False, False, True])
