import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from avil_ray.errors import UserError
from avil_ray.models.image_processor import ImageProcessor

KINDS = ("ViT", "ConvNext", "Bit", "CLIP", "Beit", "EfficientNet", "Levit", "MobileViT", "Siglip")


def processor(folder: Path, kind: str, **options: Any) -> str:
    getattr(transformers, f"{kind}ImageProcessorPil")(**options).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_images_come_out_as_from_the_models_own_processor(tmp_path: Path, kind: str) -> None:
    model, random = processor(tmp_path, kind), np.random.default_rng(0)
    ours, theirs = ImageProcessor(model), transformers.AutoImageProcessor.from_pretrained(model, backend="pil")
    for shape in ((40, 50, 3), (300, 200, 3), (64, 64)):
        image = Image.fromarray(random.integers(256, size=shape).astype(np.uint8))
        pixels = ours(image)
        assert pixels.dtype == np.uint8
        assert pixels.shape == ours.shape
        expected = theirs(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close((torch.from_numpy(pixels) - ours.mean) / ours.deviation, expected, rtol=0, atol=2e-6)


def test_size_and_numbers_are_the_folders(tmp_path: Path) -> None:
    size = {"height": 32, "width": 48}
    found = ImageProcessor(processor(tmp_path, "ViT", size=size, image_mean=[0, 0.5, 1], image_std=[1, 0.5, 0.25]))
    assert found.shape == (3, 32, 48)
    assert found.mean.flatten().tolist() == pytest.approx([0, 127.5, 255])
    assert found.deviation.flatten().tolist() == pytest.approx([255, 127.5, 63.75])


def test_a_processor_travels_by_the_models_name(tmp_path: Path) -> None:
    found = ImageProcessor(processor(tmp_path, "ViT"))
    travelled = pickle.dumps(found)
    assert len(travelled) < 500
    assert pickle.loads(travelled).shape == found.shape


def test_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its image processor does not resize images to one size; use another model"):
        ImageProcessor(processor(tmp_path, "Swin2SR"))


def test_a_folder_without_a_processor_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the folder holds no preprocessor_config\.json; save one there with"):
        ImageProcessor(str(tmp_path))
