from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avil_ray.errors import UserError
from avil_ray.suites.files.image_store import ImageRows, ImageStore, Square, check_images, statistics


def save(path: Path, value: int | tuple[int, ...] = 0, mode: str = "L", size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [save(tmp_path / f"{value}.png", value) for value in (10, 20, 60, 110)]


@pytest.mark.parametrize("keep", [True, False])
def test_images_are_scaled_and_of_one_kind(tmp_path: Path, keep: bool) -> None:
    files = [save(tmp_path / "a.png", 200), save(tmp_path / "b.png", (255, 0, 0, 255), "RGBA", (90, 90))]
    grey = ImageStore(files, Square(16, colour=False), keep=keep).pixels(np.array([1, 0, 1]))
    assert grey.shape == (3, 1, 16, 16)
    assert grey.dtype == np.uint8
    assert [int(image.min()) for image in grey] == [int(image.max()) for image in grey] == [76, 200, 76]
    colour = ImageStore(files, Square(20), keep=keep).pixels(np.array([0, 1]))
    assert colour.shape == (2, 3, 20, 20)
    assert colour.max(axis=(2, 3)).tolist() == [[200, 200, 200], [255, 0, 0]]


def test_images_are_read_when_asked_for_and_kept_only_if_wanted(paths: list[Path]) -> None:
    kept, fresh = (ImageStore(paths, Square(16, colour=False), keep=keep) for keep in (True, False))
    rows = np.array([1, 0])
    before = [store.pixels(rows) for store in (kept, fresh)]
    for path in paths[:2]:
        path.unlink()
    assert np.array_equal(kept.pixels(rows), before[0])
    with pytest.raises(UserError, match=r"20\.png: cannot be read as an image"):
        fresh.pixels(rows)


def test_a_damaged_image_is_named(paths: list[Path]) -> None:
    whole = paths[2].read_bytes()
    store = ImageStore(paths, Square(16, colour=False), keep=True)
    for content in (whole[:-30], b"", b"a page of text"):
        paths[2].write_bytes(content)
        with pytest.raises(UserError) as caught:
            store.pixels(np.array([2]))
        assert str(caught.value).startswith(f"{paths[2]}: cannot be read as an image (")


def test_inputs_are_standardised_rows_of_the_store(paths: list[Path]) -> None:
    store = ImageStore(paths, Square(16, colour=False), keep=True)
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
    _, deviation = statistics(ImageStore(paths, Square(16, colour=False), keep=True), np.array([1]))
    assert deviation.item() == 1


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_a_photograph_that_lies_on_its_side_is_put_upright(tmp_path: Path) -> None:
    image, tags = Image.new("L", (40, 20)), Image.Exif()
    image.paste(255, (0, 0, 20, 20))  # its left half is bright
    tags[0x0112] = 6  # to be turned by a quarter, clockwise: then its upper half is
    image.save(tmp_path / "a.png", exif=tags)
    pixels = ImageStore([tmp_path / "a.png"], Square(16, colour=False), keep=False).pixels(np.array([0]))[0, 0]
    assert pixels[:7].min() == 255
    assert pixels[9:].max() == 0


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (250, 0, 0, 128)).quantize().save(tmp_path / "a.png", transparency=bytes([9, 200]))
    pixels = ImageStore([tmp_path / "a.png"], Square(16), keep=False).pixels(np.array([0]))
    assert abs(pixels.mean(axis=(0, 2, 3)) - [250, 0, 0]).max() < 8


def test_an_image_of_16_bits_is_refused_rather_than_cut_at_255(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 4000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: the image has more than 8 bits per channel \(I;16\); save it"):
        ImageStore([tmp_path / "a.png"], Square(16), keep=False).pixels(np.array([0]))


def test_keys_are_equal_for_equal_files_alone(paths: list[Path], tmp_path: Path) -> None:
    copied = tmp_path / "folder" / "other.png"
    copied.parent.mkdir()
    copied.write_bytes(paths[1].read_bytes())
    keys = check_images([*paths, copied]).keys
    assert keys[1] == keys[4]
    assert len(set(keys.tolist())) == 4
    assert check_images(paths).sizes.tolist() == [[40, 30]] * 4


def test_keys_are_worked_out_once_until_a_file_changes(
    paths: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = check_images(paths).keys
    assert "reading 4 images once" in caplog.text
    caplog.clear()
    assert np.array_equal(check_images(paths).keys, first)
    assert not caplog.text
    save(paths[2], 200, size=(41, 30))
    again = check_images(paths).keys
    assert (again != first).tolist() == [False, False, True, False]


def test_images_that_cannot_be_read_are_counted_and_the_first_is_named(paths: list[Path]) -> None:
    for path in paths[1:3]:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"^pets\.csv, row 2: cannot be read as an image \(.*; 1 more like it$"):
        check_images(paths, [f"pets.csv, row {number}" for number in range(1, 5)])
    paths[3].unlink()
    with pytest.raises(UserError, match=r"110\.png: no such file$"):
        check_images(paths)
