"""Two overlaid pictures and questions about them: the common part of MultiMNIST and MultiFashion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avil_ray.errors import UserError, unknown, whole
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.vision import SMALLEST, LeNet
from avil_ray.randomness import numpy_generator
from avil_ray.suites.options import Sizes, auxiliary_names
from avil_ray.suites.pictures import Pictures
from avil_ray.suites.sources import Images
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

Integers = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

CANVAS = 36
"""Height and width in pixels of two overlaid 28 x 28 pictures, the second one shifted down and right by 8 pixels."""

FEATURES = 64
"""The number of features that the trunk gives each head."""

SHARES = {"train": 0.5, "dev": 0.1, "select": 0.15, "test": 0.25}
"""Split -> its fraction of the source pictures. If these have an official test, it is used as test, and the others
divide the rest in the same proportions."""

NOISE = "noise"
"""The task with random labels, which is an auxiliary only on request."""


@dataclass(frozen=True)
class Question:
    """A task about one of the two pictures, or (`side` None) one with random labels.

    Parameters
    ----------
    side
        The picture that the question is about.
    answers
        Class of that picture -> label.
    """

    side: Literal["left", "right"] | None
    answers: tuple[int, ...]

    @property
    def classes(self) -> int:
        """The number of labels."""
        return max(self.answers) + 1


@dataclass(frozen=True)
class Pair:
    """The source pictures of the left and right side; both may be the same source."""

    left: Pictures
    right: Pictures


def overlay_suite(
    name: str,
    questions: Mapping[str, Question],
    pair: Pair,
    *,
    target: str,
    auxiliaries: Sequence[str] | None,
    size: int,
    sizes: Sizes,
    options: Mapping[str, Any],
    random_labels: Mapping[str, float] | None = None,
) -> Suite:
    """The suite for a set of questions, with all arguments checked.

    Parameters
    ----------
    name
        The suite's name; random choices derive from it.
    questions
        Task -> its question.
    options
        The factory's own additional arguments.
    random_labels
        Auxiliary -> the fraction of its labels drawn at random.

    Raises
    ------
    UserError
        A task is unknown, the image size is out of range, or a fraction is below 0 or above 1.
    """
    usual = [task for task in questions if task != NOISE]
    auxiliaries = auxiliary_names(name, target, auxiliaries, questions, usual)
    whole(f"{name}: size", size, SMALLEST, CANVAS)
    spoiled = dict(random_labels or {})
    for task, share in spoiled.items():
        if task not in auxiliaries:
            raise unknown("auxiliary", task, auxiliaries, f"{name}: random_labels")
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise UserError(f"{name}: random_labels: {task} must be a share from 0 to 1, not {share}")
    asked = {task: questions[task] for task in (target, *auxiliaries)}
    return Suite(
        name=name,
        target=target,
        task_names=(target, *auxiliaries),
        tasks=partial(draw, name=name, questions=asked, pair=pair, size=size, sizes=sizes, spoiled=spoiled),
        model=partial(build_model, {task: question.classes for task, question in asked.items()}, size),
        options={
            "target": target,
            "auxiliaries": list(auxiliaries),
            "size": size,
            **({"random_labels": spoiled} if spoiled else {}),
            **options,
            **asdict(sizes),
        },
    )


def build_model(classes: Mapping[str, int], size: int) -> nn.Module:
    """A shared LeNet and a linear head for each task, given the tasks' numbers of classes."""
    heads = {task: nn.Linear(FEATURES, count) for task, count in classes.items()}
    return MultitaskModel(LeNet(1, size, size, FEATURES), heads)


