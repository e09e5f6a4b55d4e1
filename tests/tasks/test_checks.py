"""Every mistake is one line that names the task, the split and the field."""

import dataclasses

import numpy as np
import pytest
import small
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.tasks.checks import check_batch
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

INPUTS = torch.zeros(4, 3)
CLASSES = torch.tensor([0, 1, 0, 1])
BROKEN = torch.zeros(4, 3)
BROKEN[2, 1] = torch.nan
NESTED = torch.nested.nested_tensor([INPUTS], layout=torch.jagged)


COLUMN = Examples(small.Column(torch.arange(12.0).view(4, 3)), CLASSES)


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
        (INPUTS, torch.tensor([0, 1, 2.5, 0]), "binary_cross_entropy", "labels range from 0 to 2.5, but binary"),
        (INPUTS, torch.tensor([-1, 1, 1, -1]), "binary_cross_entropy", "labels range from -1 to 1, but binary"),
        (INPUTS, torch.tensor(1), "cross_entropy", "labels must be a tensor [N] or [N, …], not a tensor []"),
        (INPUTS, [0, 1, 0, 1], "cross_entropy", "labels must be a tensor [N] or [N, …], not a list"),
        (INPUTS, np.array([0, 1, 0, 1]), "cross_entropy", "labels must be a tensor [N] or [N, …], not a ndarray"),
        (INPUTS.numpy(), CLASSES, "cross_entropy", "inputs must be a tensor [N, …], or an object with len()"),
        (["a", "b", "c", "d"], CLASSES, "cross_entropy", "inputs.join(other), not a list"),
        ("abcd", CLASSES, "cross_entropy", "inputs.join(other), not a str"),
        (torch.tensor(3.0), CLASSES, "cross_entropy", "inputs.join(other), not a tensor []"),
        (INPUTS.to_sparse(), CLASSES, "cross_entropy", "inputs must be an ordinary tensor, not a sparse one"),
        (INPUTS, CLASSES.to_sparse(), "cross_entropy", "labels must be an ordinary tensor, not a sparse one"),
        (INPUTS.cfloat(), CLASSES, "cross_entropy", "inputs must be an ordinary tensor, not a complex one"),
        (INPUTS.to("meta"), CLASSES, "cross_entropy", "inputs must be an ordinary tensor, not a meta one"),
        (
            torch.nested.nested_tensor([INPUTS], layout=torch.jagged),
            CLASSES[:1],
            "cross_entropy",
            "not a nested one; pad its parts",
        ),
        (INPUTS.clone().requires_grad_(), CLASSES, "cross_entropy", "not a differentiable one; give inputs.detach()"),
        (BROKEN, CLASSES, "cross_entropy", "inputs[2, 1] is nan; leave out such examples, or put a number where one"),
        (-BROKEN[:, 1].exp() / 0, CLASSES, "cross_entropy", "inputs[0] is -inf; leave out such examples"),
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


@pytest.mark.parametrize("given", [INPUTS.numpy(), [1, 2], (INPUTS, CLASSES), None])
def test_other_things_than_examples_are_refused(given: object) -> None:
    with pytest.raises(
        UserError,
        match=r"^task 'a': its train split must be avil_ray.Examples, a torch Dataset or a datasets.Dataset, not a",
    ):
        Task("a", given)
    if given is not None:
        with pytest.raises(UserError, match=r"^task 'a': its select split must be avil_ray.Examples"):
            Task("a", Examples(INPUTS, CLASSES), select=given)


def test_train_and_dev_must_go_together() -> None:
    train = Examples(INPUTS, CLASSES)
    for other, said in [
        (INPUTS[:, :2], "float32 [3], not float32 [2]"),
        (INPUTS.double(), "float32 [3], not float64 [3]"),
    ]:
        with pytest.raises(UserError) as caught:
            Task("a", train, Examples(other, CLASSES))
        assert str(caught.value) == f"task 'a': its dev split: an input must have train's shape, {said}"
    with pytest.raises(
        UserError, match=r"its dev split: inputs must have train's type, a tensor \[4, 3\], not a Column"
    ):
        Task("a", train, Examples(small.Column(INPUTS), CLASSES))


