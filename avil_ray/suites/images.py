"""Your own images: a target and its auxiliaries from tables of image files, or from folders that are classes.

Tasks share a vision encoder from `transformers`, or a small network. The target's images are split by a column, by
files, or randomly by fraction and seed; identical files are never in two splits, and auxiliary images that are in the
target's dev, select or test are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, whole
from avil_ray.models.classifiers import NumberHead, Output, image_model
from avil_ray.models.image_export import ImageExporter
from avil_ray.models.image_processor import load_image_processor
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.text import Lora, settled_model
from avil_ray.models.vision import SMALLEST, LeNet
from avil_ray.suites.files.drawing import Plan, encoder_learning, find_tasks, told_of
from avil_ray.suites.files.image_store import ImageRows, LabelledImages, Scale, Square
from avil_ray.suites.files.splits import Division
from avil_ray.suites.files.table import Integers
from avil_ray.suites.image_tasks import ImageTask, image_task
from avil_ray.tasks.augmentation import find_augment
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite

CNN = "cnn"
"""The only model that is not from transformers."""

USUAL_SIZE = 32
"""Default height and width of images for the small network."""

FEATURES = 64
"""The number of features that the small network gives each head."""

MIDDLE = 127.5
"""The small network takes pixel values from -1 to 1."""


@dataclass(frozen=True, kw_only=True)
class ImagePlan(Plan[ImageTask]):
    """How the tasks' data are drawn: a small description that is cheap to send.

    Parameters
    ----------
    model
        The model whose image processor scales and standardises images; `cnn` has none.
    size
        Height and width of images for `cnn`.
    augment
        Augmentations of training images, by name.
    """

    suite = "images"
    item = "image"

    model: str
    size: int
    augment: tuple[str, ...]

    @property
    def scale(self) -> Scale:
        """The function that scales images to one shape."""
        return Square(self.size) if self.model == CNN else load_image_processor(self.model)

    def examples(self, task: ImageTask, parts: Mapping[str, Integers]) -> dict[str, Any]:
        """See `Plan`."""
        store, values = task.store(self.scale), torch.from_numpy(task.read().labels.values)
        mean, deviation = self._standard()
        images = {split: ImageRows(store, rows, mean, deviation) for split, rows in parts.items()}
        examples = {split: LabelledImages(inputs, values[inputs.rows]) for split, inputs in images.items()}
        return {**examples, "augment": list(self.augment) or None}

    def _standard(self) -> tuple[Tensor, Tensor]:
        """The mean and deviation for standardising pixel values, [channels, 1, 1]."""
        if self.model == CNN:
            middle = torch.full((3, 1, 1), MIDDLE)
            return middle, middle
        processor = load_image_processor(self.model)
        return processor.mean, processor.deviation

    def inputs_line(self, task: ImageTask) -> str:
        """See `Plan`."""
        found = task.read().found
        width, height = np.median(found.sizes, axis=0).astype(int)
        again = len(found.keys) - len(np.unique(found.keys))
        twice = f"{again:,} are copies of another" if again else "no two are the same file"
        _, to_height, to_width = self.scale.shape
        return f"images: {width} x {height} pixels in the median, scaled to {to_width} x {to_height}; {twice}"


def images(
    *,
    target: Mapping[str, Any],
    auxiliaries: Mapping[str, Mapping[str, Any]] | None = None,
    model: str = CNN,
    size: int | None = None,
    augment: str | Sequence[str] | None = None,
    peft: Literal["none", "lora", "frozen"] = "none",
    lora_rank: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.1,
    target_labels: int | None = None,
    auxiliary_labels: int | None = None,
    dev_fraction: float | None = None,
    select_fraction: float | None = None,
    test_fraction: float | None = None,
) -> Suite:
    """Your own image files: classes, multiple labels or numbers, on any vision encoder in transformers or a small CNN.

    Parameters
    ----------
    target
        The task that counts: {data: pets, …}, a folder that holds a folder of images for each class; or {data:
        pets.csv, image: file, label: species}, a table with their paths (relative ones start at its folder); or one of
        them for each split: {train: a.csv, test: b.csv}. As is needed name, kind, separator, loss, metric, also, split.
        A table is a CSV, TSV, JSONL or Parquet file. label is a column, or several of 0 and 1. kind is classes,
        multi-label or regression; default: what the labels look like. split is a column that says train, dev, select
        or test, or {column: part, test: [held out], …}.
    auxiliaries
        The auxiliary tasks, by name, described in the same way; all their rows are used for training.
    model
        cnn: two convolutions, for small images; or a vision encoder (a folder or a name on the hub), whose image
        processor determines how images are scaled and standardised.
    size
        Height and width of images for cnn, 16 or more. Default: 32.
    augment
        Augmentation of training images: flip, shift, noise, or a list of these.
    peft
        none: train the whole encoder; lora: train low-rank adapters; frozen: train only layers between the encoder and
        the heads, which few vision encoders have.
    lora_rank, lora_alpha, lora_dropout
        The adapters' rank, their scale (alpha / rank), and the fraction of their inputs dropped in training.
    target_labels
        How many labelled images the target has to learn from, train and dev together. Default: all that are left.
    auxiliary_labels
        How many each auxiliary has at most. Default: all that there are.
    dev_fraction
        The share of the target's labelled images that is its dev split. Default: a third, 1,000 images at most.
    select_fraction, test_fraction
        The shares of the target's images that choose the best round and configuration, and that are read once after
        that. Default: a fifth each, 2,000 and 10,000 images at most.

    Raises
    ------
    UserError
        A file, column, label or image is missing or wrong; the message names file and row.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    check_choices(images, {"peft": peft}, "images")
    with told_of("images"):
        plan = ImagePlan(
            tasks=find_tasks(target, auxiliaries, image_task),
            model=CNN if model == CNN else settled_model("model", model),
            size=_settled_size(model, size),
            augment=_names(augment),
            division=Division(
                target_labels=target_labels,
                dev_fraction=dev_fraction,
                select_fraction=select_fraction,
                test_fraction=test_fraction,
            ),
            auxiliary_labels=auxiliary_labels,
        )
        lora = Lora(lora_rank, lora_alpha, lora_dropout) if peft == "lora" else None
        if model == CNN and peft != "none":
            raise UserError(f"peft: {peft} is for a model of transformers, not for cnn")
    outputs = {task.name: task.output() for task in plan.tasks}
    encoder = partial(image_model, plan.model, outputs, peft=peft, lora=lora)
    return Suite(
        name="images",
        target=plan.target.name,
        task_names=tuple(outputs),
        tasks=plan.draws(),
        model=partial(small_model, plan.size, outputs) if model == CNN else encoder,
        learning=Learning(learning_rate=0.02) if model == CNN else encoder_learning(peft),
        exporter=None if model == CNN else ImageExporter(plan.model, outputs[plan.target.name], plan.target.image),
        details=plan.details,
        options=given | {"contents": {task.name: task.digest() for task in plan.tasks}},
    )


def small_model(size: int, outputs: Mapping[str, Output]) -> MultitaskModel:
    """The small network for colour images of size x size, and a linear head for each task."""

    def head(output: Output) -> nn.Module:
        return (NumberHead if output.kind == "regression" else nn.Linear)(FEATURES, len(output.names))

    return MultitaskModel(LeNet(3, size, size, FEATURES), {task: head(output) for task, output in outputs.items()})


def _settled_size(model: str, size: int | None) -> int:
    if size is not None and model != CNN:
        raise UserError("size is for model: cnn; an encoder's image processor has a size of its own")
    return USUAL_SIZE if size is None else whole("size", size, SMALLEST)


def _names(augment: str | Sequence[str] | None) -> tuple[str, ...]:
    names = () if augment is None else (augment,) if isinstance(augment, str) else tuple(augment)
    for name in names:
        find_augment(name, "augment")
    return names
