"""Every task has a head or none has, and whose a parameter is does not hang on the order of names."""

import pytest
import torch
from torch import nn

from avil_ray.errors import UserError
from avil_ray.learning.parameters import ParameterSpace
from avil_ray.models.multitask import MultitaskModel
from avil_ray.tasks.heads import check_heads, heads_of, owned_parameters, owner


def model(*heads: str) -> MultitaskModel:
    return MultitaskModel(nn.Linear(3, 4), {name: nn.Linear(4, 2) for name in heads})


def refused(built: nn.Module, *tasks: str) -> str:
    with pytest.raises(UserError) as caught:
        check_heads("suite 'x'", built, tasks)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_head_for_each_task_or_for_none_is_right() -> None:
    check_heads("x", model("a", "b"), ("b", "a"))
    check_heads("x", model(), ("a", "b"))
    check_heads("x", nn.Linear(3, 2), ("a",))


def test_a_task_without_a_head_beside_others_with_one_is_refused() -> None:
    line = "suite 'x': task 'b' has no head; available: a, B (did you mean 'B'?)"
    assert refused(model("a", "B"), "a", "b") == line
    assert refused(model("quite_other"), "b") == "suite 'x': task 'b' has no head; available: quite_other"


def test_a_head_that_is_no_tasks_is_refused() -> None:
    assert refused(model("a", "b", "shared"), "a", "b").startswith(
        "suite 'x': the head 'shared' belongs to no task; tasks are"
    )
    by_hand = nn.Module()
    by_hand.heads = nn.ModuleList([nn.Linear(2, 2)])
    assert "task 'a' has no head; available: 0" in refused(by_hand, "a")


def test_heads_without_parameters_count() -> None:
    heads = {"a": nn.Flatten(), "b": nn.Linear(4, 2)}
    assert heads_of(MultitaskModel(nn.Linear(3, 4), heads)) == {"a", "b"}


@pytest.mark.parametrize(
    ("name", "task"),
    [("heads.a.0.weight", "a"), ("heads.a", "a"), ("heads.task:type.bias", "type"), ("trunk.heads.a", ""), ("w", "")],
)
def test_the_owner_is_read_off_the_name(name: str, task: str) -> None:
    assert owner(name) == task


class HeadsFirst(nn.Module):
    """The head of `a` is tied to the trunk's weight, and stands before it; both heads have one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
        self.trunk = nn.Linear(3, 3)
        self.heads["a"].weight = self.trunk.weight
        self.heads["b"].bias = self.heads["a"].bias


def test_what_is_shared_belongs_to_the_trunk_whatever_stands_first() -> None:
    built = HeadsFirst()
    owned = {name: task for name, task, _ in owned_parameters(built)}
    assert owned == {"trunk.weight": "", "heads.a.bias": "", "heads.b.weight": "b", "trunk.bias": ""}
    space = ParameterSpace(built)
    assert (space.trunk, space.heads) == (slice(0, 15), {"b": slice(15, 24)})


def test_layers_of_tied_parameters_cover_each_parameter_once() -> None:
    space = ParameterSpace(HeadsFirst())
    covered = torch.zeros(space.size)
    for layer in space.layers.values():
        covered[layer] += 1
    assert covered.tolist() == [1.0] * space.parameters.stop
