"""A target's metric must be defined on its splits, and no example may stand in two of them."""

import dataclasses

import pytest
import small
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from avil_ray.errors import UserError
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.named_metrics import METRICS
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

OF_NUMBERS = [name for name, metric in METRICS.items() if metric.kind == "numbers"]
OF_TWO_CLASSES = [name for name, metric in METRICS.items() if metric.kind == "two classes"]
UNDEFINED = [name for name, metric in METRICS.items() if metric.kind != "numbers" and metric.varied]

INPUTS = torch.zeros(4, 3)
CLASSES = torch.tensor([0, 1, 0, 1])
BROKEN = torch.zeros(4, 3)
BROKEN[2, 1] = torch.nan


COLUMN = Examples(small.Column(torch.arange(12.0).view(4, 3)), CLASSES)


def suite(task: Task) -> Suite:
    return Suite(name="own", target=task.name, task_names=(task.name,), tasks=lambda seed: [task], model=nn.Identity)


def target(labels: Tensor, **options: str) -> Task:
    examples = Examples(torch.arange(len(labels)).float()[:, None], labels)
    return Task("price", *small.apart(examples), **options)


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
    said = f"'{metric}' supports only labels 0 and 1, but train has 2; give f1_macro or matthews"
    with pytest.raises(UserError, match=said):
        suite(target(torch.tensor([0, 1, 2, 1]), metric=metric)).draw(0)
    assert suite(target(CLASSES, metric=metric)).draw(0)["price"].metric == metric


@pytest.mark.parametrize("metric", OF_NUMBERS)
def test_numbers_go_with_every_metric_of_numbers(metric: str) -> None:
    task = target(torch.tensor([0.5, 1, 2, 3]), loss="mean_squared_error", metric=metric)
    assert suite(task).draw(0)["price"].measure.mode == METRICS[metric].mode


OF_ONE = torch.zeros(4, dtype=torch.int64)


def judged(metric: str, split: str, labels: Tensor, **options: str) -> Suite:
    whole = target(CLASSES if "loss" not in options else CLASSES.float(), metric=metric, **options)
    examples = Examples(getattr(whole, split).inputs, labels)
    return suite(dataclasses.replace(whole, **{split: examples}))


@pytest.mark.parametrize("split", ["select", "test"])
@pytest.mark.parametrize("metric", UNDEFINED)
def test_a_figure_that_is_undefined_on_a_split_is_refused(metric: str, split: str) -> None:
    needed = "both 0 and 1" if metric in OF_TWO_CLASSES else "two different labels at least"
    for labels in (OF_ONE, OF_ONE + 1):
        with pytest.raises(UserError) as caught:
            judged(metric, split, labels).draw(0)
        assert str(caught.value) == (
            f"task 'price': metric {metric!r} is undefined on the {split} split: all its labels are {labels[0]}, and "
            f"it needs {needed}; give a larger split or another metric"
        )
    assert judged("accuracy", split, OF_ONE).draw(0)


@pytest.mark.parametrize("split", ["select", "test"])
@pytest.mark.parametrize("metric", ["pearson", "spearman", "pearson_and_spearman"])
def test_a_correlation_with_constant_labels_is_refused(metric: str, split: str) -> None:
    kind = {"loss": "mean_squared_error"}
    with pytest.raises(
        UserError, match=f"metric '{metric}' is undefined on the {split} split: all its labels are 2.5,"
    ):
        judged(metric, split, torch.full((4,), 2.5), **kind).draw(0)
    assert judged("mean_absolute_error", split, torch.full((4,), 2.5), **kind).draw(0)


@pytest.mark.parametrize("split", ["train", "dev", "select", "test"])
def test_a_third_class_in_any_split_is_refused(split: str) -> None:
    with pytest.raises(UserError, match=f"metric 'f1' supports only labels 0 and 1, but {split} has 2; give f1_macro"):
        judged("f1", split, torch.tensor([0, 1, 2, 1])).draw(0)


