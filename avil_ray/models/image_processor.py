"""Reproduces a vision model's image processor: the images' size, and the constants that standardise them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from avil_ray.errors import UserError
from avil_ray.models.text import from_transformers

PROBES = ((40, 60), (60, 40), (300, 500))
"""Sizes (width, height) of images on which a processor is tested."""


class ImageProcessor:
    """A model's image processor in two parts: from images to bytes of a fixed shape, and from these to model inputs.

    Only bytes are kept for each image; after resizing and cropping, a processor does the same for every pixel of a
    channel, so two numbers describe it.

    Parameters
    ----------
    model
        A folder, or a name on the hub.

    Attributes
    ----------
    shape
        (channels, height, width) of every image.
    mean, deviation
        Tensors [channels, 1, 1]: the model's input is (bytes - mean) / deviation.

    Raises
    ------
    UserError
        The model has no image processor, or one that does more than that.
    """

    def __init__(self, model: str) -> None:
        self.model, self._processor = model, load_processor(model)
        shapes = {self._processed(_plain(0, size)).shape for size in PROBES}
        self.shape: tuple[int, int, int] = next(iter(shapes))
        if len(shapes) > 1 or len(self.shape) != 3:
            raise UserError(f"model {model}: its image processor does not resize images to one size; use another model")
        _, height, width = self.shape
        black, white = (self._processed(_plain(shade))[:, height // 2, width // 2] for shade in (0, 255))
        deviation = 255 / (white - black).astype(np.float64)
        self._mean, self._deviation = (one.reshape(-1, 1, 1) for one in (-black * deviation, deviation))
        self.mean, self.deviation = (torch.from_numpy(one).float() for one in (self._mean, self._deviation))
        image = _coloured()
        standardised = (self(image) - self._mean) / self._deviation
        if not np.allclose(standardised, self._processed(image), atol=1e-4):
            raise UserError(f"model {model}: its image processor does more than scale and standardise; use another")

    def __call__(self, image: Any) -> npt.NDArray[np.uint8]:
        """A PIL image as [channels, height, width], resized and cropped as by the model's own processor."""
        pixels: npt.NDArray[Any] = np.rint(self._processed(image) * self._deviation + self._mean)
        return pixels.clip(0, 255).astype(np.uint8)

    def _processed(self, image: Any) -> npt.NDArray[Any]:
        processed: npt.NDArray[Any] = self._processor(image.convert("RGB"), return_tensors="np")["pixel_values"][0]
        return processed

    def __reduce__(self) -> tuple[Any, ...]:
        return load_image_processor, (self.model,)


@cache
def load_image_processor(model: str) -> ImageProcessor:
    """The image processor of a model, cached by model."""
    return ImageProcessor(model)


def load_processor(model: str) -> Any:
    """A model's image processor from `transformers`, in the version that does not need torchvision.

    Raises
    ------
    UserError
        It has none.
    """
    if Path(model).is_dir() and not Path(model, "preprocessor_config.json").is_file():
        hint = "save one there with AutoImageProcessor's save_pretrained"
        raise UserError(f"model {model}: the folder holds no preprocessor_config.json; {hint}")
    with from_transformers(model) as transformers:
        return transformers.AutoImageProcessor.from_pretrained(model, backend="pil")


def _plain(shade: int, size: tuple[int, int] = PROBES[0]) -> Any:
    """A uniformly grey image."""
    from PIL import Image

    return Image.new("RGB", size, (shade, shade, shade))


def _coloured() -> Any:
    """An image whose channels differ at every pixel."""
    from PIL import Image

    width, height = PROBES[0]
    return Image.fromarray((np.arange(width * height * 3) * 7 % 256).astype(np.uint8).reshape(height, width, 3))
