"""Multi-label data: every label a yes-or-no task on the same inputs. Yeast, any table, or a folder of images.

The tasks share a trunk. An example whose label nobody knows is not among that task's data, but may be among others'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from avil_ray.errors import UserError
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.tabular import MLP
from avil_ray.models.vision import SMALLEST, LeNet
from avil_ray.randomness import numpy_generator
from avil_ray.suites.image_folder import ImageRows, ImageStore, data_entry, find_images, official_lists, statistics
from avil_ray.suites.options import absolute, auxiliary_names, between, whole
from avil_ray.suites.partition import Parts, Shares, partition
from avil_ray.suites.suite import Examples, Learning, Suite, Task
from avil_ray.suites.tables import Answers, Floats, column, read_answers, read_csv, read_features, task_name, yeast_file

FREQUENCY = 0.25
"""The usual target is the label whose share of yes comes nearest to this."""

STATISTICS_FROM = 500
"""Images of the train split whose pixels give mean and deviation: all of ChestX-ray14's would take minutes to read."""

FEATURES = 64
"""What an image trunk gives each head."""

CHEST = {"image_column": "Image Index", "labels": "Finding Labels", "group": "Patient ID"}
"""ChestX-ray14's columns, which stand for what is not given where there are images."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the examples come from, small enough to travel; what is None is decided by what is there."""

    table: Path
    labels: tuple[str, ...] | str
    features: tuple[str, ...] | None
    group: str | None
    images: Path | None
    image_column: str
    size: int
    colour: bool
    keep_images: bool


@dataclass(frozen=True)
class Data:
    """N examples: their answers, and either their inputs, [N, features], or the names of their images."""

    answers: Answers
    features: Floats | None
    images: tuple[str, ...] = ()
    official: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None = None


def multilabel(
    *,
    table: str | Path | None = None,
    labels: Sequence[str] | str | None = None,
    features: Sequence[str] | None = None,
    group: str | None = None,
    images: str | Path | None = None,
    image_column: str | None = None,
    target: str | None = None,
    auxiliaries: Sequence[str] | None = None,
    metric: Literal["auc", "f1"] = "auc",
    target_labels: int | None = None,
    auxiliary_labels: int | None = None,
    dev_fraction: float = 1 / 3,
    select_fraction: float = 0.15,
    test_fraction: float = 0.25,
    hidden: Sequence[int] = (64,),
    size: int = 64,
    colour: bool = False,
    keep_images: bool = True,
) -> Suite:
    """Multi-label data, each label a yes-or-no task: yeast genes, any CSV table, or images (ChestX-ray14's layout).

    Parameters
    ----------
    table
        A CSV file with a line of column names, gzipped or not. Not given: yeast, of the package river; with `images`,
        the folder's Data_Entry*.csv.
    labels
        Columns of 1, 0 or nothing (nobody knows), or the one column of names with | between them. Not given: yeast's
        columns Class1 and so on; with `images`, Finding Labels.
    features
        The columns that are inputs, in a table without images. Not given: all others.
    group
        The column whose equal values keep examples in one split. Not given: none; with `images`, Patient ID if there.
    images
        A folder of PNG or JPEG images, at any depth. Where it has train_val_list.txt and test_list.txt, these say what
        is test.
    image_column
        The column of the images' names. Not given: Image Index.
    target
        The label that counts. Not given: that which is nearest to 25 % yes.
    auxiliaries
        The labels that may help it. Not given: all the others.
    metric
        auc (the area under the ROC curve) or f1.
    target_labels
        How many labelled examples the target has to learn from, train and dev together. Not given: all that there are.
    auxiliary_labels
        How many each auxiliary has at most. Not given: all that there are.
    dev_fraction
        The share of the target's labelled examples that is its dev split, above 0 and below 1.
    select_fraction, test_fraction
        The shares of examples that choose the best round and configuration, and that are read once after that.
    hidden
        The widths of the trunk's layers, for a table without images.
    size
        Height and width that images are scaled to, in pixels, 16 or more.
    colour
        Whether images have three channels, or one grey one.
    keep_images
        Whether images stay in memory (as bytes, at their scaled size) once they are read; else each batch reads its own.

    Raises
    ------
    UserError
        A file, column, label or image that is not there or is something else; a number out of its range.
    """
    if metric not in ("auc", "f1"):
        raise UserError(f"multilabel: metric must be 'auc' or 'f1', not {metric!r}")
    whole("multilabel: size", size, SMALLEST)
    if auxiliary_labels is not None:
        whole("multilabel: auxiliary_labels", auxiliary_labels, 1)
    shares = _shares(target_labels, dev_fraction, select_fraction, test_fraction)
    source = _source(table, labels, features, group, images, image_column, size=size, colour=colour, keep=keep_images)
    data = read(source)
    names = data.answers.names
    target = usual_target(data.answers) if target is None else task_name(target)
    if auxiliaries is not None and not isinstance(auxiliaries, str):
        auxiliaries = [task_name(name) for name in auxiliaries]
    auxiliaries = auxiliary_names("multilabel", target, auxiliaries, names, names)
    given = {"table": table, "labels": labels, "features": features, "group": group, "images": images}
    return Suite(
        name="multilabel",
        target=target,
        task_names=(target, *auxiliaries),
        tasks=partial(
            draw, source=source, tasks=(target, *auxiliaries), metric=metric, shares=shares, most=auxiliary_labels
        ),
        model=partial(build_model, (target, *auxiliaries), _input_shape(source, data), tuple(hidden)),
        learning=LEARNING,
        options={
            **{name: _plain(value) for name, value in given.items() if value is not None},
            "target": target,
            "auxiliaries": list(auxiliaries),
            "metric": metric,
            "target_labels": target_labels,
            "auxiliary_labels": auxiliary_labels,
            "dev_fraction": dev_fraction,
            "select_fraction": select_fraction,
            "test_fraction": test_fraction,
            "hidden": list(hidden),
        },
    )
