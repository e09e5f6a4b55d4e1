"""Models and data whose passes depend on state that does not travel are refused before a run; others are not."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import small
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.evaluation import Target


class Layer(nn.Module):
    """A trunk's first layer with something beside it: `step` sees the layer and its inputs."""

    def __init__(self, step: Callable[[Any, Tensor], Tensor], **state: Any) -> None:
        super().__init__()
        self.linear, self.step = nn.Linear(small.WIDTH, 8), step
        for name, value in state.items():
            if isinstance(value, Tensor) and name.startswith("kept"):
                self.register_buffer(name, value)
            elif isinstance(value, Tensor):
                self.register_buffer(name, value, persistent=False)
            else:
                setattr(self, name, value)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(self.linear(self.step(self, inputs)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(1, 8, num_layers=2, dropout=0.3, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.cell(inputs[:, :, None])[0][:, -1]


def of(step: Callable[[Any, Tensor], Tensor], **state: Any) -> Callable[[], nn.Module]:
    """A trunk; state that is a function is made anew for each model."""
    return lambda: Layer(step, **{name: value() if callable(value) else value for name, value in state.items()})


def wrapped(layer: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(layer(nn.Linear(small.WIDTH, 8)), nn.Tanh())


def set_cache(layer: Any, inputs: Tensor) -> Tensor:
    layer.cache = torch.arange(5.0) if layer.cache is None else layer.cache
    return inputs * layer.cache


def remember(layer: Any, inputs: Tensor) -> Tensor:
    layer.last = inputs.mean()
    return inputs


def count_batches(layer: Any, inputs: Tensor) -> Tensor:
    layer.kept_count += layer.training
    return inputs * (1 + 1 / (1 + layer.kept_count))


def mean_in_place(name: str) -> Callable[[Any, Tensor], Tensor]:
    def step(layer: Any, inputs: Tensor) -> Tensor:
        if layer.training:
            getattr(layer, name).mul_(0.9).add_(inputs.detach().mean(0), alpha=0.1)
        return inputs - getattr(layer, name)

    return step


ACCEPTED: dict[str, Callable[[], nn.Module]] = {
    "plain": small.plain,
    "dropout": small.dropout,
    "batch norm": small.batch_norm,
    "recurrent": Recurrent,
    "weight norm": wrapped(parametrizations.weight_norm),
    "spectral norm": wrapped(parametrizations.spectral_norm),
    "numpy noise": of(lambda _, x: x + torch.from_numpy(np.random.normal(size=x.shape)).float()),  # noqa: NPY002
    "python noise": of(lambda _, x: x * random.random()),
    "a cache that is filled once": of(set_cache, cache=None),
    "what it saw last": of(remember, last=None),
    "a count that is a buffer": of(count_batches, kept_count=lambda: torch.zeros((), dtype=torch.int64)),
    "a mean that is a buffer": of(mean_in_place("kept_mean"), kept_mean=lambda: torch.zeros(small.WIDTH)),
}


def target_of(trunk: Callable[[], nn.Module], **learning: Any) -> Target:
    suite = small.small_suite(trunk, **learning)
    return Target(suite, suite.draw(3), 3)


@pytest.mark.parametrize("name", ACCEPTED)
def test_repeatable_suites_are_accepted_and_theta_is_unchanged(name: str) -> None:
    torch.manual_seed(5)
    target = target_of(ACCEPTED[name])
    flat = target.flat
    assert flat.model.training
    assert not flat.gradient.any()
    again = target_of(ACCEPTED[name]).flat
    assert flat.vector().tobytes() == again.vector().tobytes()


@pytest.mark.parametrize("name", ["numpy noise", "python noise", "a mean that is a buffer", "a count that is a buffer"])
def test_accepted_suites_give_the_same_bits_when_resumed(name: str, tmp_path: Any) -> None:
    suite, run = small.small_suite(ACCEPTED[name]), {"rounds": 3, "steps_per_round": 2, "seed": 1}

    def stop(done: Any) -> None:
        raise KeyboardInterrupt

    whole = avil.train(suite, avil.AlphaVIL(finish="none"), **run)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            avil.train(suite, avil.AlphaVIL(finish="none"), **run, output=tmp_path, resume=True, on_round=stop)
    resumed = avil.train(suite, avil.AlphaVIL(finish="none"), **run, output=tmp_path, resume=True)
    assert resumed.theta.tobytes() == whole.theta.tobytes()
    assert resumed.test == whole.test


def counting(layer: Any, inputs: Tensor) -> Tensor:
    layer.steps += layer.training
    return inputs * (2.0 if layer.steps > 100 else 1.0)


def seldom(draw: Callable[[Any], float]) -> Callable[[Any, Tensor], Tensor]:
    return lambda layer, inputs: inputs * (0.5 if draw(layer.own) < 1e-6 else 1.0)


def grows(layer: Any, inputs: Tensor) -> Tensor:
    layer.log.append(len(inputs))
    return inputs


def replaces(layer: Any, inputs: Tensor) -> Tensor:
    layer.kept_mean = 0.9 * layer.kept_mean + 0.1 * inputs.mean(0)
    return inputs


def first_time(layer: Any, inputs: Tensor) -> Tensor:
    if not layer.ready:
        layer.linear.weight.data.copy_(inputs.std() * layer.linear.weight.data)
        layer.ready = True
    return inputs


def teacher(layer: Any, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        for mine, yours in zip(layer.hidden[0].parameters(), layer.linear.parameters(), strict=True):
            mine.lerp_(yours, 0.1)
    return inputs


def closure() -> nn.Module:
    steps = 0

    def step(layer: Any, inputs: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        return inputs

    return Layer(step)


def ticking(layer: Any, inputs: Tensor) -> Tensor:
    next(layer.clock)
    return inputs


def takes_turns(layer: Any, inputs: Tensor) -> Tensor:
    return inputs * next(layer.turns) if layer.training else inputs


def every_fourth(layer: Any, inputs: Tensor) -> Tensor:
    layer.turn = (layer.turn + layer.training) % 4
    return inputs


def keeps_noise(layer: Any, inputs: Tensor) -> Tensor:
    if layer.noise is None:
        layer.noise = torch.rand(())
    return inputs * layer.noise


def keeps_noise_in_training(layer: Any, inputs: Tensor) -> Tensor:
    return keeps_noise(layer, inputs) if layer.training else inputs


@functools.cache
def factor(layer: Any) -> float:
    return random.random()


def cached_factor(layer: Any, inputs: Tensor) -> Tensor:
    return inputs * factor(layer) if layer.training else inputs


class CountsByClass(nn.Module):
    batches = 0

    def forward(self, inputs: Tensor) -> Tensor:
        CountsByClass.batches += 1
        return inputs


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a counter": (of(counting, steps=0), "training passes change 'trunk.steps'"),
    "a counter of itertools": (of(ticking, clock=count), "training passes change 'trunk.clock'"),
    "a counter in a closure": (closure, "training passes change 'trunk.step.steps'"),
    "a list that grows": (of(grows, log=deque), "training passes change 'len(trunk.log)'"),
    "a buffer that is not persistent": (
        of(mean_in_place("mean"), mean=lambda: torch.zeros(small.WIDTH)),
        "or a generator of its own (changed: trunk.mean); make it a persistent buffer",
    ),
    "a buffer of whole numbers": (
        of(lambda layer, x: [layer.kept_seen.add_(1), x][1], kept_seen=lambda: torch.zeros(3, dtype=torch.int64)),
        "training passes change 'trunk.kept_seen'",
    ),
    "PyTorch's generator": (
        of(seldom(lambda own: torch.rand((), generator=own).item()), own=torch.Generator),
        "training passes change 'trunk.own'",
    ),
    "NumPy's generator": (
        of(seldom(lambda own: own.random()), own=np.random.default_rng),
        "training passes change 'trunk.own'",
    ),
    "NumPy's old generator": (
        of(seldom(lambda own: own.rand()), own=np.random.RandomState),
        "training passes change 'trunk.own'",
    ),
    "Python's generator": (
        of(seldom(lambda own: own.random()), own=random.Random),
        "training passes change 'trunk.own'",
    ),
    "noise from the system": (
        of(lambda _, x: x + float(np.random.default_rng().normal())),
        "task 'left': the model's training pass is not repeatable",
    ),
    "a buffer put in another's place": (
        of(replaces, kept_mean=lambda: torch.zeros(small.WIDTH)),
        "the model's training pass replaces the tensor of 'trunk.kept_mean'; change parameters and",
    ),
    "a start by the first batch": (
        of(first_time, ready=False),
        "suite 'small': the model changes 'trunk.linear.weight' when it is evaluated",
    ),
    "a start by the first batch that trains": (
        of(lambda layer, x: first_time(layer, x) if layer.training else x, ready=False),
        "task 'left': the model's training pass is not repeatable",
    ),
    "one of three factors in turn": (
        of(takes_turns, turns=lambda: itertools.cycle([1.0, 2.0, 3.0])),
        "task 'left': the model's training pass is not repeatable",
    ),
    "every fourth batch": (of(every_fourth, turn=0), "training passes change 'trunk.turn'"),
    "noise that is kept": (of(keeps_noise, noise=None), "the model or the data keep random numbers drawn on first use"),
    "noise that is kept in training": (
        of(keeps_noise_in_training, noise=None),
        "a second one draws other random numbers, so it keeps some of the first one's",
    ),
    "noise in a cache of functools": (of(cached_factor), "a second one draws other random numbers"),
    "a counter of the class": (
        lambda: nn.Sequential(small.plain(), CountsByClass()),
        "training passes change 'trunk.1.batches'",
    ),
    "a generator of the system": (
        of(lambda layer, x: x * layer.own.random(), own=random.SystemRandom),
        "task 'left': the model's training pass is not repeatable",
    ),
    "a frozen teacher": (
        of(teacher, hidden=lambda: [nn.Linear(small.WIDTH, 8).requires_grad_(False)]),
        "training passes change 'trunk.hidden[0].bias'",
    ),
}
"""What is refused, and how the message begins."""


@pytest.mark.parametrize("name", REFUSED)
def test_state_that_cannot_be_sent_is_rejected(name: str) -> None:
    trunk, said = REFUSED[name]
    with pytest.raises(UserError) as caught:
        target_of(trunk)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def drops(tensor: Any) -> None:
    tensor.grad = None


def without_gradients(hook: Callable[[Any], None]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        trunk = small.plain()
        trunk[0].weight.register_post_accumulate_grad_hook(hook)
        return trunk

    return build


LOST = {
    "set to none": (
        of(lambda layer, x: [layer.zero_grad(), x][1]),
        "task 'left': the model's forward pass changes its",
    ),
    "set to zero": (
        of(lambda layer, x: [layer.zero_grad(set_to_none=False), x][1]),
        "task 'left': the model's forward pass changes its parameters' gradients; leave zero_grad() and backward() to",
    ),
    "a pass of its own": (
        of(lambda layer, x: [layer.linear(x).sum().backward() if layer.training else None, x][1]),
        "task 'left': the model's forward pass changes its parameters' gradients",
    ),
    "taken away": (
        without_gradients(drops),
        "the model replaces the gradient of 'trunk.0.weight', so it does not arriv",
    ),
    "another tensor": (
        without_gradients(lambda tensor: setattr(tensor, "grad", tensor.grad.clone())),
        "the model replaces the gradient of 'trunk.0.weight'",
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_missing_gradients_are_detected(name: str) -> None:
    trunk, said = LOST[name]
    with pytest.raises(UserError) as caught:
        target_of(trunk)
    assert said in str(caught.value)


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Tensor:
        raise NotImplementedError("mine")


class Forward(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return NoBackward.apply(inputs)


def test_failures_in_only_the_training_pass_are_one_line_that_names_the_task() -> None:
    said = "task 'left': the model fails in training mode, in a batch of 1 that begins with row 0 of its train split"
    with pytest.raises(UserError, match=said):
        target_of(small.batch_norm, batch_size=1)
    with pytest.raises(UserError, match=r"task 'left': the model's backward pass fails .NotImplementedError: mine"):
        target_of(lambda: nn.Sequential(small.plain(), Forward()))


def test_a_lazy_module_is_refused_by_name() -> None:
    lazy = of(lambda _, x: x)
    with pytest.raises(UserError, match=r"suite 'small': the model's trunk.0.weight has no size yet"):
        target_of(lambda: nn.Sequential(nn.LazyLinear(8), lazy()))


def augment(_: Any, read: Tensor) -> Tensor:
    noise = torch.from_numpy(np.random.normal(size=read.shape)).float()  # noqa: NPY002
    return read * random.random() + noise + torch.rand(read.shape)


@pytest.mark.parametrize("method", [avil.AlphaVIL(), avil.Equal()])
def test_augmentation_gives_the_same_bits_when_repeated_and_resumed(method: Any, tmp_path: Any) -> None:
    suite, run = small.suite_with(augment), {"rounds": 4, "steps_per_round": 2, "seed": 1}

    def stop(done: Any) -> None:
        raise KeyboardInterrupt

    random.seed(1)
    whole = avil.train(suite, method, **run)
    random.seed(2)
    with pytest.raises(KeyboardInterrupt):
        avil.train(suite, method, **run, output=tmp_path, on_round=stop)
    resumed = avil.train(suite, method, **run, output=tmp_path, resume=True)
    assert resumed.theta.tobytes() == whole.theta.tobytes()
    assert (resumed.test, resumed.select) == (whole.test, whole.select)


def own_noise(inputs: Any, read: Tensor) -> Tensor:
    return read + float(inputs.own.normal())


def counted(inputs: Any, read: Tensor) -> Tensor:
    inputs.reads += 1
    return read


@pytest.mark.parametrize("split", ["train", "select"])
def test_data_with_a_private_generator_are_rejected(split: str) -> None:
    said = (
        f"task 'left': the model's {'training pass' if split == 'train' else 'evaluation on select'} is not repeatable"
    )
    with pytest.raises(UserError, match=f"{said}: the same examples, read twice with the same seed"):
        avil.train(small.suite_with(own_noise, ("left", split)), avil.Equal(), rounds=1, steps_per_round=1)


def test_data_that_count_accesses_are_rejected_by_name() -> None:
    with pytest.raises(UserError, match=r"passes change 'train/dev inputs of left.reads'"):
        avil.train(small.suite_with(counted, ("left", "train")), avil.Equal(), rounds=1, steps_per_round=1)


@pytest.mark.parametrize("task", small.TASKS)
def test_data_that_cannot_be_read_name_task_and_split(task: str) -> None:
    def fail(_: Any, read: Tensor) -> Tensor:
        raise SystemExit("no such file")

    with pytest.raises(UserError, match=f"task '{task}'.* of its train split .SystemExit: no such file"):
        avil.train(small.suite_with(fail, (task, "train")), avil.Equal(), rounds=1, steps_per_round=1)


class Curriculum:
    """As an augmentation and as a loss; it changes nothing before its hundredth call."""

    def __init__(self) -> None:
        self.calls, self.own = 0, np.random.default_rng(1)

    def augment(self, inputs: Tensor, target: Any) -> tuple[Tensor, Any]:
        self.calls += 1
        return inputs * (0.5 if self.calls > 100 else 1.0), target

    def noise(self, inputs: Tensor, target: Any) -> tuple[Tensor, Any]:
        return inputs + float(self.own.normal()), target

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.cross_entropy(outputs, targets)


def with_options(name: str, **options: Any) -> avil.Suite:
    suite = small.small_suite()

    def tasks(seed: int) -> list[avil.Task]:
        return [dataclasses.replace(task, **options) if task.name == name else task for task in suite.tasks(seed)]

    return dataclasses.replace(suite, tasks=tasks)


@pytest.mark.parametrize("task", ["left", "noise"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (lambda: {"augment": Curriculum().augment}, "training passes change 'augment of {}.calls'"),
        (lambda: {"augment": Curriculum().noise}, "the data or their augmentation keep state"),
        (lambda: {"loss": Curriculum().loss}, "training passes change 'loss of {}.calls'"),
    ],
)
def test_stateful_augmentation_and_losses_are_rejected(task: str, options: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        avil.train(with_options(task, **options()), avil.Equal(), rounds=1, steps_per_round=1)
    assert said.format(task) in str(caught.value)


def test_trying_the_model_out_leaves_the_callers_generators_unchanged() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    target_of(of(lambda _, x: x + torch.rand(())))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_parameter_group_without_parameters_is_rejected() -> None:
    with pytest.raises(UserError, match=r"learning: groups.trnk: no parameter name starts with it; available: heads"):
        target_of(small.plain, groups={"trnk": {"learning_rate": 0.1}})