@pytest.mark.parametrize(
    "options", [{"loss": nn.CrossEntropyLoss}, {"metric": ["f1"]}, {"replacement": "no"}, {"augment": 3}]
)
def test_options_of_a_wrong_kind_are_one_line(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"^task 'a': (unknown )?{next(iter(options))}"):
        Task("a", Examples(INPUTS, CLASSES), **options)


@pytest.mark.parametrize("split", ["train", "dev", "select", "test"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_inputs_that_are_not_finite_are_named_also_where_they_changed_later(split: str, value: float) -> None:
    task = Task("price", *small.apart(Examples(torch.arange(8.0).view(4, 2), CLASSES)))
    getattr(task, split).inputs[3, 1] = value
    with pytest.raises(
        UserError, match=rf"^task 'price': its {split} split: inputs\[3, 1\] is {value}; leave out such"
    ):
        suite(task).draw(0)


def test_large_inputs_are_scanned_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avil_ray.tasks.checks.BLOCK", 6)
    with pytest.raises(UserError, match=r"inputs\[2, 1\] is nan"):
        Task("a", Examples(BROKEN, CLASSES))


@pytest.mark.parametrize(("key", "field"), [("", "inputs"), ("pixels", "inputs['pixels']")])
def test_inputs_that_cannot_be_scanned_are_checked_as_they_come(key: str, field: str) -> None:
    splits = [Examples(small.Column(torch.zeros(4, 3), key), CLASSES) for _ in range(4)]
    task = Task("price", *splits)
    pool = task.train.join(task.dev)
    for examples, row, split in [
        (task.select, 2, "select"),
        (task.test, 2, "test"),
        (pool, 2, "train"),
        (pool, 6, "dev"),
    ]:
        rows = torch.tensor([0, row])
        check_batch(task, examples, rows, examples.batch(rows), 2)
        examples.inputs.values[row, 1] = torch.inf
        with pytest.raises(UserError) as caught:
            check_batch(task, examples, rows, examples.batch(rows), 2)
        assert str(caught.value).startswith(f"task 'price': its {split} split: {field}[2, 1] is inf; leave out such")
        examples.inputs.values[row, 1] = 0


@pytest.mark.parametrize("split", ["train", "dev", "select", "test"])
def test_a_run_checks_batches_as_they_come(split: str) -> None:
    def tasks(seed: int) -> list[Task]:
        made = small.draw(seed)
        splits = [getattr(made[0], name) for name in ("train", "dev", "select", "test")]
        columns = {"train": 0, "dev": 1, "select": 2, "test": 3}
        splits[columns[split]].inputs[9, 3] = torch.nan
        wrapped = [Examples(small.Column(one.inputs), one.labels) for one in splits]
        return [Task("left", *wrapped), *made[1:]]

    own = dataclasses.replace(small.small_suite(), tasks=tasks)
    with pytest.raises(UserError, match=rf"^task 'left': its {split} split: inputs\[9, 3\] is nan"):
        avil.train(own, avil.AlphaVIL(), rounds=2, steps_per_round=10)


def test_a_sparse_batch_of_a_dataset_is_refused() -> None:
    class Sparse(torch.utils.data.Dataset[tuple[Tensor, int]]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, row: int) -> tuple[Tensor, int]:
            return INPUTS[row], 1

    task = Task("own", Sparse())
    with pytest.raises(
        UserError, match=r"^task 'own': a batch of its data: inputs must be an ordinary tensor, not a s"
    ):
        check_batch(task, task.source("train"), torch.arange(4), (INPUTS.to_sparse(), CLASSES), 4)