def draw(
    seed: int,
    *,
    name: str,
    questions: Mapping[str, Question],
    pair: Pair,
    size: int,
    sizes: Sizes,
    spoiled: Mapping[str, float],
) -> list[Task]:
    """The tasks' data for one seed, the target's first. All tasks share their train images, in the same order.

    `spoiled` gives the fraction of an auxiliary's labels that is random.
    """
    left, right = pair.left.read(), pair.right.read()
    pairs = draw_pairs(seed, name, left, right, sizes.splits)
    images = {split: overlay(left.pixels[rows[:, 0]], right.pixels[rows[:, 1]], size) for split, rows in pairs.items()}

    def examples(task: str, split: str, count: int) -> Examples:
        question, rows = questions[task], pairs[split][:count]
        if question.side is None:
            answers = numpy_generator(seed, name, task, split).integers(question.classes, size=count)
        else:
            classes = left.labels[rows[:, 0]] if question.side == "left" else right.labels[rows[:, 1]]
            answers = np.array(question.answers)[classes]
        if task in spoiled:
            generator = numpy_generator(seed, name, task, "random labels")
            replaced = generator.random(count) < spoiled[task]
            answers = np.where(replaced, generator.integers(question.classes, size=count), answers)
        return Examples(images[split][:count], torch.from_numpy(answers))

    target, *auxiliaries = questions
    return [
        Task(
            target,
            train=examples(target, "train", sizes.target_train),
            dev=examples(target, "dev", sizes.dev),
            select=examples(target, "select", sizes.select),
            test=examples(target, "test", sizes.test),
        ),
        *(Task(task, examples(task, "train", sizes.auxiliary_labels)) for task in auxiliaries),
    ]


def draw_pairs(seed: int, name: str, left: Images, right: Images, overlays: Mapping[str, int]) -> dict[str, Integers]:
    """The source pictures of each overlay: split -> the numbers of its left and right ones, [N, 2].

    The splits share no source picture. Within a split, pictures appear equally often on their side, up to a difference
    of one (if one side's source is larger, some of its pictures may not appear). Requesting fewer overlays gives the
    first ones of a larger set with the same seed.
    """
    if left is right:
        sides = [split_sources(left, seed, name, "sources")] * 2
    else:
        sides = [split_sources(one, seed, name, "sources", side) for side, one in (("left", left), ("right", right))]
    return {
        split: _pairs([side[split] for side in sides], count, numpy_generator(seed, name, "pairs", split))
        for split, count in overlays.items()
    }


def split_sources(images: Images, seed: int, *purpose: str) -> dict[str, Integers]:
    """Split -> the shuffled numbers of its source pictures; no picture is in two splits."""
    generator, learnable = numpy_generator(seed, *purpose), len(images) - images.official_test
    shares = {split: share for split, share in SHARES.items() if split != "test" or not images.official_test}
    order = generator.permutation(learnable)
    ends = np.cumsum([round(share / sum(shares.values()) * learnable) for share in shares.values()])
    parts = dict(zip(shares, np.split(order, ends[:-1]), strict=True))
    if images.official_test:
        parts["test"] = learnable + generator.permutation(images.official_test)
    return parts


def _pairs(sides: Sequence[Integers], count: int, generator: np.random.Generator) -> Integers:
    """`count` pairs [count, 2] from repeated shuffles of the two sides' pictures."""
    columns: tuple[list[Integers], list[Integers]] = ([], [])
    for _ in range(0, count, min(map(len, sides))):
        for column, side in zip(columns, sides, strict=True):
            column.append(generator.permutation(side))
    return np.stack([np.concatenate(column)[:count] for column in columns], axis=1)


def overlay(left: Pixels, right: Pixels, size: int) -> Tensor:
    """Overlay pictures and scale them down to `size` by area averaging.

    Parameters
    ----------
    left, right
        The source pictures for the top left and bottom right, [N, 28, 28].

    Returns
    -------
    Tensor
        float32 images [N, 1, size, size] from 0 to 1.
    """
    side = left.shape[1]
    canvas = np.zeros((len(left), 1, CANVAS, CANVAS), dtype=np.uint8)
    canvas[:, 0, :side, :side] = left
    corner = canvas[:, 0, -side:, -side:]
    np.maximum(corner, right, out=corner)
    images = torch.from_numpy(canvas).float() / 255
    return F.interpolate(images, size=(size, size), mode="area") if size < CANVAS else images
