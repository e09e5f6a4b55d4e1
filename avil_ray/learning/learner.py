"""ONE assignment on one device: plain PyTorch, no Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from avil_ray.learning.assignment import Assignment, OptimizerState, Trouble, Update
from avil_ray.learning.diverged import trouble
from avil_ray.learning.parameters import Vector, initial_model
from avil_ray.learning.passes import Source, forward
from avil_ray.learning.step import Step
from avil_ray.learning.weighting import Weights
from avil_ray.randomness import numpy_generator, seeded
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.objectives import LOSSES
from avil_ray.tasks.order import batches
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task


class Learner:
    """A model replica and the tasks' data; `train` turns an assignment into an update.

    It keeps nothing between calls that could change a result, so any learner can take any assignment at any time.

    Parameters
    ----------
    suite, tasks, seed
        What is learned, its data (`suite.draw(seed)`), and the seed that all random choices derive from.
    device
        Where to compute.
    threads
        CPU threads; part of the configuration, as the order of sums depends on it.
    """

    def __init__(
        self, suite: Suite, tasks: Mapping[str, Task], seed: int, device: str = "cpu", threads: int = 1
    ) -> None:
        self.suite, self.seed, self.threads = suite, seed, threads
        with cpu_threads(threads):
            self.flat = initial_model(suite, seed, device)
        target = tasks[suite.target]
        assert target.dev is not None
        self._counts = len(target.train), len(target.dev)
        self._sources = {name: Source(task, "train") for name, task in tasks.items() if name != suite.target}
        self._sources[suite.target] = Source(target, "train", "dev")

    def train(self, assignment: Assignment, theta: Vector, number: int) -> Update:
        """Train from theta [P] in round `number`; theta itself is not changed."""
        started = time.perf_counter()
        flat = self.flat
        with cpu_threads(self.threads), seeded(self.seed, number, assignment.name, "training"):
            flat.load(theta)
            flat.model.train()
            named = self._trainable(assignment)
            parameters = list(named.values())
            optimizer = _optimizer(parameters, assignment.learning)
            _restore(optimizer, assignment.optimizer, named)
            memory = {name: np.array(value) for name, value in assignment.memory.items()}
            losses: dict[str, list[float]] = {task: [] for task in assignment.weights}
            weights: dict[str, list[float]] = {task: [] for task in assignment.weights}
            passes, diverged = 0, None
            for step in self._steps(assignment, number, memory):
                weighed = assignment.rule.weigh(step)
                step.backward(weighed)
                passes += step.passes
                norm = nn.utils.clip_grad_norm_(parameters, assignment.learning.clip)
                if diverged is None and not bool(torch.isfinite(norm)):
                    diverged = self._trouble(step, weighed, theta)
                _warm_up(optimizer, assignment.learning, step.number)
                optimizer.step()
                flat.push()
                for task, loss in step.mean_losses().items():
                    losses[task].append(loss)
                for task, values in weights.items():
                    weight = weighed.get(task, 0.0)
                    values.append(float(weight.mean() if isinstance(weight, Tensor) else weight))
        return Update(
            assignment=assignment.name,
            theta=flat.vector(),
            losses={task: _mean(values) for task, values in losses.items()},
            weights={task: _mean(values) for task, values in weights.items()},
            gradient_steps=passes,
            seconds=time.perf_counter() - started,
            optimizer={**assignment.optimizer, **_state(optimizer, named)} if assignment.keep_optimizer else {},
            memory=memory,
            trouble=diverged,
        )

    def _trouble(self, step: Step, weights: Weights, start: Vector) -> Trouble:
        """Why the gradient is not finite; it is left as it is."""
        gradient = self.flat.gradient.clone()
        found = trouble(step, weights, self._sources, torch.from_numpy(np.array(start)).to(gradient.device))
        self.flat.gradient.copy_(gradient)
        return found

    def _steps(self, assignment: Assignment, number: int, memory: dict[str, npt.NDArray[Any]]) -> Iterator[Step]:
        """The assignment's steps, each with the next batch of every task."""
        orders = {task: self._order(assignment, task, number) for task in assignment.weights}

        def batch(task: str, rows: Tensor) -> Tensor:
            source = self._sources[task]
            return LOSSES[source.task.loss](*forward(self.flat, source, rows, assignment.learning))

        for index in range(assignment.first_step, assignment.first_step + assignment.steps):
            dev_rows = partial(self._dev_rows, assignment, number, index)
            yield Step(index, self.suite.target, assignment.weights, memory, self.flat, batch, orders, dev_rows)

    def _dev_rows(self, assignment: Assignment, number: int, step: int, draw: int) -> Tensor:
        """The rows of a step's `draw`-th dev batch: a random part of those that adapt in this round."""
        _, rows = assignment.dev.rows(*self._counts, self.seed, number)
        generator = numpy_generator(self.seed, assignment.name, "dev batch", step, draw)
        return rows[torch.from_numpy(generator.permutation(len(rows))[: assignment.learning.batch_size])]

    def _order(self, assignment: Assignment, task: str, number: int) -> Iterator[Tensor]:
        """The batches of one task. A cross-fitted target has new rows each round, and so a new stream each round."""
        first, purpose = assignment.first_step, (assignment.name, task)
        rows = torch.arange(len(self._sources[task]))
        if task == self.suite.target:
            rows, _ = assignment.dev.rows(*self._counts, self.seed, number)
            if assignment.dev.kind == "crossfit":
                first, purpose = 0, (assignment.name, f"{task} in round {number}")
        size, replacement = assignment.learning.batch_size, self._sources[task].task.replacement
        return batches(rows, size, first, assignment.steps, self.seed, *purpose, replacement=replacement)

    def _trainable(self, assignment: Assignment) -> dict[str, nn.Parameter]:
        """The slices of theta that the assignment may move, as parameters that share its memory: trunk and own heads.

        They are called "trunk" and "head of <task>".

        Other heads get no gradient; leaving them out keeps weight decay from moving them all the same.
        """
        space = self.flat.space
        trunk, heads = {"trunk": space.trunk}, {f"head of {task}": space.head(task) for task in assignment.weights}
        parts = {"all": {**trunk, **heads}, "trunk": trunk, "heads": heads}[assignment.trains]
        parameters = {}
        for name, part in parts.items():
            if part.stop > part.start:
                parameter = nn.Parameter(self.flat.values[part])
                parameter.grad = self.flat.gradient[part]
                parameters[name] = parameter
        return parameters


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Use exactly so many CPU threads inside the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _optimizer(parameters: list[nn.Parameter], learning: Learning) -> torch.optim.Optimizer:
    if learning.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=learning.learning_rate, weight_decay=learning.weight_decay)
    return torch.optim.SGD(
        parameters, lr=learning.learning_rate, momentum=learning.momentum, weight_decay=learning.weight_decay
    )


def _warm_up(optimizer: torch.optim.Optimizer, learning: Learning, step: int) -> None:
    """Set the learning rate of an assignment's step (from 0, across rounds) while it still rises."""
    if step < learning.warmup:
        share = (step + 1) / learning.warmup
    elif step == learning.warmup:
        share = 1.0
    else:
        return
    for group in optimizer.param_groups:
        group["lr"] = share * learning.learning_rate


def _mean(values: list[float]) -> float:
    """The mean, exact where all values are equal; 0 of none."""
    return math.fsum(values) / max(1, len(values))


def _state(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> OptimizerState:
    """The optimizer's tensors as arrays named `<parameter>.<what>`."""
    return {
        f"{name}.{what}": value.detach().cpu().numpy().copy()
        for name, parameter in parameters.items()
        for what, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def _restore(optimizer: torch.optim.Optimizer, arrays: OptimizerState, parameters: Mapping[str, nn.Parameter]) -> None:
    for key, array in arrays.items():
        name, _, what = key.partition(".")
        if name in parameters:
            value = torch.from_numpy(np.array(array))
            optimizer.state[parameters[name]][what] = value if what == "step" else value.to(parameters[name].device)
