"""Teacher networks with known relatedness to the target: a suite that shows what a method gets right.

Every task labels the same Gaussian vectors by the argmax of its own teacher: a network with one hidden layer shared by
all teachers and its own readout. The hidden units use orthonormal directions, so for Gaussian inputs they are
independent, with mean 0 and equal variance; the cosine of two readouts is therefore exactly the correlation of the two
teachers' outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, between, whole
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.tabular import MLP
from avil_ray.randomness import numpy_generator
from avil_ray.suites.options import Sizes, checked_sizes
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

Floats = npt.NDArray[np.float64]

TARGET_UNITS = 4
"""The number of hidden units read by the target's teacher."""

MOST_TASKS = 1000
"""The maximum number of auxiliaries of each kind."""

FREQUENCY = 1.25
"""A hidden unit is sin(1.25 z): linear enough to be learned, nonlinear enough to need the trunk."""


def synthetic(
    *,
    head: Literal["separate", "shared"] = "shared",
    helpful: int = 2,
    neutral: int = 1,
    harmful: int | None = None,
    noise: int = 1,
    relatedness: float = 0.9,
    target_labels: int | None = 300,
    auxiliary_labels: int | None = None,
    dev_fraction: float = 1 / 3,
    inputs: int = 20,
    classes: int = 4,
    width: int = 8,
    train: int = 3000,
    select: int = 1000,
    test: int = 2000,
) -> Suite:
    """Teacher networks of known relatedness to the target: helpful_1, neutral_1, harmful_1, noise_1 and so on.

    Parameters
    ----------
    head
        shared: all tasks use one head, so tasks with negative relatedness conflict with the target. separate: each task
        has its own head, and tasks compete for a narrow trunk.
    helpful
        The number of auxiliaries with positive relatedness.
    neutral
        How many auxiliaries have relatedness 0: a teacher unrelated to the target's.
    harmful
        How many auxiliaries have negative relatedness. Default: 2 where the head is shared. Separate heads allow
        none, as a head of its own turns a reversed teacher round.
    noise
        The number of auxiliaries with random labels.
    relatedness
        The relatedness of helpful_1, above 0 and below 1; the k-th of n has (n + 1 - k) / n of it, and harmful ones the
        negative.
    target_labels
        How many labelled examples the target has, train and dev together, up to `train`. Default: 300; null: `train`.
    auxiliary_labels
        How many labelled examples each auxiliary has, up to `train`. Default: `train`.
    dev_fraction
        The fraction of the target's labelled examples used as its dev split, above 0 and below 1.
    inputs
        Numbers per example, at least 5.
    classes
        The number of classes of every task.
    width
        Hidden units of the trunk.
    train
        The number of training examples, shared by all tasks.
    select
        The number of examples for choosing the best round and configuration.
    test
        The number of test examples, used once after selection.

    Raises
    ------
    UserError
        The kind of head is unknown, there are harmful tasks with separate heads, or a number is out of range.
    """
    check_choices(synthetic, locals(), "synthetic")
    if harmful is None:
        harmful = 2 if head == "shared" else 0
    for name, count in (("helpful", helpful), ("neutral", neutral), ("harmful", harmful), ("noise", noise)):
        whole(f"synthetic: {name}", count, 0, MOST_TASKS)
    if harmful and head == "separate":
        raise UserError("synthetic: no task is harmful behind a head of its own; give head: shared, or harmful: 0")
    options = {
        "head": head,
        "helpful": helpful,
        "neutral": neutral,
        "harmful": harmful,
        "noise": noise,
        "relatedness": between("synthetic: relatedness", relatedness, 0, 1),
        "inputs": whole("synthetic: inputs", inputs, TARGET_UNITS + 1),
        "classes": whole("synthetic: classes", classes, 2),
        "width": whole("synthetic: width", width, 1),
    }
    sizes = checked_sizes(
        "synthetic",
        target_labels=target_labels,
        auxiliary_labels=auxiliary_labels,
        dev_fraction=dev_fraction,
        train=train,
        select=select,
        test=test,
    )
    related = _related(helpful, neutral, harmful, noise, relatedness)
    names = ("target", *related)
    return Suite(
        name="synthetic",
        target="target",
        task_names=names,
        tasks=partial(draw, head=head, related=related, inputs=inputs, classes=classes, sizes=sizes),
        model=partial(build_model, () if head == "shared" else names, inputs, width, classes),
        options=options | asdict(sizes),
    )


