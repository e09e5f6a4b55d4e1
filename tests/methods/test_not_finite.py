"""Under every method, what is not finite is named: inputs, and what a model makes of inputs that are fine."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import small
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method
from avil_ray.errors import UserError, WorkFailed
from avil_ray.methods.method import Method

RUN = {"rounds": 4, "steps_per_round": 8, "seed": 4}
ROW, MARK = 7, 2000.0


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return build_method(request.param, {"weights": {"noise": 0.5}} if request.param == "static" else {})


class Delicate(nn.Module):
    """Its outputs are not finite where the first number of an example is near the mark."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small.plain()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs.clamp(-10, 10)) * torch.where(inputs[:, :1].abs() > MARK / 2, torch.inf, 1.0)


class DelicateInTraining(Delicate):
    """As it, but in training only: nothing is seen before."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) if self.training else self.inner(inputs.clamp(-10, 10))


def with_value(value: float, task: str, split: str, suite: avil.Suite) -> avil.Suite:
    """The suite with a value in one row of one split."""

    def tasks(seed: int) -> list[avil.Task]:
        found = suite.tasks(seed)
        for each in found:
            if each.name == task:
                getattr(each, split).inputs[ROW, 0] = value
        return found

    return dataclasses.replace(suite, tasks=tasks)


def unread(task: str, split: str) -> avil.Suite:
    """Inputs that are no tensor, one of which is not finite: seen when it is read."""
    return small.suite_with(lambda _, read: read, suite=with_value(torch.nan, task, split, small.small_suite()))


def delicate(task: str, split: str) -> avil.Suite:
    return with_value(MARK, task, split, small.small_suite(Delicate))


def trains(method: Method, task: str) -> bool:
    return task == "left" or not isinstance(method, avil.TargetOnly)


@pytest.mark.parametrize("task", ["left", "noise"])
def test_an_input_of_any_task_is_named_when_it_is_read(method: Method, task: str) -> None:
    suite = unread(task, "train")
    if not trains(method, task):
        assert avil.train(suite, method, **RUN).test["accuracy"] >= 0
        return
    with pytest.raises(UserError) as caught:
        avil.train(suite, method, **RUN)
    assert str(caught.value).startswith(f"task '{task}': its train split: inputs[{ROW}, 0] is nan; leave out such")


@pytest.mark.parametrize("task", ["left", "noise"])
def test_a_loss_that_is_not_finite_names_its_task_and_example_or_is_reported_as_dropped(
    method: Method, task: str
) -> None:
    """Methods that drop what is not finite say so; those that do not fail. No other task is to blame."""
    try:
        result = avil.train(delicate(task, "train"), method, **RUN)
    except WorkFailed as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert f"task '{task}'" in said
        assert f"row {ROW} of its train split" in said
        assert "learning_rate" not in said
        return
    if not trains(method, task):
        return
    dropped = {name: result.history[name].sum() for name in result.history if name.startswith("dropped/")}
    assert {name for name, rounds in dropped.items() if rounds} == {f"dropped/{task}"}
    told = f"dropped, as their steps or losses were not finite: {task} in {int(dropped[f'dropped/{task}'])} round"
    assert told in result.explain()


@pytest.mark.parametrize("split", ["dev", "select", "test"])
@pytest.mark.parametrize("method", [avil.AlphaVIL(), avil.Equal()])
def test_the_targets_other_splits_are_also_named(method: Method, split: str) -> None:
    done: list[Any] = []
    with pytest.raises(UserError, match=rf"task 'left': its {split} split: inputs\[{ROW}, 0\] is nan"):
        avil.train(unread("left", split), method, **RUN, on_round=done.append)
    said = rf"task 'left': the model's outputs for row {ROW} of its {split} split are not finite, "
    when = "at the best round" if split == "test" else "before anything has trained; look for a division"
    with pytest.raises(WorkFailed if split == "test" else UserError, match=said + when):
        avil.train(delicate("left", split), method, **RUN, on_round=done.append)
    assert bool(done) == (split == "test")


@pytest.mark.parametrize("method", [avil.AlphaVIL(), avil.AlphaVIL(variant="paper"), build_method("fork-merge", {})])
def test_a_run_whose_target_learns_nothing_fails_and_says_why(method: Method) -> None:
    """Every batch holds an example that breaks the target: it must not end with the initial theta."""

    def mark(inputs: Any, read: Tensor) -> Tensor:
        return torch.cat([torch.full_like(read[:, :1], MARK), read[:, 1:]], dim=1)

    suite = small.suite_with(mark, ("left", "train"), small.small_suite(DelicateInTraining))
    with pytest.raises(WorkFailed) as caught:
        avil.train(suite, method, **RUN)
    assert "the target's update ('left') was dropped in every round so far (" in str(caught.value)
    assert "not finite" in str(caught.value)


def test_a_learning_rate_that_is_too_high_is_reported() -> None:
    said = r"the loss of task 'left' is not finite in step \d+, first for row .*; a lower learning_rate may help"
    with pytest.raises(WorkFailed, match=said):
        avil.train(small.small_suite(regression=True), avil.Equal(learning_rate=1e30), **RUN)


@pytest.mark.parametrize("method", [avil.Equal(), avil.AlphaVIL(variant="paper"), build_method("taps", {})])
@pytest.mark.parametrize("task", ["left", "noise"])
def test_a_label_that_is_too_large_is_reported(task: str, method: Method, caplog: pytest.LogCaptureFixture) -> None:
    """Its gradient is so long that clipping leaves nothing of the step."""
    plain = small.small_suite(regression=True)

    def tasks(seed: int) -> list[avil.Task]:
        found = plain.tasks(seed)
        for each in found:
            if each.name == task:
                each.train.labels.fill_(1e30)
        return found

    said = rf"the loss of task '{task}' is not finite in step \d+, first for row \d+ of its train split, whose label is"
    suite = dataclasses.replace(plain, tasks=tasks)
    if task == "left":
        with pytest.raises(WorkFailed, match=said):
            avil.train(suite, method, **RUN)
    else:
        result = avil.train(suite, method, **RUN)
        trained = sum("train_loss/noise" in row for row in result.rows)
        assert f"dropped, as their steps or losses were not finite: noise in {trained} rounds" in result.explain()
    assert re.search(said, caplog.text)
