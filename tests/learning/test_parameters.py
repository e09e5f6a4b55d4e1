"""The flat vector: its layout, its views into the model, and sums over it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import small
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.learning.parameters import FlatModel, ParameterSpace, dot, dots, initial_model, to_device


class Everything(nn.Module):
    """Heads before the trunk, tied and frozen parameters, and buffers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"b": nn.Linear(4, 2), "a": nn.Linear(4, 3)})
        self.embed = nn.Embedding(6, 4)
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 6, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("table", torch.arange(5))
        self.register_buffer("forgotten", torch.ones(3), persistent=False)

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        hidden = self.norm(self.frozen(self.embed(inputs)))
        return self.heads[task](hidden) if task else self.out(hidden)


def test_trunk_first_then_heads_then_buffers_each_once_and_nothing_frozen() -> None:
    space = ParameterSpace(Everything())
    assert [entry.name for entry in space.entries] == [
        "embed.weight",
        "norm.weight",
        "norm.bias",
        "heads.b.weight",
        "heads.b.bias",
        "heads.a.weight",
        "heads.a.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]
    assert space.trunk == slice(0, 32)
    assert space.heads == {"b": slice(32, 42), "a": slice(42, 57)}
    assert (space.parameters, space.buffers, space.size) == (slice(0, 57), slice(57, 66), 66)
    assert space.head("a") == slice(42, 57)
    layers = {"embed": slice(0, 24), "norm": slice(24, 32), "heads.b": slice(32, 42), "heads.a": slice(42, 57)}
    assert space.layers == layers


def test_the_slices_touch_and_have_the_shapes_of_the_tensors() -> None:
    model = Everything()
    space, tensors, end = ParameterSpace(model), model.state_dict(), 0
    for entry in space.entries:
        assert entry.where == slice(end, end + tensors[entry.name].numel())
        assert entry.shape == tensors[entry.name].shape
        end = entry.where.stop
    assert end == space.size


def test_a_task_without_a_head_has_an_empty_slice() -> None:
    model = avil.MultitaskModel(nn.Linear(3, 2), {})
    space = ParameterSpace(model)
    assert space.heads == {}
    assert space.trunk == slice(0, 8)
    assert len(range(*space.head("any").indices(space.size))) == 0


def test_a_trunk_parameter_whose_name_only_begins_like_heads_stays_in_the_trunk() -> None:
    model = nn.Module()
    model.headset = nn.Linear(2, 2)
    assert ParameterSpace(model).trunk == slice(0, 6)


def test_parameters_and_buffers_are_views_into_the_vector() -> None:
    flat = FlatModel(Everything())
    model = flat.model
    flat.values.copy_(torch.arange(66.0))
    flat.push()
    assert torch.equal(model.embed.weight, torch.arange(24.0).view(6, 4))
    assert torch.equal(model.out.weight, model.embed.weight), "tied parameters stay tied"
    assert torch.equal(model.heads["a"].bias, torch.arange(54.0, 57))
    assert torch.equal(model.norm.running_var, torch.arange(61.0, 65))
    assert model.norm.num_batches_tracked == 65
    with torch.no_grad():
        model.embed.weight.zero_()
    assert not flat.values[:24].any()


def test_making_a_flat_model_changes_no_value() -> None:
    torch.manual_seed(0)
    model = small.build(small.batch_norm)
    expected = small.flat(model)
    assert FlatModel(model).vector().tobytes() == expected.tobytes()


def test_one_backward_pass_leaves_the_whole_gradient() -> None:
    torch.manual_seed(0)
    flat, inputs = FlatModel(Everything()), torch.tensor([0, 3, 3, 5])
    plain = Everything()
    plain.load_state_dict(flat.model.state_dict())

    def loss(model: nn.Module) -> Tensor:
        return model(inputs, "a").square().sum() + model(inputs, "").square().sum()

    loss(plain).backward()
    for _ in range(2):  # a second time: it does not add up
        flat.zero_gradient()
        loss(flat.model).backward()
        flat.pull()
    for entry in flat.space.entries:
        tensor = dict(plain.named_parameters()).get(entry.name)
        expected = torch.zeros(entry.shape) if tensor is None or tensor.grad is None else tensor.grad
        torch.testing.assert_close(flat.gradient[entry.where].view(entry.shape), expected, msg=entry.name)
    assert flat.gradient[flat.space.head("a")].any()
    assert not flat.gradient[flat.space.head("b")].any()


def test_batch_norm_writes_its_statistics_into_the_vector() -> None:
    flat = FlatModel(small.build(small.batch_norm))
    before, inputs = flat.vector(), torch.randn(16, small.WIDTH)
    hidden = flat.model.trunk[0](inputs)
    flat.model.train()(inputs, "left")
    flat.pull()
    after, space = flat.vector(), flat.space
    assert np.array_equal(after[space.parameters], before[space.parameters])
    expected = torch.cat([0.1 * hidden.mean(0), 0.9 + 0.1 * hidden.var(0), torch.ones(1)])
    np.testing.assert_allclose(after[space.buffers], expected.detach(), rtol=1e-5)


def test_loading_sets_values_and_refuses_another_length() -> None:
    flat = FlatModel(Everything())
    theta = np.linspace(-1, 1, flat.space.size, dtype=np.float32)
    theta[-1] = 3  # a count
    theta.flags.writeable = False
    flat.load(theta)
    assert flat.vector().tobytes() == theta.tobytes()
    assert flat.model.norm.num_batches_tracked == 3
    with torch.no_grad():
        flat.values.add_(1)
    assert theta[0] == -1, "the vector that was loaded is not the model's"
    with pytest.raises(ValueError, match="theta has shape \\(5,\\), but the model needs \\(66,\\)"):
        flat.load(torch.zeros(5))


def test_loading_the_models_own_vector_copies_nothing() -> None:
    flat = FlatModel(nn.Linear(2, 2))
    flat.values.fill_(2.0)
    flat.load(flat.values)
    assert (flat.model.weight == 2).all()


def test_a_deep_copy_has_its_own_vectors_with_its_parameters_as_views() -> None:
    flat = FlatModel(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    other = copy.deepcopy(flat)
    before = flat.vector()
    assert isinstance(other, FlatModel)
    assert np.array_equal(other.vector(), before)
    other.load(before + 1)
    other.model(torch.ones(4, 3)).sum().backward()
    other.pull()
    assert np.array_equal(flat.vector(), before), "the original has not moved"
    assert not flat.gradient.any()
    weight = other.model.get_parameter("0.weight")
    assert torch.equal(weight.flatten(), other.values[:6])
    assert weight.data_ptr() == other.values.data_ptr()


def test_a_vector_is_a_copy_in_wire_form() -> None:
    flat = FlatModel(nn.Linear(2, 2), dtype=torch.float64)
    vector = flat.vector()
    assert vector.dtype == np.float32
    assert vector.flags.c_contiguous
    flat.values.zero_()
    assert vector.any()


def test_parameters_in_half_precision_are_cast_on_load_and_store() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2).to(torch.bfloat16))
    flat = FlatModel(model)
    theta = torch.randn(flat.space.size)
    flat.load(theta)
    assert model[1].weight.dtype == torch.bfloat16
    assert torch.equal(model[1].weight, theta[16:24].view(2, 4).to(torch.bfloat16))
    assert torch.equal(flat.values, theta), "the vector keeps full precision"
    for _ in range(2):
        flat.zero_gradient()
        model[1](model[0](torch.ones(5, 3)).to(torch.bfloat16)).sum().backward()
        flat.pull()
    torch.testing.assert_close(flat.gradient[24:26], torch.full((2,), 5.0))
    torch.testing.assert_close(flat.gradient[12:16], 5 * model[1].weight.float().sum(0), rtol=1e-2, atol=1e-2)


