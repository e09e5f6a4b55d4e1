"""A suite of one's own: tasks of several kinds, with partial labels and very unequal numbers of examples.

Will a patient relapse? Only 90 patients have been followed long enough to say. Of many more something else is known:
the dose they needed (a number), the stage of their illness (one of four), and, of 20, whether a rare side effect came.
Not everything is known of everybody, so every task has patients of its own.

The numbers here are made up. To use your own, replace `patients` by what reads them and keep the rest::

    avil-ray sweep examples/unequal_tasks.yaml
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import nn

import avil_ray as avil

MEASUREMENTS, WIDTH = 12, 16
CLASSES = {"relapse": 2, "stage": 4, "side_effect": 2}  # `dose` is a number
KNOWN = {"relapse": 90, "dose": 2000, "stage": 600, "side_effect": 20}

Table = Mapping[str, torch.Tensor]


def suite(followed: int = KNOWN["relapse"]) -> avil.Suite:
    """What `suite: {factory: "examples.unequal_tasks:suite"}` names; its arguments are options in YAML.

    Parameters
    ----------
    followed
        How many patients there are of whom a relapse is known, train and dev together.
    """
    return avil.Suite(
        name="unequal-tasks",
        target="relapse",
        task_names=tuple(KNOWN),
        tasks=partial(tasks, followed=followed),  # functions of a module, not lambdas: they travel to other processes
        model=model,
        learning=avil.Learning(learning_rate=0.02, batch_size=32),
    )


def tasks(seed: int, followed: int) -> list[avil.Task]:
    """The data for one seed. Only the target needs dev, select and test; no patient stands in two of its splits."""
    table = patients(seed, KNOWN | {"relapse": followed})
    known = labelled(table, "relapse")
    select, test = (labelled(patients(seed, {"relapse": count}, split), "relapse") for split, count in SPLITS.items())
    dev = followed // 3
    return [
        avil.Task(
            "relapse",
            train=rows(known, slice(dev, None)),
            dev=rows(known, slice(dev)),
            select=select,
            test=test,
            metric="auc",
        ),
        avil.Task("dose", labelled(table, "dose"), loss="mean_squared_error", metric="mean_squared_error"),
        avil.Task("stage", labelled(table, "stage")),
        # 20 patients are fewer than a batch and fill it more than once; with replacement, batches differ more
        avil.Task("side_effect", labelled(table, "side_effect"), replacement=True),
    ]


def labelled(table: Table, task: str) -> avil.Examples:
    """The patients of whom the task's answer is known: NaN says that it is not."""
    answers = table[task]
    known = ~answers.isnan()
    labels = answers[known].long() if task in CLASSES else answers[known]  # classes are int64, numbers float32
    return avil.Examples(table["measurements"][known], labels)


def rows(examples: avil.Examples, part: slice) -> avil.Examples:
    """Some of the examples."""
    return avil.Examples(examples.inputs[part], examples.labels[part])


def model() -> nn.Module:
    """A trunk that all tasks share, and a head for each under its name; a number needs outputs [B], not [B, 1]."""
    trunk = nn.Sequential(nn.Linear(MEASUREMENTS, WIDTH), nn.ReLU())
    heads: dict[str, nn.Module] = {task: nn.Linear(WIDTH, classes) for task, classes in CLASSES.items()}
    heads["dose"] = nn.Sequential(nn.Linear(WIDTH, 1), nn.Flatten(0))
    return avil.MultitaskModel(trunk, heads)


SPLITS = {"select": 500, "test": 1500}


def patients(seed: int, known: Mapping[str, int], split: str = "train") -> Table:
    """Made-up patients: twelve measurements each, and answers that hang together, NaN where they are not known."""
    nature = np.random.default_rng(0)  # what answers hang on is the same in every split
    random = np.random.default_rng([seed, *split.encode()])
    directions = nature.standard_normal((3, MEASUREMENTS))
    count = max(known.values())
    measurements = random.standard_normal((count, MEASUREMENTS))
    illness, weight, chance = np.tanh(measurements @ directions.T / 2).T
    answers = {
        "relapse": (illness + 0.3 * random.standard_normal(count) > 0).astype(float),
        "dose": illness + weight + 0.1 * random.standard_normal(count),
        "stage": np.digitize(illness, [-0.6, 0, 0.6]).astype(float),
        "side_effect": (chance > 0).astype(float),
    }
    table = {"measurements": torch.tensor(measurements, dtype=torch.float32)}
    for task, labels in known.items():
        answers[task][random.permutation(count)[labels:]] = np.nan
        table[task] = torch.tensor(answers[task], dtype=torch.float32)
    return table


if __name__ == "__main__":
    for method in (avil.TargetOnly(), avil.AlphaVIL()):
        result = avil.train(suite(), method, rounds=10, steps_per_round=20, seed=0)
        print(f"{type(method).__name__}: AUC {result.test['auc']:.3f} on test")  # noqa: T201