def known_relatedness(suite: Suite) -> dict[str, float]:
    """Each auxiliary's relatedness to the target in a `synthetic` suite, from -1 to 1; 0 for random labels.

    With a shared head it is the correlation of the auxiliary teacher's outputs with the target teacher's. With separate
    heads, it measures how much a teacher reads the same hidden units as the target's: only those for 1, none of them
    for 0; its square is the fraction of the teacher's variance explained by those units.
    """
    names = ("helpful", "neutral", "harmful", "noise", "relatedness")
    return _related(**{name: suite.options[name] for name in names})


def _related(helpful: int, neutral: int, harmful: int, noise: int, relatedness: float) -> dict[str, float]:
    """The auxiliaries, from the most related to the most opposed, followed by those with random labels."""
    return (
        {f"helpful_{k + 1}": relatedness * (helpful - k) / helpful for k in range(helpful)}
        | {f"neutral_{k + 1}": 0.0 for k in range(neutral)}
        | {f"harmful_{k + 1}": -relatedness * (harmful - k) / harmful for k in range(harmful)}
        | {f"noise_{k + 1}": 0.0 for k in range(noise)}
    )


def build_model(own_heads: Sequence[str], inputs: int, width: int, classes: int) -> nn.Module:
    """One shared hidden layer; tasks without their own head share one in the trunk."""
    trunk = MLP(inputs, [width])
    if own_heads:
        return MultitaskModel(trunk, {task: nn.Linear(width, classes) for task in own_heads})
    return MultitaskModel(nn.Sequential(trunk, nn.Linear(width, classes)), {})


def draw(
    seed: int,
    *,
    head: Literal["separate", "shared"],
    related: Mapping[str, float],
    inputs: int,
    classes: int,
    sizes: Sizes,
) -> list[Task]:
    """The tasks' data for one seed. All tasks share their train inputs, in the same order."""
    teachers = draw_teachers(seed, head=head, related=related, inputs=inputs, classes=classes)
    vectors = {
        split: numpy_generator(seed, "synthetic", "inputs", split).standard_normal((count, inputs), dtype=np.float32)
        for split, count in sizes.splits.items()
    }

    def examples(task: str, split: str, count: int) -> Examples:
        rows = vectors[split][:count]
        if task in teachers.readouts:
            answers = teachers.outputs(task, rows).argmax(axis=1)
        else:
            answers = numpy_generator(seed, "synthetic", "noise", task).integers(classes, size=count)
        return Examples(torch.from_numpy(rows), torch.from_numpy(answers))

    return [
        Task(
            "target",
            train=examples("target", "train", sizes.target_train),
            dev=examples("target", "dev", sizes.dev),
            select=examples("target", "select", sizes.select),
            test=examples("target", "test", sizes.test),
        ),
        *(Task(name, examples(name, "train", sizes.auxiliary_labels)) for name in related),
    ]


@dataclass(frozen=True)
class Teachers:
    """One hidden layer, `directions` [inputs, inputs], and a readout [classes, inputs] for each task except noise."""

    directions: Floats
    readouts: Mapping[str, Floats]

    def outputs(self, task: str, vectors: npt.NDArray[np.floating]) -> Floats:
        """The outputs [N, classes] of the task's teacher for vectors [N, inputs]; the argmax is the label."""
        return np.asarray(np.sin(FREQUENCY * (vectors @ self.directions)) @ self.readouts[task].T)


def draw_teachers(
    seed: int, *, head: Literal["separate", "shared"], related: Mapping[str, float], inputs: int, classes: int
) -> Teachers:
    """The teachers for one seed; a task's teacher does not depend on the other tasks."""

    def readout(name: str, units: slice) -> Floats:
        """A random unit-length readout of some units; the sum over classes is 0, as argmax ignores it."""
        rows = np.zeros((classes, inputs))
        drawn = numpy_generator(seed, "synthetic", "readout", name, units.start).standard_normal(rows[:, units].shape)
        rows[:, units] = drawn - drawn.mean(axis=0)
        return rows / np.linalg.norm(rows)

    everything, seen, unseen = slice(0, inputs), slice(0, TARGET_UNITS), slice(TARGET_UNITS, inputs)
    target = readout("target", seen)
    readouts = {"target": target}
    for name, share in related.items():
        if name.startswith("noise"):
            continue
        if head == "shared":
            rest = readout(name, everything)
            rest -= (rest * target).sum() * target
            same, rest = target, rest / np.linalg.norm(rest)
        else:
            same, rest = readout(name, seen), readout(name, unseen)
        readouts[name] = share * same + np.sqrt(1 - share**2) * rest
    square = numpy_generator(seed, "synthetic", "directions").standard_normal((inputs, inputs))
    return Teachers(np.linalg.qr(square).Q, readouts)
