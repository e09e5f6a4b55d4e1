"""Multi-label data: each label is a binary task on the same inputs. Yeast, any table, or a folder of images.

The tasks share a trunk. An example with an unknown label is left out of that task's data, but may be in others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, between, whole
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.tabular import MLP
from avil_ray.models.vision import SMALLEST, LeNet
from avil_ray.randomness import numpy_generator
from avil_ray.suites.files.image_store import Square
from avil_ray.suites.label_source import IMAGE_COLUMN, ImageFolder, Source, make_source
from avil_ray.suites.options import absolute, auxiliary_names, whole_if_given, widths
from avil_ray.suites.partition import Shares, partition
from avil_ray.suites.tables import Answers, task_name
from avil_ray.tasks.checks import SPLITS
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

USUAL_FREQUENCY = 0.25
"""The default target is the label whose fraction of positives is closest to this."""

IMAGE_FEATURES = 64
"""The number of features that an image trunk gives each head."""


def multilabel(
    *,
    table: str | Path | None = None,
    labels: Sequence[str] | str | None = None,
    features: Sequence[str] | None = None,
    group: str | None = None,
    images: str | Path | None = None,
    image_column: str = IMAGE_COLUMN,
    size: int = 64,
    colour: bool = False,
    keep_images: bool = True,
    target: str | None = None,
    auxiliaries: Sequence[str] | None = None,
    metric: Literal["auc", "f1"] = "auc",
    target_labels: int | None = None,
    auxiliary_labels: int | None = None,
    dev_fraction: float = 1 / 3,
    select_fraction: float = 0.15,
    test_fraction: float = 0.25,
    hidden: Sequence[int] = (64,),
) -> Suite:
    """Multi-label data, each label a binary task: yeast genes, any CSV table, or images (ChestX-ray14's layout).

    Parameters
    ----------
    table
        A CSV file with a line of column names, gzipped or not. Default: yeast, of the package river; with `images`,
        the folder's Data_Entry*.csv.
    labels
        Columns of 1, 0 or empty cells (unknown), or one column of names separated by ``|``. Default: yeast's Class1 to
        Class14; with `images`, Finding Labels.
    features
        The columns that are inputs, where there are no images. Default: all others.
    group
        The column whose equal values keep examples in one split. Default: none; with `images`, Patient ID if there.
    images
        A folder of PNG or JPEG images, at any depth. If it contains train_val_list.txt and test_list.txt, they define
        the test split.
    image_column
        The column with the images' names.
    size
        Height and width in pixels to which images are scaled, at least 16.
    colour
        Whether images have three channels or a single grey one.
    keep_images
        Whether to keep images in memory once read (as bytes, at their scaled size); otherwise each batch reads its own.
    target
        The label that counts. Default: the one whose share of yes is nearest to 1/4.
    auxiliaries
        The labels that may help it. Default: all the others.
    metric
        auc (the area under the ROC curve) or f1.
    target_labels
        How many labelled examples the target has to learn from, train and dev together. Default: all that there are.
    auxiliary_labels
        How many each auxiliary has at most. Default: all that there are.
    dev_fraction
        The fraction of the target's labelled examples used as its dev split, above 0 and below 1.
    select_fraction, test_fraction
        The fractions of examples for choosing the best round and configuration, and for the test, used once after
        selection.
    hidden
        The widths of the trunk's layers, if there are no images.

    Raises
    ------
    UserError
        A file, column, label or image is missing or wrong, or a number is out of range.
    """
    given = {name: _plain(value) for name, value in locals().items() if value is not None}
    check_choices(multilabel, locals(), "multilabel")
    whole("multilabel: size", size, SMALLEST)
    most = whole_if_given("multilabel: auxiliary_labels", auxiliary_labels, 1)
    hidden = widths("multilabel: hidden", hidden)
    shares = _shares(select_fraction, test_fraction, target_labels, dev_fraction)
    pictures = None
    if images is not None:
        pictures = ImageFolder(absolute(images), image_column, Square(size, colour), keep_images)
    source = make_source(table, labels, features, group, pictures)
    answers = source.read().answers
    target = usual_target(answers) if target is None else task_name(target)
    if auxiliaries is not None and not isinstance(auxiliaries, str):
        auxiliaries = [task_name(name) for name in auxiliaries]
    auxiliaries = auxiliary_names("multilabel", target, auxiliaries, answers.names, answers.names)
    names = (target, *auxiliaries)
    return Suite(
        name="multilabel",
        target=target,
        task_names=names,
        tasks=partial(draw, source=source, names=names, metric=metric, shares=shares, most=most),
        model=partial(build_model, names, source, hidden),
        learning=Learning(learning_rate=0.02),
        options=given | {"target": target, "auxiliaries": list(auxiliaries)},
    )


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return value
    return str(value) if isinstance(value, Path) else list(value)


def _shares(select: float, test: float, target_labels: int | None, dev: float) -> Shares:
    between("multilabel: select_fraction", select, 0, 1)
    between("multilabel: test_fraction", test, 0, 1 - select)
    labels = whole_if_given("multilabel: target_labels", target_labels, 2)
    return Shares(select=select, test=test, target_labels=labels, dev=between("multilabel: dev_fraction", dev, 0, 1))


def usual_target(answers: Answers) -> str:
    """The label whose fraction of positives among known values is closest to 1/4; the first if equal."""
    known = ~np.isnan(answers.values)
    shares = np.where(known, answers.values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return answers.names[int(np.abs(shares - USUAL_FREQUENCY).argmin())]


def build_model(tasks: Sequence[str], source: Source, hidden: Sequence[int]) -> nn.Module:
    """A shared trunk and a linear head with two classes for each task."""
    images = source.images
    if images is not None:
        trunk: nn.Module = LeNet(*images.scale.shape, IMAGE_FEATURES)
        width = IMAGE_FEATURES
    else:
        numbers = source.read().features
        assert numbers is not None
        trunk, width = MLP(numbers.shape[1], hidden), hidden[-1]
    return MultitaskModel(trunk, {task: nn.Linear(width, 2) for task in tasks})


def draw(
    seed: int, *, source: Source, names: Sequence[str], metric: str, shares: Shares, most: int | None
) -> list[Task]:
    """The tasks' data for one seed, the target's first: each task has the examples with a known label."""
    data, (target, *auxiliaries) = source.read(), names
    generator = numpy_generator(seed, "multilabel", "split")
    try:
        parts = partition(data.answers.of(target), data.answers.groups, shares, generator, data.official)
    except UserError as error:
        raise UserError(f"multilabel: {error}") from None
    inputs = data.rows(source, parts.shared)

    def examples(task: str, rows: Any) -> Examples:
        return Examples(inputs(rows), torch.from_numpy(data.answers.of(task)[rows].astype(np.int64)))

    def known(task: str) -> Any:
        return parts.shared[~np.isnan(data.answers.of(task)[parts.shared])][:most]

    for split in ("select", "test"):
        there = set(data.answers.of(target)[getattr(parts, split)])
        if len(there) < 2:
            raise UserError(
                f"multilabel: {target}'s {split} split of {len(getattr(parts, split))} examples needs both yes and no; "
                f"give a larger {split}_fraction or another target"
            )
    splits: dict[str, Any] = {split: examples(target, getattr(parts, split)) for split in SPLITS}
    goal = Task(target, **splits, metric=metric)
    return [goal, *(Task(task, examples(task, known(task)), metric=metric) for task in auxiliaries)]
