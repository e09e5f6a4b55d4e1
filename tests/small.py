"""Small suites that train in milliseconds; in a module of their own, as runs in other processes import them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.track import MAIN, Track
from avil_ray.methods.method import Method, Run, Setting
from avil_ray.tasks.order import batches

torch.set_num_threads(1)  # on tensors this small more threads only wait for each other

WIDTH, CLASSES = 5, 3
TASKS = ("left", "right", "noise")


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh())


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.ReLU())


def dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Dropout(0.5))


class Recurrent(nn.Module):
    """Reads its inputs [B, WIDTH] one number after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(1, 8, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs.unsqueeze(-1))[0][:, -1]


def draw(seed: int, *, regression: bool = False) -> list[avil.Task]:
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(WIDTH, CLASSES, generator=torch.Generator().manual_seed(7))

    def examples(name: str, count: int) -> avil.Examples:
        inputs = torch.randn(count, WIDTH, generator=generator)
        unrelated = torch.randn(count, WIDTH, generator=generator)
        outputs = {"left": inputs, "right": inputs + inputs.roll(1, 1), "noise": unrelated}[name] @ teacher
        return avil.Examples(inputs, outputs[:, 0] if regression else outputs.argmax(dim=1))

    kind = {"loss": "mean_squared_error", "metric": "mean_squared_error"} if regression else {}
    splits = [examples("left", count) for count in (40, 20, 30, 30)]
    return [avil.Task("left", *splits, **kind), *(avil.Task(name, examples(name, 50), **kind) for name in TASKS[1:])]


def build(trunk: Callable[[], nn.Module], *, regression: bool = False, own_heads: bool = True) -> nn.Module:
    def head() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 1), nn.Flatten(0)) if regression else nn.Linear(8, CLASSES)

    if own_heads:
        return avil.MultitaskModel(trunk(), {name: head() for name in TASKS})
    return avil.MultitaskModel(nn.Sequential(trunk(), head()), {})


def small_suite(
    trunk: Callable[[], nn.Module] = plain, *, regression: bool = False, own_heads: bool = True, **learning: object
) -> avil.Suite:
    """Three tasks, of which `right` is related to the target `left` and `noise` is not."""
    return avil.Suite(
        name="small",
        target="left",
        task_names=TASKS,
        tasks=partial(draw, regression=regression),
        model=partial(build, trunk, regression=regression, own_heads=own_heads),
        learning=avil.Learning(**{"batch_size": 8, "learning_rate": 0.1, **learning}),
    )


def apart(examples: avil.Examples) -> list[avil.Examples]:
    """The rows of `examples` as four splits, each in an order of its own: a suite may not give one for another."""
    orders = [torch.arange(len(examples)).roll(places) for places in range(4)]
    if isinstance(examples.inputs, Tensor):
        return [avil.Examples(*examples.batch(order)) for order in orders]
    return [avil.Examples(copy.copy(examples.inputs), examples.labels[order]) for order in orders]


def new_run(suite: avil.Suite, method: Method, seed: int, *, rounds: int = 20, steps: int = 4) -> Run:
    """A run as it is before its first round."""
    setting = Setting(method.prepare(suite), suite.draw(seed), rounds, steps)
    start = Track(initial_model(setting.suite, seed).vector())
    return Run(setting, {MAIN: start}, method.start(setting))


Change = Callable[["Inputs", Tensor], Tensor]


class Inputs:
    """Inputs that are no tensor: `change` sees what is read from them, in every split."""

    def __init__(self, values: Tensor, change: Change) -> None:
        self.values, self.change, self.reads = values, change, 0
        self.own = np.random.default_rng(1)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.change(self, self.values[rows])

    def join(self, other: Inputs) -> Inputs:
        return Inputs(torch.cat([self.values, other.values]), self.change)


def suite_with(change: Change, only: tuple[str, str] | None = None, suite: avil.Suite | None = None) -> avil.Suite:
    """The small suite, or another one, on such inputs; with `change` in one task's split only where that is given."""
    suite = suite or small_suite()

    def tasks(seed: int) -> list[avil.Task]:
        found = []
        for task in suite.tasks(seed):
            splits = {}
            for split in ("train", "dev", "select", "test"):
                examples = getattr(task, split)
                changed = change if only in (None, (task.name, split)) else lambda _, x: x
                if examples is not None:
                    splits[split] = avil.Examples(Inputs(examples.inputs, changed), examples.labels)
            found.append(dataclasses.replace(task, **splits))
        return found

    return dataclasses.replace(suite, tasks=tasks)


def opposed_suite() -> avil.Suite:
    """One head for all: `right` is the target's own task on the same rows, `noise` the opposite of it."""

    def tasks(seed: int) -> list[avil.Task]:
        inputs = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(seed))
        same, opposite = avil.Examples(inputs, inputs[:, 0]), avil.Examples(inputs, -inputs[:, 0])
        kind = {"loss": "mean_squared_error", "metric": "mean_squared_error"}
        target = avil.Task("left", *apart(same), **kind)
        return [target, avil.Task("right", same, **kind), avil.Task("noise", opposite, **kind)]

    plainly = small_suite(regression=True, own_heads=False, batch_size=40)
    return dataclasses.replace(plainly, name="opposed", tasks=tasks)


class Constant(nn.Module):
    """One parameter, which is the output whatever the input: theta says what the figures are."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        return self.value.expand(len(inputs))


def constant_suite(*, binary: bool = False) -> avil.Suite:
    """The target's labels are 0 (mean squared error: best at theta = 0) or, binary, 1 (accuracy: 1 where theta > 0)."""

    def tasks(seed: int) -> list[avil.Task]:
        splits = apart(avil.Examples(torch.arange(4.0)[:, None], torch.full((4,), float(binary))))
        loss, metric = ("binary_cross_entropy", "accuracy") if binary else ("mean_squared_error", "mean_squared_error")
        return [avil.Task("goal", *splits, loss=loss, metric=metric)]

    return avil.Suite(name="constant", target="goal", task_names=("goal",), tasks=tasks, model=Constant)


