import torch
from torch import nn

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
