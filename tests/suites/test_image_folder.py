from pathlib import Path

import pytest

from avil_ray.errors import UserError
from avil_ray.suites.image_folder import data_entry, find_images, official_lists


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


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
    assert "2 of 3 images in the table are missing, 'b.png' first" in str(caught.value)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        find_images(tmp_path / "nowhere", ["a.png"])


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
