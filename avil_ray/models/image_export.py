"""Exports a trained image classifier as a folder that `transformers` can load without this library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from avil_ray.models.classifiers import Output, merge_adapters, restored
from avil_ray.models.image_processor import load_processor
from avil_ray.models.text import quiet_transformers
from avil_ray.models.text_export import Answer, answers_of, classifier_of

IMAGES_AT_A_TIME = 32
"""The number of images of a file predicted per pass."""


@dataclass(frozen=True)
class ImageExporter:
    """Saves a classifier with merged adapters and its image processor, as `save_pretrained` does.

    Parameters
    ----------
    model
        The folder or hub name of the encoder.
    output
        The output of the target's head.
    column
        The column of a file that holds the images' paths.
    """

    reader: ClassVar[str] = "image"

    model: str
    output: Output
    column: str

    def save(self, model: nn.Module, target: str, folder: Path) -> Mapping[str, Any]:
        """See `Exporter.save`."""
        classifier = restored(classifier_of(model, target), target, self.output)
        if getattr(classifier.base_model, "peft_config", None) is not None:
            merge_adapters(classifier)
        with quiet_transformers(bars=False):
            classifier.save_pretrained(folder)
        load_processor(self.model).save_pretrained(folder)
        return {**asdict(self.output), "column": self.column}


class ImagePredictor(nn.Module):
    """A classifier of images with its image processor, in evaluation mode.

    Parameters
    ----------
    model, processor
        As `transformers` loads them.
    output
        Its output.
    column
        The column of a file that holds the images' paths.
    """

    def __init__(self, model: nn.Module, processor: Any, output: Output, column: str) -> None:
        super().__init__()
        self.model, self.processor, self.output, self.column = model, processor, output, column

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs for a batch of processed images, as from `Result.model()`."""
        outputs: Tensor = self.model(pixel_values=inputs).logits
        return outputs.squeeze(-1) if self.output.kind == "regression" else outputs

    @torch.no_grad()
    def predict(self, images: Sequence[Any]) -> list[Answer]:
        """The prediction for each PIL image; all go through the model in one pass."""
        pixels = self.processor([image.convert("RGB") for image in images], return_tensors="pt")["pixel_values"]
        return list(answers_of(self(pixels), self.output))


def load_images(folder: Path, facts: Mapping[str, Any]) -> ImagePredictor:
    """Load what `ImageExporter` has saved; `facts` is what it returned."""
    with quiet_transformers(bars=False) as transformers:
        model = transformers.AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32)
    output = Output(facts["kind"], tuple(facts["labels"]))
    return ImagePredictor(model, load_processor(str(folder)), output, facts["column"]).eval()
