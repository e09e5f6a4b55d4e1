import pickle

import pytest
import torch
from torch import nn

from avil_ray.learning.parameters import ParameterSpace
from avil_ray.models.multitask import MultitaskModel, SingleTask


def test_each_task_goes_through_the_trunk_and_its_own_head() -> None:
    trunk, heads = nn.Linear(3, 4), {"one": nn.Linear(4, 2), "two": nn.Linear(4, 5)}
    model, inputs = MultitaskModel(trunk, heads), torch.rand(6, 3)
    for task, head in heads.items():
        assert torch.equal(model(inputs, task), head(trunk(inputs)))


def test_parameters_are_named_after_trunk_and_heads() -> None:
    model = MultitaskModel(nn.Linear(3, 4), {"one": nn.Linear(4, 2)})
    assert {name for name, _ in model.named_parameters()} == {
        "trunk.weight",
        "trunk.bias",
        "heads.one.weight",
        "heads.one.bias",
    }


def test_a_task_without_a_head_gets_the_trunks_output() -> None:
    trunk, inputs = nn.Linear(3, 4), torch.rand(6, 3)
    assert torch.equal(MultitaskModel(trunk, {})(inputs, "any"), trunk(inputs))


def test_a_single_task_is_an_ordinary_module_on_the_same_parameters() -> None:
    model, inputs = MultitaskModel(nn.Linear(3, 4), {"one": nn.Linear(4, 2)}), torch.rand(6, 3)
    single = SingleTask(model, "one")
    assert torch.equal(single(inputs), model(inputs, "one"))
    assert next(single.parameters()) is next(model.parameters())


ODD = ["type", "keys", "values", "train", "pop", "training", "_modules", "two words", "a-b", "目标", "class"]


def test_tasks_may_be_called_like_attributes_of_a_module() -> None:
    trunk, heads = nn.Linear(3, 4), {name: nn.Linear(4, 2) for name in ODD}
    model, inputs = MultitaskModel(trunk, heads), torch.rand(6, 3)
    for task, head in heads.items():
        assert torch.equal(model(inputs, task), head(trunk(inputs)))
        assert task in model.heads
        assert model.heads[task] is head
    assert list(model.heads) == list(model.heads.keys()) == ODD
    assert dict(model.heads.items()) == heads
    assert "other" not in model.heads
    assert list(ParameterSpace(model).heads) == ODD
    again = MultitaskModel(nn.Linear(3, 4), {name: nn.Linear(4, 2) for name in ODD})
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(inputs, "type"), model(inputs, "type"))
    assert "heads.two words.weight" in model.state_dict(), "ordinary names stay as they are"
    assert model.train().training
    assert torch.equal(pickle.loads(pickle.dumps(model))(inputs, "keys"), model(inputs, "keys"))


def test_a_head_may_be_put_in_and_taken_out() -> None:
    heads = MultitaskModel(nn.Linear(3, 4), {"type": nn.Linear(4, 2)}).heads
    heads["items"] = nn.Linear(4, 3)
    assert heads.pop("type").out_features == 2
    assert list(heads) == ["items"]
    heads["items"] = nn.Linear(4, 5)
    assert [head.out_features for head in heads.values()] == [5]


def test_where_tasks_have_heads_another_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        MultitaskModel(nn.Linear(3, 4), {"one": nn.Linear(4, 2)})(torch.rand(6, 3), "two")
