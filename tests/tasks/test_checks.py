"""Every mistake is one line that names the task, the split and the field."""

import numpy as np
import pytest
import small
import torch
from torch import Tensor, nn

from avil_ray.errors import UserError
from avil_ray.tasks.checks import OF_CLASSES, OF_NUMBERS, OF_TWO_CLASSES
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.objectives import METRICS
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

INPUTS = torch.zeros(4, 3)
CLASSES = torch.tensor([0, 1, 0, 1])


def suite(task: Task) -> Suite:
    return Suite(name="own", target=task.name, task_names=(task.name,), tasks=lambda seed: [task], model=nn.Identity)


def target(labels: Tensor, **options: str) -> Task:
    examples = Examples(torch.arange(len(labels)).float()[:, None], labels)
    return Task("price", *small.apart(examples), **options)


def message(examples: Examples, split: str, loss: str) -> str:
    splits = {"train": Examples(INPUTS, CLASSES.float() if loss != "cross_entropy" else CLASSES), split: examples}
    with pytest.raises(UserError) as caught:
        Task("price", **splits, loss=loss)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("split", ["train", "dev", "select", "test"])
def test_the_split_is_named(split: str) -> None:
    told = message(Examples(INPUTS, CLASSES[:3]), split, "cross_entropy")
    assert told == f"task 'price': its {split} split has 4 inputs but 3 labels; give one label for each input"


@pytest.mark.parametrize(
    ("inputs", "labels", "loss", "told"),
    [
        (INPUTS, CLASSES.float(), "cross_entropy", "labels must be int64 classes, not float32; use labels.long()"),
        (INPUTS, CLASSES.int(), "cross_entropy", "labels must be int64 classes, not int32; use labels.long()"),
        (INPUTS, torch.tensor([0, 1, -1, 2]), "cross_entropy", "labels[2] is -1; classes count from 0"),
        (INPUTS, torch.tensor([0, 1, 0, torch.nan]), "mean_squared_error", "labels[3] is nan; leave out examples"),
        (INPUTS, torch.tensor([torch.inf, 0, 0, 0]), "binary_cross_entropy", "labels[0] is inf; leave out examples"),
        (INPUTS, torch.tensor([0, 1, 2.5, 0]), "binary_cross_entropy", "labels lie from 0 to 2.5, but binary"),
        (INPUTS, torch.tensor([-1, 1, 1, -1]), "binary_cross_entropy", "labels lie from -1 to 1, but binary"),
        (INPUTS, CLASSES[:, None], "cross_entropy", "labels must be a tensor [N], not a tensor [4, 1]"),
        (INPUTS, [0, 1, 0, 1], "cross_entropy", "labels must be a tensor [N], not a list"),
        (INPUTS, np.array([0, 1, 0, 1]), "cross_entropy", "labels must be a tensor [N], not a ndarray"),
        (INPUTS.numpy(), CLASSES, "cross_entropy", "inputs must be a tensor [N, …], or an object with len()"),
        (["a", "b", "c", "d"], CLASSES, "cross_entropy", "inputs.join(other), not a list"),
    ],
)
def test_what_is_wrong_with_a_split_is_told(inputs: object, labels: object, loss: str, told: str) -> None:
    line = message(Examples(inputs, labels), "dev", loss)
    assert line.startswith("task 'price': its dev split: ")
    assert told in line


def test_every_loss_takes_labels_that_fit_it() -> None:
    for loss, labels in {
        "cross_entropy": CLASSES,
        "binary_cross_entropy": torch.tensor([0.0, 1, 0.3, 1]),
        "mean_squared_error": torch.tensor([-3.0, 1e9, 0, 2]),
    }.items():
        assert len(Task("price", Examples(INPUTS, labels), loss=loss).train) == 4


def test_the_metrics_named_here_are_there() -> None:
    assert {*OF_TWO_CLASSES, *OF_CLASSES, *OF_NUMBERS} <= set(METRICS)


def test_a_metric_of_classes_cannot_judge_numbers() -> None:
    task = target(torch.tensor([0.5, 1, 2, 3]), loss="mean_squared_error")
    with pytest.raises(UserError) as caught:
        suite(task).draw(0)
    assert str(caught.value) == (
        "task 'price': metric 'accuracy' compares classes, but the loss is mean_squared_error; "
        f"give one of {', '.join(OF_NUMBERS)}"
    )


def test_a_metric_of_numbers_cannot_judge_classes() -> None:
    with pytest.raises(
        UserError, match="task 'price': metric 'pearson' compares numbers, but the loss is cross_entropy"
    ):
        suite(target(CLASSES, metric="pearson")).draw(0)


@pytest.mark.parametrize("metric", ["f1", "auc"])
def test_a_metric_of_two_classes_cannot_judge_three(metric: str) -> None:
    said = f"'{metric}' knows labels 0 and 1 only, but train has 2; give accuracy_and_macro_f1 or matthews"
    with pytest.raises(UserError, match=said):
        suite(target(torch.tensor([0, 1, 2, 1]), metric=metric)).draw(0)
    assert suite(target(CLASSES, metric=metric)).draw(0)["price"].metric == metric


@pytest.mark.parametrize("metric", OF_NUMBERS)
def test_numbers_go_with_every_metric_of_numbers(metric: str) -> None:
    task = target(torch.tensor([0.5, 1, 2, 3]), loss="mean_squared_error", metric=metric)
    assert suite(task).draw(0)["price"].mode == METRICS[metric].mode