def flat(model: nn.Module) -> np.ndarray:
    """Trunk, then heads, then buffers, one after the other: theta, made without the library."""
    parts = [p for name, p in model.named_parameters() if not name.startswith("heads.")]
    parts += [p for name, p in model.named_parameters() if name.startswith("heads.")]
    parts += list(model.buffers())
    return torch.cat([part.detach().flatten().float() for part in parts]).numpy()


def load(model: nn.Module, theta: np.ndarray) -> nn.Module:
    """Set parameters and buffers from `flat`'s vector; the model itself, ready to train."""
    named = dict(model.named_parameters())
    parts = [p for name, p in named.items() if not name.startswith("heads.")]
    parts += [p for name, p in named.items() if name.startswith("heads.")]
    values = torch.from_numpy(np.array(theta))
    with torch.no_grad():
        for part in [*parts, *model.buffers()]:
            part.copy_(values[: part.numel()].view(part.shape))
            values = values[part.numel() :]
    return model.train()


def ordinary(
    suite: avil.Suite,
    seed: int,
    start: np.ndarray,
    weights: Mapping[str, float],
    steps: int,
    *,
    rate: float = 1.0,
    hold: bool = False,
) -> np.ndarray:
    """Joint training with SGD as anyone would write it, from `start`; theta at the end.

    `rate` multiplies the learning rate; `hold` leaves the target's dev examples out.
    """
    model, tasks, learning = load(suite.model(), start), suite.draw(seed), suite.learning
    data = {task: tasks[task].train for task in weights}
    if "left" in data and not hold:
        data["left"] = tasks["left"].train.join(tasks["left"].dev)
    orders = {
        task: batches(torch.arange(len(examples)), learning.batch_size, 0, steps, seed, task)
        for task, examples in data.items()
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=rate * learning.learning_rate, momentum=learning.momentum)
    for _ in range(steps):
        optimizer.zero_grad()
        total = torch.zeros(())
        for task, weight in weights.items():
            inputs, labels = data[task].batch(next(orders[task]))
            total = total + weight * F.cross_entropy(model(inputs, task), labels)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), learning.clip)
        optimizer.step()
    return flat(model)


class Seen:
    """One step of joint training as anyone would write it: what a rule by hand may look at."""

    def __init__(
        self, suite: avil.Suite, number: int, theta: Tensor, batches: Mapping[str, tuple[Tensor, Tensor]]
    ) -> None:
        self.suite, self.number, self.theta, self.batches = suite, number, theta, batches

    def losses(self, task: str, theta: Tensor | None = None, batch: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The losses of the task's batch, or of another, at theta; differentiable by theta."""
        inputs, labels = batch or self.batches[task]
        model, at = self.suite.model(), self.theta if theta is None else theta
        names = [name for name, _ in model.named_parameters()]
        names = [n for n in names if not n.startswith("heads.")] + [n for n in names if n.startswith("heads.")]
        sizes = [model.get_parameter(name).numel() for name in names]
        parts = {n: p.view(model.get_parameter(n).shape) for n, p in zip(names, at.split(sizes), strict=True)}
        outputs = torch.func.functional_call(model, parts, (inputs, task))
        return F.cross_entropy(outputs, labels, reduction="none")

    def gradient(self, task: str, theta: Tensor | None = None, batch: tuple[Tensor, Tensor] | None = None) -> Tensor:
        at = (self.theta if theta is None else theta).clone().requires_grad_()
        (found,) = torch.autograd.grad(self.losses(task, at, batch).mean(), at)
        return found


def joint_by_hand(
    suite: avil.Suite,
    seed: int,
    theta: np.ndarray,
    steps: int,
    weigh: Callable[[Seen], Mapping[str, float]],
    *,
    hold: bool = False,
) -> tuple[np.ndarray, list[dict[str, float]]]:
    """SGD on sum_i w_i L_i from theta, with weights from `weigh` at every step; theta at the end, and the weights."""
    tasks, learning, at = suite.draw(seed), suite.learning, torch.from_numpy(np.array(theta))
    data = {name: task.train for name, task in tasks.items()}
    if not hold:
        data["left"] = tasks["left"].train.join(tasks["left"].dev)
    streams = {
        name: batches(torch.arange(len(examples)), learning.batch_size, 0, steps, seed, name)
        for name, examples in data.items()
    }
    velocity, used = torch.zeros_like(at), []
    for number in range(steps):
        seen = Seen(suite, number, at, {name: data[name].batch(next(stream)) for name, stream in streams.items()})
        weights = dict(weigh(seen))
        gradient = sum(weight * seen.gradient(task) for task, weight in weights.items())
        gradient = gradient * min(1.0, learning.clip / (float(gradient.norm()) + 1e-6))
        velocity = learning.momentum * velocity + gradient
        at, used = at - learning.learning_rate * velocity, [*used, weights]
    return at.numpy(), used


class Column:
    """Inputs that are no tensor; a batch is a mapping of tensors, or one tensor."""

    def __init__(self, values: Tensor, key: str = "") -> None:
        self.values, self.key = values, key

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor) -> object:
        return {self.key: self.values[rows], "ids": rows} if self.key else self.values[rows]

    def join(self, other: Column) -> Column:
        return Column(torch.cat([self.values, other.values]), self.key)
