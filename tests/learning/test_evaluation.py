"""The dev objective and its exact gradient, and the figures on select and test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from sharing import Sharing
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.learning.evaluation import DevObjective, Target
from avil_ray.learning.parameters import FlatModel, dots, initial_model
from avil_ray.learning.passes import Source
from avil_ray.learning.splits import DevUse
from avil_ray.models.tabular import MLP
from avil_ray.models.vision import LeNet

ROWS = 23


class Tied(nn.Module):
    """A small transformer whose output layer is its embedding, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, 11)
        self.out.weight = self.embed.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.encoder(self.embed(inputs)).mean(dim=1))


def normalised() -> nn.Module:
    """BatchNorm with statistics that are not those of any batch here."""
    trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 6))
    with torch.no_grad():
        trunk[1].running_mean.uniform_(-1, 1)
        trunk[1].running_var.uniform_(0.5, 2)
    return trunk


def with_heads(trunk: nn.Module, features: int) -> nn.Module:
    return avil.MultitaskModel(trunk, {"goal": nn.Linear(features, 3), "other": nn.Linear(features, 3)})


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


FAMILIES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "lenet": (lambda: with_heads(LeNet(1, 16, 16, 12), 12), numbers(ROWS, 1, 16, 16)),
    "mlp": (lambda: with_heads(MLP(7, [9, 5], dropout=0.5), 5), numbers(ROWS, 7)),
    "transformer": (lambda: avil.MultitaskModel(Tied(), {}), torch.arange(ROWS * 6).view(ROWS, 6) * 7 % 11),
    "batch norm": (lambda: with_heads(normalised(), 6), numbers(ROWS, 1, 8, 8)),
}


def objective(family: str, dtype: torch.dtype, **learning: object) -> DevObjective:
    build, inputs = FAMILIES[family]
    torch.manual_seed(2)
    flat = FlatModel(build().to(dtype), dtype=dtype)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    examples = avil.Examples(inputs, torch.arange(ROWS) % 3)
    task = avil.Task("goal", examples)
    return DevObjective(flat, Source(task, "train"), torch.arange(2, ROWS), avil.Learning(**learning))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_slopes_along_deltas_equal_central_differences(family: str) -> None:
    """dL/dalpha_i at alpha = (0.4, -0.3, 0.2) in float64, by one backward pass and by central differences."""
    loss = objective(family, torch.float64)
    theta, size = loss.buffer.clone(), loss.flat.space.size
    generator = torch.Generator().manual_seed(3)
    deltas = 0.05 * torch.randn(3, size, generator=generator, dtype=torch.float64)
    deltas[:, loss.flat.space.buffers] = 0
    alpha = torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64)

    def at(alpha: Tensor) -> float:
        return loss(theta + alpha @ deltas)[0]

    _, gradient = loss(theta + alpha @ deltas)
    slopes = dots(deltas, gradient)
    step = 2e-6  # so short that no ReLU turns
    for index, direction in enumerate(torch.eye(3, dtype=torch.float64) * step):
        difference = (at(alpha + direction) - at(alpha - direction)) / (2 * step)
        assert slopes[index].item() == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradient_equal_those_of_an_ordinary_module(family: str, dtype: torch.dtype) -> None:
    build, inputs = FAMILIES[family]
    loss = objective(family, dtype)
    found, gradient = loss(loss.buffer.clone())
    torch.manual_seed(2)
    model = build().to(dtype).eval()
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    expected = F.cross_entropy(model(inputs[2:], "goal"), (torch.arange(ROWS) % 3)[2:])
    expected.backward()
    assert found == pytest.approx(expected.item(), rel=1e-5 if dtype == torch.float32 else 1e-12)
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-12}
    parameters = dict(model.named_parameters())
    for entry in loss.flat.space.entries:
        tensor = parameters.get(entry.name)
        wanted = torch.zeros(entry.shape, dtype=dtype) if tensor is None or tensor.grad is None else tensor.grad
        torch.testing.assert_close(gradient[entry.where].view(entry.shape), wanted, msg=entry.name, **tolerance)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [1, 4, 20, 21, 1000])
def test_batches_add_up_to_the_whole(family: str, batch: int) -> None:
    whole, parts = objective(family, torch.float64), objective(family, torch.float64, evaluation_batch=batch)
    expected, gradient = whole(whole.buffer)
    found, gathered = parts(parts.buffer)
    assert found == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(gathered, gradient, rtol=1e-9, atol=1e-13)


def test_half_precision_parameters_give_the_gradient_too() -> None:
    loss = objective("mlp", torch.float32)
    plain, gradient = loss(loss.buffer.clone())
    torch.manual_seed(2)
    model = FAMILIES["mlp"][0]()
    model.heads["goal"].to(torch.bfloat16)
    model.trunk.register_forward_hook(lambda _module, _inputs, output: output.to(torch.bfloat16))
    half = DevObjective(FlatModel(model), loss._source, loss._rows)
    for _ in range(2):
        found, rough = half(half.buffer.clone())
    assert found == pytest.approx(plain, rel=0.02)
    cosine = torch.cosine_similarity(rough, gradient, dim=0)
    assert cosine > 0.999
    assert rough.norm() == pytest.approx(gradient.norm().item(), rel=0.02)


def test_evaluating_changes_neither_theta_nor_statistics_nor_random_state() -> None:
    loss = objective("batch norm", torch.float32)
    theta, state = loss.buffer.clone(), torch.get_rng_state()
    moved = theta.clone()
    moved[loss.flat.space.parameters] += 0.1
    loss(moved)
    assert torch.equal(loss.flat.values, moved)
    loss(theta)
    assert torch.equal(loss.flat.values, theta)
    assert torch.equal(torch.get_rng_state(), state)


