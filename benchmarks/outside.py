"""Suites that the package knows nothing of: tables of real data that river and scikit-learn ship.

`segments`   2,045 patches of outdoor photographs, 16 numbers each: which of seven things does a patch show?
`phishing`   1,250 web pages, six answers about each: is it after one's password?
`digits`     1,797 digits of 8 x 8 pixels: is it a prime?
`cancer`     569 tumours, 27 measures each: is it malignant?

Each has four auxiliaries: some should help, one is labels at random; of the first two suites there is a form in which
all are. Named by search spaces as a user's own suite is: `suite: {factory: "benchmarks.outside:segments"}`. No row
stands in two splits; pages may be alike all the same, as six answers take 217 values in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.models.tabular import MLP

WIDTH = 32
AUXILIARY_LABELS = 400
"""What an auxiliary learns from, or all that the target and its splits leave over where that is less."""

ALONG = ("request_from_other_domain", "anchor_from_other_domain", "age_of_domain")
MEASURES = (0, 5, 21)
"""The columns of a tumour's mean radius, mean compactness and worst texture."""
NATURE, PLANTS = ("sky", "foliage", "grass"), ("foliage", "grass")


@dataclass(frozen=True)
class Table:
    """N examples: inputs [N, D], as they come, and each task's classes [N]; target first."""

    inputs: npt.NDArray[np.float64]
    classes: Mapping[str, npt.NDArray[np.int64]]


def segments(target_labels: int = 70, *, all_noise: bool = False) -> avil.Suite:
    """What a patch shows; beside it: is it nature, is it a plant, is it in the picture's lower half, and noise."""
    return _suite("segments", read_segments(), target_labels, all_noise=all_noise)


def phishing(target_labels: int = 60, *, all_noise: bool = False) -> avil.Suite:
    """Whether a page is after one's password; beside it three answers that are no inputs here, and noise."""
    return _suite("phishing", read_phishing(), target_labels, all_noise=all_noise)


def digits(target_labels: int = 70) -> avil.Suite:
    """Whether a digit is a prime; beside it: is it odd, has it a loop, which digit is another one, and noise."""
    from sklearn.datasets import load_digits

    found = load_digits()
    classes = {
        "prime": np.isin(found.target, [2, 3, 5, 7]),
        "odd": found.target % 2,
        "loops": np.isin(found.target, [0, 6, 8, 9]),
        "wrong": np.random.default_rng(5).permutation(found.target),
    }
    return _suite("digits", _table(found.data.tolist(), classes), target_labels)


def cancer(target_labels: int = 30) -> avil.Suite:
    """Whether a tumour is malignant; beside it: are three measures, which are no inputs then, large, and noise."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    large = {f"large_{column}": found.data[:, column] > np.median(found.data[:, column]) for column in MEASURES}
    inputs = np.delete(found.data, MEASURES, axis=1).tolist()
    return _suite("cancer", _table(inputs, {"malignant": found.target, **large}), target_labels)


def read_segments() -> Table:
    """Of 2,310 patches listed the first alone of those with the same inputs; where they lie is a task, no input."""
    from river.datasets import ImageSegments

    patches: dict[tuple[float, ...], tuple[str, float]] = {}
    for row, name in ImageSegments():  # type: ignore[no-untyped-call]
        inputs = tuple(value for key, value in row.items() if not key.startswith("region-centroid"))
        patches.setdefault(inputs, (name, row["region-centroid-row"]))
    names, rows = map(np.array, zip(*patches.values(), strict=True))
    classes = {
        "shows": np.unique(names, return_inverse=True)[1],
        "nature": np.isin(names, NATURE),
        "plant": np.isin(names, PLANTS),
        "lower": rows > np.median(rows),
    }
    return _table(list(patches), classes)


def read_phishing() -> Table:
    """The pages; the three answers that are tasks are no inputs."""
    from river.datasets import Phishing

    rows = list(Phishing())
    inputs = [[value for key, value in row.items() if key not in ALONG] for row, _ in rows]
    along = {key: np.unique([row[key] for row, _ in rows], return_inverse=True)[1] for key in ALONG}
    return _table(inputs, {"phishing": np.array([label for _, label in rows]), **along})


def _table(inputs: Sequence[Sequence[float]], classes: Mapping[str, npt.NDArray[np.generic]]) -> Table:
    whole = {task: labels.astype(np.int64) for task, labels in classes.items()}
    return Table(np.array(inputs, dtype=np.float64), whole)


def _suite(name: str, table: Table, target_labels: int, *, all_noise: bool = False) -> avil.Suite:
    names = (*table.classes, "noise")
    return avil.Suite(
        name=name,
        target=names[0],
        task_names=names,
        tasks=partial(_noise_tasks if all_noise else _tasks, table=table, target_labels=target_labels),
        model=partial(_model, table=table),
    )


def _tasks(seed: int, table: Table, target_labels: int) -> list[avil.Task]:
    """Half of the table is test, a sixth select; no row is in two splits, nor do auxiliaries learn from one.

    What is learned from has inputs with mean 0 and variance 1; select and test are scaled as that is.
    """
    random = np.random.default_rng(seed)
    target, size = next(iter(table.classes)), len(table.inputs)
    select, test, rest = np.split(random.permutation(size), [size // 6, size // 6 + size // 2])
    labelled, others = rest[:target_labels], rest[target_labels:]
    dev = target_labels // 3
    noise = random.integers(table.classes[target].max() + 1, size=size)
    inputs = torch.from_numpy(StandardScaler().fit(table.inputs[rest]).transform(table.inputs).astype(np.float32))
    of_target = partial(_examples, inputs, table.classes[target])
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
            avil.Task(task, _examples(inputs, labels, random.permutation(others)[:AUXILIARY_LABELS]))
            for task, labels in auxiliaries.items()
        ),
    ]


def _noise_tasks(seed: int, table: Table, target_labels: int) -> list[avil.Task]:
    """The same, with labels at random for every auxiliary."""
    target, *auxiliaries = _tasks(seed, table, target_labels)
    random = np.random.default_rng(seed + 1_000_000)

    def noise(examples: avil.Examples) -> avil.Examples:
        labels = random.integers(int(examples.labels.max()) + 1, size=len(examples))
        return avil.Examples(examples.inputs, torch.from_numpy(labels))

    return [target, *(avil.Task(task.name, noise(task.train)) for task in auxiliaries)]


def _examples(inputs: Tensor, labels: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> avil.Examples:
    return avil.Examples(inputs[rows], torch.from_numpy(labels[rows]))


def _model(table: Table) -> nn.Module:
    trunk = MLP(table.inputs.shape[1], [WIDTH, WIDTH])
    counts = {task: int(labels.max()) + 1 for task, labels in table.classes.items()}
    counts["noise"] = next(iter(counts.values()))
    return avil.MultitaskModel(trunk, {task: nn.Linear(WIDTH, count) for task, count in counts.items()})