def test_every_process_starts_from_the_same_model_whatever_its_random_state() -> None:
    suite = avil.Suite(name="x", target="a", task_names=("a", "b"), tasks=lambda seed: [], model=Everything)
    states = []
    for before in (1, 2):
        torch.manual_seed(before)
        states.append(initial_model(suite, 4).model.state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    other = initial_model(suite, 5).model.state_dict()
    assert not torch.equal(other["frozen.weight"], states[0]["frozen.weight"])


def scaled(seed: int, size: int) -> tuple[Tensor, Tensor]:
    """Two float32 vectors whose entries spread over ten orders of magnitude."""
    generator = np.random.default_rng(seed)
    spread = 10 ** generator.uniform(-6, 4, (2, size)) * generator.choice([-1, 1], (2, size))
    return tuple(torch.from_numpy(spread.astype(np.float32)))


@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 1_000_000])
def test_inner_products_equal_sums_in_float64(size: int) -> None:
    a, b = scaled(0, size)
    matrix = torch.stack([a, b, torch.ones_like(a), torch.zeros_like(a)])
    found, terms = dots(matrix, a), matrix.double() * a.double()
    assert found.dtype == torch.float64
    assert ((found - terms.sum(1)).abs() <= 2e-5 * terms.abs().sum(1)).all()
    assert abs(dot(a, b) - terms[1].sum().item()) <= 1e-13 * terms[1].abs().sum().item()
    exact = dots(matrix.double(), a.double())
    assert ((exact - terms.sum(1)).abs() <= 1e-13 * terms.abs().sum(1)).all()


def test_nothing_is_lost_over_many_numbers() -> None:
    """A sum in float32 over equal numbers stands still where it outgrows them: at 2^24 ones."""
    ones = torch.ones(1 << 25)
    assert dot(ones, ones) == 1 << 25
    assert dots(ones.unsqueeze(0), ones).item() == 1 << 25
    assert dot(ones[:0], ones[:0]) == 0
    assert dots(ones[:0].unsqueeze(0), ones[:0]).item() == 0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_neither_overflow_nor_vanish(scale: float) -> None:
    a = torch.full((10,), scale)
    assert dot(a, a) == pytest.approx(10 * scale**2, rel=1e-5)


def test_inputs_go_to_the_device_as_a_tensor_or_by_name() -> None:
    device = torch.device("meta")
    assert to_device(torch.zeros(2), device).device == device
    moved = to_device({"ids": torch.zeros(2), "mask": torch.ones(2)}, device)
    assert {name: tensor.device for name, tensor in moved.items()} == {"ids": device, "mask": device}