def target(suite: avil.Suite, seed: int = 0) -> Target:
    return Target(suite, suite.draw(seed), seed)


def test_the_cost_is_counted_in_examples_and_taken_once() -> None:
    found = target(small.small_suite())
    held, crossed = found.objective(DevUse("hold"), 0), found.objective(DevUse("crossfit"), 0)
    theta = found.flat.values.clone()
    for _ in range(3):
        held(theta)
    crossed(theta)
    assert (held.examples_seen, crossed.examples_seen) == (60, 18)
    assert found.take_examples_adapted() == 78
    assert found.take_examples_adapted() == 0


@pytest.mark.parametrize("dev", [DevUse("hold"), DevUse("crossfit")])
def test_figures_of_several_thetas_use_the_adaptation_rows(dev: DevUse) -> None:
    suite = small.small_suite(small.dropout, evaluation_batch=4)
    found, shared = target(suite, seed=5), target(suite, seed=5)
    shared.evaluator = Sharing(suite, 5)
    thetas = [found.flat.vector() * np.float32(scale) for scale in (1, 1.5, 0.5)]
    tasks = suite.draw(5)
    pool = tasks["left"].train.join(tasks["left"].dev)
    for number in range(2):
        rows = dev.rows(40, 20, 5, number)[1]
        figures = found.figures(dev, number, thetas)
        for theta, one in zip(thetas, figures, strict=True):
            outputs = small.load(suite.model(), theta).eval()(pool.inputs[rows], "left")
            accuracy = (outputs.argmax(1) == pool.labels[rows]).float().mean().item()
            loss = F.cross_entropy(outputs, pool.labels[rows]).item()
            assert one == pytest.approx({"accuracy": accuracy, "loss": loss}, rel=1e-5)
        assert shared.figures(dev, number, thetas) == figures
    assert [len(asked) for asked in shared.evaluator.calls] == [3, 3], "all thetas of a call are asked for at once"
    assert found.figures(dev, 0, []) == shared.figures(dev, 0, []) == []


def test_figures_are_forward_only_but_counted_in_full() -> None:
    found = target(small.small_suite(evaluation_batch=8))
    theta, forwards = found.flat.vector(), []
    found.flat.zero_gradient()
    found.flat.model.register_forward_hook(lambda *_: forwards.append(torch.is_grad_enabled()))
    found.figures(DevUse("hold"), 0, [theta, theta, theta])
    assert forwards == [False] * (3 * 3)
    assert not found.flat.gradient.any()
    assert found.take_examples_adapted() == 3 * 20
    found.objective(DevUse("hold"), 0)(found.flat.values)
    found.figures(DevUse("crossfit"), 0, [theta])
    assert found.take_examples_adapted() == 20 + 18
    assert found.take_examples_adapted() == 0


def test_splits_are_joined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, joins = target(small.small_suite()), []
    join = avil.Examples.join
    monkeypatch.setattr(avil.Examples, "join", lambda *both: joins.append(1) or join(*both))
    found.figures(DevUse("hold"), 0, [found.flat.vector()] * 2)
    assert found.not_finite(found.flat.vector(), "train", "dev") == ""
    assert joins == []


@pytest.mark.parametrize("dev", [DevUse("hold"), DevUse("crossfit"), DevUse("crossfit", 0.4)])
def test_the_objective_sees_only_the_adaptation_rows(dev: DevUse) -> None:
    suite = small.small_suite()
    found = target(suite, seed=5)
    tasks = suite.draw(5)
    pool = tasks["left"].train.join(tasks["left"].dev)
    for number in range(3):
        rows = dev.rows(40, 20, 5, number)[1]
        model = initial_model(suite, 5).model.eval()
        expected = F.cross_entropy(model(pool.inputs[rows], "left"), pool.labels[rows])
        assert found.objective(dev, number)(found.flat.values)[0] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("split", ["select", "test"])
@pytest.mark.parametrize("batch", [7, 512])
def test_figures_are_those_of_the_whole_split_in_evaluation_mode(split: str, batch: int) -> None:
    suite = small.small_suite(small.dropout, evaluation_batch=batch)
    found = target(suite)
    theta = found.flat.vector() * 1.5
    figures = found.evaluate(split, theta)  # type: ignore[arg-type]
    flat = FlatModel(suite.model())
    flat.load(theta)
    examples = getattr(suite.draw(0)["left"], split)
    outputs = flat.model.eval()(examples.inputs, "left")
    accuracy = (outputs.argmax(1) == examples.labels).float().mean().item()
    loss = F.cross_entropy(outputs, examples.labels).item()
    assert figures == pytest.approx({"accuracy": accuracy, "loss": loss}, rel=1e-5)
    assert theta.tobytes() == (found.flat.vector()).tobytes()


def test_figures_of_numbers() -> None:
    suite = small.small_suite(regression=True)
    figures = target(suite).evaluate("select", target(suite).flat.vector())
    assert set(figures) == {"mean_squared_error", "loss"}
    assert figures["mean_squared_error"] == pytest.approx(figures["loss"], rel=1e-5)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_outputs_that_are_not_finite_give_no_figures(value: float) -> None:
    found = target(small.constant_suite()).evaluate("select", np.array([value], np.float32))
    assert all(np.isnan(figure) for figure in found.values())
    assert set(found) == {"mean_squared_error", "loss"}
