from pathlib import Path

import pytest
from PIL import Image

from avil_ray.errors import UserError
from avil_ray.suites.files.class_folders import IMAGE, LABEL, read_class_folders


def save(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path)
    return str(path)


def test_each_folder_is_a_class_of_the_images_below_it(tmp_path: Path) -> None:
    dog = save(tmp_path / "dog" / "b.JPG")
    cats = [save(tmp_path / "cat" / "deep" / "c.png"), save(tmp_path / "cat" / "a.webp")]
    save(tmp_path / ".thumbnails" / "x.png")
    save(tmp_path / "cat" / ".hidden" / "x.png")
    (tmp_path / "readme.txt").write_text("no class")
    table = read_class_folders(tmp_path)
    assert table.column(IMAGE) == [*sorted(cats), dog]
    assert table.column(LABEL) == ["cat", "cat", "dog"]


def test_other_files_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("cat", "dog"):
        save(tmp_path / name / "a.png")
    (tmp_path / "dog" / "notes.txt").write_text("")
    assert len(read_class_folders(tmp_path)) == 2
    assert f"{tmp_path / 'dog'}: ignored 1 of " in caplog.text


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match=r"dog: the class has no images: it is empty; remove the folder"):
        read_class_folders(tmp_path)
    (tmp_path / "dog" / "a.txt").write_text("")
    with pytest.raises(UserError, match=r"dog: the class has no images: none of its 1 files is one \(\.png, "):
        read_class_folders(tmp_path)


def test_two_classes_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no folders; a folder of images for each class is needed"):
        read_class_folders(tmp_path)
    save(tmp_path / "cat" / "a.png")
    with pytest.raises(UserError, match="holds one folder only, cat; a folder of images for each class is needed"):
        read_class_folders(tmp_path)