def test_shares_of_a_class_may_train_but_not_judge() -> None:
    shares = torch.tensor([0.0, 0.25, 1, 1])
    assert judged("f1", "train", shares, loss="binary_cross_entropy").draw(0)
    with pytest.raises(
        UserError, match=r"metric 'accuracy' supports only labels 0 and 1, but select has 0.25; round them"
    ):
        judged("accuracy", "select", shares, loss="binary_cross_entropy").draw(0)


ROWS = Examples(torch.arange(24.0).view(8, 3), torch.tensor([0, 1] * 4))


def part(rows: slice, examples: Examples = ROWS) -> Examples:
    return Examples(examples.inputs[rows], examples.labels[rows])


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (ROWS, ROWS),
        (ROWS, Examples(ROWS.inputs, 1 - ROWS.labels)),
        (ROWS, Examples(ROWS.inputs.clone(), ROWS.labels.clone())),
        (part(slice(0, 4)), part(slice(2, 6))),
        (part(slice(0, 8, 2)), part(slice(2, 6))),
        (COLUMN, COLUMN),
        (COLUMN, Examples(COLUMN.inputs, 1 - COLUMN.labels)),
    ],
)
@pytest.mark.parametrize("splits", [("train", "dev"), ("select", "test"), ("train", "test")])
def test_no_example_may_stand_in_two_splits(one: Examples, two: Examples, splits: tuple[str, str]) -> None:
    kind = type(one.inputs)
    other = (lambda values: values) if kind is Tensor else small.Column
    rest = {
        split: Examples(other(torch.full((4, 3), float(place))), CLASSES)
        for place, split in enumerate(("train", "dev", "select", "test"))
    }
    task = Task("price", **(rest | dict(zip(splits, (one, two), strict=True))))
    with pytest.raises(
        UserError, match=f"^task 'price': its {splits[0]} and {splits[1]} splits have the same examples"
    ):
        suite(task).draw(0)


def test_rows_may_be_equal_by_nature_and_parts_of_one_tensor_may_be_splits() -> None:
    interleaved = [part(slice(start, None, 4)) for start in range(4)]
    assert suite(Task("price", *interleaved)).draw(0)
    equal = [
        Examples(torch.zeros(1, 3).expand(count, 3), torch.tensor([0, 1, *[1] * (count - 2)])) for count in (2, 3, 4, 5)
    ]
    assert suite(Task("price", *equal)).draw(0)


@pytest.mark.parametrize("split", ["train", "select"])
@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_a_split_none_of_whose_labels_counts_is_refused(metric: str, split: str) -> None:
    with pytest.raises(UserError, match=f"^task 'price': its {split} split: labels are all -100, so none counts"):
        dataclasses.replace(target(CLASSES, metric=metric), **{split: Examples(INPUTS, torch.full((4,), -100))})


def test_two_datasets_of_the_same_tensors_are_the_same_examples() -> None:
    first, other = torch.arange(8.0)[:, None], torch.arange(8.0, 16.0)[:, None]
    splits = [TensorDataset(inputs, torch.arange(8) % 2) for inputs in (first, other, first.clone(), other + 8)]
    with pytest.raises(UserError, match=r"^task 'price': its train and select splits have the same examples"):
        suite(Task("price", *splits)).draw(0)


def test_a_label_of_several_that_is_the_same_throughout_leaves_a_metric_undefined() -> None:
    labels = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    varied = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])

    def task(select: Tensor, metric: str) -> Task:
        splits = [Examples(torch.full((4, 1), float(index)), varied) for index in range(4)]
        splits[2] = Examples(splits[2].inputs, select)
        return Task("price", *splits, loss="binary_cross_entropy", metric=metric)

    assert suite(task(varied, "auc")).draw(0)
    assert suite(task(labels, "accuracy")).draw(0)
    with pytest.raises(UserError, match=r"'auc' is undefined on the select split: .* the same label in column 1"):
        suite(task(labels, "auc")).draw(0)


def test_collate_without_a_dataset_is_refused() -> None:
    with pytest.raises(UserError, match=r"^task 'price': collate is for datasets"):
        Task("price", Examples(torch.zeros(2, 1), torch.tensor([0, 1])), collate=list)
