"""A metric by name, torchmetrics' and others' objects, and plain functions."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
import torchmetrics
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.tasks.metrics import Mergeable, figure, find_measure

OUTPUTS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 2.0]])
TARGETS = torch.tensor([0, 1, 1, 1])


def share_of_ones(outputs: Tensor, targets: Tensor) -> Tensor:
    assert len(outputs) == len(targets)
    return targets.float().mean()


class Widest:
    """An object that tells neither its name nor its direction."""

    def __init__(self) -> None:
        self.reset()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.value = max(self.value, float(outputs.max()))

    def compute(self) -> float:
        return self.value

    def reset(self) -> None:
        self.value = 0.0


def found(metric: object, mode: str | None = None) -> tuple[str, str, float]:
    measure = find_measure(metric, mode, "cross_entropy", "task 'a'")
    made = measure.make()
    for rows in torch.arange(4).split(3):
        made.update(OUTPUTS[rows], TARGETS[rows])
    return measure.name, measure.mode, figure(made, "task 'a'")


def test_names_objects_and_functions_are_metrics() -> None:
    assert found("accuracy") == ("accuracy", "max", 0.75)
    assert found(torchmetrics.classification.MulticlassAccuracy(2, average="micro")) == (
        "MulticlassAccuracy",
        "max",
        0.75,
    )
    assert find_measure(torchmetrics.MeanSquaredError(), None, "mean_squared_error", "task 'a'").mode == "min"
    assert found(share_of_ones, "max") == ("share_of_ones", "max", 0.75)
    assert found(Widest(), "min") == ("Widest", "min", 3.0)


def test_an_object_is_copied_so_that_evaluations_do_not_mix() -> None:
    shared = Widest()
    shared.value = 99.0
    assert found(shared, "max") == found(shared, "max") == ("Widest", "max", 3.0)
    assert shared.value == 99.0


def test_a_function_is_given_all_that_was_seen_elsewhere_in_order() -> None:
    weights = torch.arange(1.0, 5)
    measure = find_measure(lambda _, targets: (weights * targets).sum(), "max", "cross_entropy", "task 'a'")
    whole = measure.make()
    for rows in torch.arange(4).split(3):
        part = measure.make()
        part.update(OUTPUTS[rows], TARGETS[rows])
        whole.merge(pickle.loads(pickle.dumps(part)))  # the function itself could not travel
    assert figure(whole, "task 'a'") == 2 + 3 + 4


@pytest.mark.parametrize(
    ("metric", "divided"),
    [("mcc", True), (share_of_ones, True), (Widest(), False), (torchmetrics.MeanSquaredError(), False)],
)
def test_what_has_no_merge_is_not_divided(metric: object, divided: bool) -> None:
    made = find_measure(metric, None, "cross_entropy", "task 'a'", beside=True).make()
    assert isinstance(made, Mergeable) == divided


@pytest.mark.parametrize(
    ("metric", "mode", "said"),
    [
        ("acuracy", None, "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ("accuracy", "min", "mode is 'min', but accuracy is better where it is higher"),
        ("accuracy", "up", "mode must be 'max' or 'min', not 'up'"),
        (share_of_ones, None, "metric share_of_ones does not say which way is better; pass mode='max' or 'min'"),
        (Widest, "max", "metric must be a name, an object with update, compute and reset, or a function"),
        (3, "max", "metric must be a name"),
    ],
)
def test_mistakes_are_one_line(metric: object, mode: str | None, said: str) -> None:
    with pytest.raises(UserError) as caught:
        find_measure(metric, mode, "cross_entropy", "task 'a'")
    assert said in str(caught.value)


def test_a_figure_must_be_one_number() -> None:
    several: Callable[[Tensor, Tensor], Tensor] = lambda outputs, targets: torch.ones(3)  # noqa: E731
    with pytest.raises(UserError, match=r"task 'a': the metric must return one number, not a tensor \[3\]"):
        found(several, "max")


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_metric_that_fails_is_one_line(error: type[BaseException]) -> None:
    def fails(outputs: Tensor, targets: Tensor) -> float:
        raise error

    metric = find_measure(fails, "max", "cross_entropy", "task 'a'").make()
    metric.update(torch.zeros(2, 2), torch.zeros(2))
    with pytest.raises(UserError, match=rf"task 'a': the metric failed: {error.__name__}"):
        figure(metric, "task 'a'")
