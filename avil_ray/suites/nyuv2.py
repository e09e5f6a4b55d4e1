"""NYUv2 as used in multi-task learning: segmentation, depth and surface normals of 1,449 indoor images of 288 x 384.

Data: Silberman, Hoiem, Kohli and Fergus, "Indoor segmentation and support inference from RGBD images" (ECCV 2012), in
the preprocessed folder provided by MTAN (https://github.com/lorenmt/mtan) and used by LibMTL, Auto-Lambda and
ForkMerge, with 795 training and 654 test images::

    train/image/0.npy    [H, W, 3]  colours from 0 to 1
    train/label/0.npy    [H, W]     classes from 0, -1 where unknown
    train/depth/0.npy    [H, W, 1]  depths, 0 where unknown
    train/normal/0.npy   [H, W, 3]  normals of length 1, (0, 0, 0) where unknown
    val/…                the same

Their `val` is test here. They have no other held-out data; here dev and select are drawn from `train` by the seed. The
folder does not say which images show the same room, so images of one room may be in both train and select.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, between, whole
from avil_ray.models.dense import Kind, dense_model
from avil_ray.randomness import numpy_generator
from avil_ray.suites.dense_objectives import objectives
from avil_ray.suites.nyuv2_data import FOLDERS, DenseImages, Integers, ScaleCropFlip, read_layout
from avil_ray.suites.options import absolute, auxiliary_names, dev_labels
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task


def nyuv2(
    *,
    data_dir: str | Path | None = None,
    target: str = "segmentation",
    auxiliaries: Sequence[str] | None = None,
    target_labels: int | None = None,
    auxiliary_labels: int | None = None,
    dev_fraction: float = 0.2,
    select_fraction: float = 0.15,
    classes: int = 13,
    augment: bool = False,
    width: int = 32,
) -> Suite:
    """NYUv2 indoor images: segmentation, depth and surface normals, from the folder used by LibMTL and MTAN.

    Parameters
    ----------
    data_dir
        The preprocessed folder, with train/ and val/, each with .npy files in image/, label/, depth/ and normal/.
    target
        The target task: segmentation, depth or normals.
    auxiliaries
        The tasks that may help it. Default: the others.
    target_labels
        How many images the target has to learn from, train and dev together. Default: all that are not in select.
    auxiliary_labels
        How many images each auxiliary has at most. Default: all that are neither in select nor in dev.
    dev_fraction
        The fraction of the target's labelled images used as its dev split, above 0 and below 1.
    select_fraction
        The fraction of the images in train/ for choosing the best round and configuration, above 0 and below 1.
    classes
        The number of segmentation classes.
    augment
        Whether to scale, crop and flip training images at random, as is common for these data.
    width
        Channels of the trunk at full resolution; two and four times as many at lower ones.

    Raises
    ------
    UserError
        A task is unknown, or a number is out of range; when data are drawn: the folder has another layout.
    """
    kinds: dict[str, Kind] = {kind: kind for kind in FOLDERS}
    checked = auxiliary_names("nyuv2", target, auxiliaries, kinds, tuple(kinds))
    names = tuple(kinds[name] for name in (target, *checked))
    for name, count, least in (("target_labels", target_labels, 2), ("auxiliary_labels", auxiliary_labels, 1)):
        if count is not None:
            whole(f"nyuv2: {name}", count, least)
    shares = Shares(
        dev=between("nyuv2: dev_fraction", dev_fraction, 0, 1),
        select=between("nyuv2: select_fraction", select_fraction, 0, 1),
        target_labels=target_labels,
        auxiliary_labels=auxiliary_labels,
    )
    check_choices(nyuv2, {"augment": augment}, "nyuv2")
    whole("nyuv2: classes", classes, 2)
    whole("nyuv2: width", width, 1)
    options = {"target": target, "auxiliaries": list(names[1:]), "dev_fraction": dev_fraction, "classes": classes}
    options |= {"select_fraction": select_fraction, "augment": augment, "width": width}
    given = {"target_labels": target_labels, "auxiliary_labels": auxiliary_labels}
    options |= {name: count for name, count in given.items() if count is not None}
    folder = None if data_dir is None else absolute(data_dir)
    return Suite(
        name="nyuv2",
        target=target,
        task_names=names,
        tasks=partial(draw, folder=folder, names=names, classes=classes, shares=shares, augment=augment),
        model=partial(dense_model, {name: name for name in names}, classes, width),
        # a single image is a batch of 110,592 pixels
        learning=Learning(optimizer="adamw", learning_rate=1e-3, batch_size=8, evaluation_batch=8),
        options=options | ({} if data_dir is None else {"data_dir": str(data_dir)}),
    )


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How the images in train/ are divided; see `nyuv2`."""

    dev: float
    select: float
    target_labels: int | None
    auxiliary_labels: int | None


def draw(
    seed: int, *, folder: Path | None, names: Sequence[Kind], classes: int, shares: Shares, augment: bool
) -> list[Task]:
    """The tasks' data for one seed, the target's first; auxiliaries have no images from the target's other splits."""
    if folder is None:
        raise UserError("nyuv2: data_dir is missing; give the preprocessed folder that holds train/ and val/")
    (learn, tested), shape = read_layout(folder, [FOLDERS[name] for name in names])
    rows = split_rows(seed, learn, shares)

    def images(name: Kind, split: str) -> DenseImages:
        part, numbers = ("val", np.arange(tested)) if split == "test" else ("train", rows[split])
        return DenseImages(folder / part, name, numbers, shape, classes)

    def task(name: Kind, **splits: DenseImages) -> Task:
        arguments: dict[str, Any] = {**splits, **objectives(name)}
        return Task(name, **arguments | ({"augment": ScaleCropFlip(name)} if augment else {}))

    target, *auxiliaries = names
    return [
        task(target, **{split: images(target, split) for split in ("train", "dev", "select", "test")}),
        *(task(name, train=images(name, "auxiliaries")) for name in auxiliaries),
    ]


def split_rows(seed: int, count: int, shares: Shares) -> dict[str, Integers]:
    """Which of the `count` images in train/ are in the target's train, dev and select, and which are for auxiliaries.

    Raises
    ------
    UserError
        There are fewer images than requested labels.
    """
    order = numpy_generator(seed, "nyuv2", "split").permutation(count)
    select = min(max(round(count * shares.select), 1), count - 2)
    learn = order[select:]
    labels = len(learn)
    if shares.target_labels is not None:
        why = "what select leaves of train/"
        labels = whole("nyuv2: target_labels", shares.target_labels, 2, len(learn), why)
    dev = dev_labels(labels, shares.dev)
    return {
        "train": learn[dev:labels],
        "dev": learn[:dev],
        "select": order[:select],
        "auxiliaries": learn[dev:][: shares.auxiliary_labels],
    }
