"""Two suites that no choice in alphaVIL was made on: tables of real data that the package river ships.

`segments`   2,310 patches of outdoor photographs, 16 numbers each: which of seven things does a patch show?
`phishing`   1,250 web pages, six answers about each: is it after one's password?

Each has four auxiliaries: some should help, one is labels at random. Named by search spaces as a user's own suite is:
`suite: {factory: "benchmarks.outside:segments"}`. No row stands in two splits, but rows may be alike: pages have six
answers that take 217 values in all, and the table lists 224 patches again, so that 2 % of test rows are in train or dev
too, for every method. Inputs are scaled over the whole table; labels play no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

import avil_ray as avil
from avil_ray.models.tabular import MLP

WIDTH = 32
AUXILIARY_LABELS = 400
"""What an auxiliary learns from, or all that the target and its splits leave over where that is less."""

ALONG = ("request_from_other_domain", "anchor_from_other_domain", "age_of_domain")
NATURE, PLANTS = ("sky", "foliage", "grass"), ("foliage", "grass")


@dataclass(frozen=True)
class Table:
    """N examples: inputs [N, D], each column with mean 0 and variance 1, and each task's classes [N]; target first."""

    inputs: npt.NDArray[np.float32]
    classes: Mapping[str, npt.NDArray[np.int64]]


def segments(target_labels: int = 70) -> avil.Suite:
    """What a patch shows; beside it: is it nature, is it a plant, is it in the picture's lower half, and noise."""
    return _suite("segments", read_segments(), target_labels)


def phishing(target_labels: int = 60) -> avil.Suite:
    """Whether a page is after one's password; beside it three answers that are no inputs here, and noise."""
    return _suite("phishing", read_phishing(), target_labels)


def read_segments() -> Table:
    """The patches; where in the picture they lie is no input, as a task asks for it."""
    from river.datasets import ImageSegments

    rows = list(ImageSegments())  # type: ignore[no-untyped-call]
    names = np.array([name for _, name in rows])
    lower = np.array([row["region-centroid-row"] for row, _ in rows])
    inputs = [[value for key, value in row.items() if not key.startswith("region-centroid")] for row, _ in rows]
    classes = {
        "shows": np.unique(names, return_inverse=True)[1],
        "nature": np.isin(names, NATURE),
        "plant": np.isin(names, PLANTS),
        "lower": lower > np.median(lower),
    }
    return _table(inputs, classes)


def read_phishing() -> Table:
    """The pages; the three answers that are tasks are no inputs."""
    from river.datasets import Phishing

    rows = list(Phishing())
    inputs = [[value for key, value in row.items() if key not in ALONG] for row, _ in rows]
    along = {key: np.unique([row[key] for row, _ in rows], return_inverse=True)[1] for key in ALONG}
    return _table(inputs, {"phishing": np.array([label for _, label in rows]), **along})


def _table(inputs: list[list[float]], classes: Mapping[str, npt.NDArray[np.generic]]) -> Table:
    scaled = StandardScaler().fit_transform(np.array(inputs, dtype=np.float64))
    return Table(scaled.astype(np.float32), {task: labels.astype(np.int64) for task, labels in classes.items()})


def _suite(name: str, table: Table, target_labels: int) -> avil.Suite:
    names = (*table.classes, "noise")
    return avil.Suite(
        name=name,
        target=names[0],
        task_names=names,
        tasks=partial(_tasks, table=table, target_labels=target_labels),
        model=partial(_model, table=table),
    )


def _tasks(seed: int, table: Table, target_labels: int) -> list[avil.Task]:
    """Half of the table is test, a sixth select; no row is in two splits, nor do auxiliaries learn from one."""
    random = np.random.default_rng(seed)
    target, size = next(iter(table.classes)), len(table.inputs)
    select, test, rest = np.split(random.permutation(size), [size // 6, size // 6 + size // 2])
    labelled, others = rest[:target_labels], rest[target_labels:]
    dev = target_labels // 3
    noise = random.integers(table.classes[target].max() + 1, size=size)
    of_target = partial(_examples, table, table.classes[target])
    auxiliaries = {**table.classes, "noise": noise}
    del auxiliaries[target]
    return [
        avil.Task(
            target,
            of_target(labelled[dev:]),
            dev=of_target(labelled[:dev]),
            select=of_target(select),
            test=of_target(test),
        ),
        *(
            avil.Task(task, _examples(table, labels, random.permutation(others)[:AUXILIARY_LABELS]))
            for task, labels in auxiliaries.items()
        ),
    ]


def _examples(table: Table, labels: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> avil.Examples:
    return avil.Examples(torch.from_numpy(table.inputs[rows]), torch.from_numpy(labels[rows]))


def _model(table: Table) -> nn.Module:
    trunk = MLP(table.inputs.shape[1], [WIDTH, WIDTH])
    counts = {task: int(labels.max()) + 1 for task, labels in table.classes.items()}
    counts["noise"] = next(iter(counts.values()))
    return avil.MultitaskModel(trunk, {task: nn.Linear(WIDTH, count) for task, count in counts.items()})
