"""K assignments at once: does for the rows of a stack what `Learner.train` and `Target.evaluate` do for one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avil_ray.errors import one_line
from avil_ray.learning.assignment import Assignment, Trouble, Update
from avil_ray.learning.judging import Figures, Judged, joined
from avil_ray.learning.parameters import FlatModel, Vector
from avil_ray.learning.stack.data import Data, Order, steps_of
from avil_ray.learning.stack.model import StackedModel
from avil_ray.learning.stack.optimizer import Follows, StackedOptimizer
from avil_ray.learning.track import Track
from avil_ray.tasks.task import Task

EVALUATED = 1024
"""Examples evaluated at a time by all rows' models, unless `evaluation_batch` is set."""


@dataclass(frozen=True)
class Job:
    """One row's part of a round: its assignment, its starting point and its seed."""

    seed: int
    assignment: Assignment
    track: Track


class StackLearner:
    """One model for many rows, and the data of their seeds.

    Like `Learner`, it keeps no state between calls that could change a result: a row may be in this stack in one round,
    and in another stack or on its own in the next.

    Parameters
    ----------
    flat
        A model of the suite; its parameter values do not matter.
    target
        The name of the target.
    tasks
        Seed -> the suite's data.
    """

    def __init__(self, flat: FlatModel, target: str, tasks: Mapping[int, Mapping[str, Task]]) -> None:
        self._target, self._tasks, self._device = target, tasks, flat.device
        self.model = StackedModel(flat, next(iter(tasks.values())))
        self._data = {seed: Data(of_seed, target, flat.device) for seed, of_seed in tasks.items()}

    def train(self, jobs: Sequence[Job], tasks: Sequence[str]) -> list[Update]:
        """Train every row from its track's current state; the tracks are not changed.

        Parameters
        ----------
        jobs
            They must have the same number of steps, batch size and kind of optimizer.
        tasks
            The tasks computed for all rows; a row is unaffected by tasks that it has no weight for.

        Returns
        -------
        list of Update
            As from `Learner`, except for `seconds`. An update with values that are not finite has a `trouble`; the
            exact cause is not determined here.
        """
        first = jobs[0].assignment
        theta = torch.stack([torch.from_numpy(job.track.theta) for job in jobs]).to(self._device)
        weights = torch.tensor(
            [[job.assignment.weights.get(task, 0.0) for task in tasks] for job in jobs], device=self._device
        )
        optimizer = StackedOptimizer(self.model.space, [self._follows(job) for job in jobs], self._device)
        orders = [Order(job.seed, job.track.steps, job.assignment.dev) for job in jobs]
        losses, norms = [], []
        coming = steps_of(self._data, orders, tasks, first.learning.batch_size, first.steps)
        for number, (inputs, targets) in enumerate(coming):
            theta.requires_grad_()
            found = self.model.losses(theta, inputs, targets)
            (gradient,) = torch.autograd.grad((found * weights).sum(), theta)
            losses.append(found.detach())
            theta = theta.detach()
            norms.append(optimizer.step(number, theta, gradient))
        fine = (torch.isfinite(torch.stack(norms)).all(0) & torch.isfinite(theta).all(1)).tolist()
        means, ends = torch.stack(losses).double().mean(0).tolist(), theta.cpu().numpy()
        return [
            _update(job, ends[row].copy(), dict(zip(tasks, means[row], strict=True)), optimizer, row, fine[row])
            for row, job in enumerate(jobs)
        ]

    def evaluate(
        self, split: Literal["select", "test"], asked: Sequence[tuple[int, Vector]], at_once: int | None = None
    ) -> list[Figures]:
        """The target's figures at each (seed, theta [P]) on a whole split of that seed, as from `Target.evaluate`."""
        found: dict[int, Figures] = {}
        for seed in dict.fromkeys(seed for seed, _ in asked):
            rows = [row for row, (of_row, _) in enumerate(asked) if of_row == seed]
            theta = torch.stack([torch.from_numpy(asked[row][1]) for row in rows]).to(self._device)
            found |= zip(rows, self._figures(split, seed, theta, at_once or EVALUATED), strict=True)
        return [found[row] for row in range(len(asked))]

    def _figures(self, split: str, seed: int, theta: Tensor, at_once: int) -> list[Figures]:
        """The figures of rows with the same seed."""
        task, (inputs, labels) = self._tasks[seed][self._target], self._data[seed].split(self._target, split)
        judged: list[list[Judged]] = [[] for _ in theta]
        for part in torch.arange(len(labels), device=inputs.device).tensor_split(max(1, -(-len(labels) // at_once))):
            outputs, targets = self.model.outputs(theta, inputs[part], self._target), labels[part]
            finite = torch.isfinite(outputs).reshape(len(theta), -1).all(1).tolist()
            sums = [float(task.losses(one, targets, len(part)).mean()) * len(part) for one in outputs]
            for row, one in enumerate(outputs.cpu()):
                judged[row].append(_judged(task, one, targets.cpu(), sums[row], finite[row]))
        return [joined(task, of_row) for of_row in judged]

    def _follows(self, job: Job) -> Follows:
        """Which slices of theta a row trains, and how: the trunk and the heads of its own tasks."""
        assignment, space = job.assignment, self.model.space
        parts = {"trunk": space.trunk, **{f"head of {task}": space.head(task) for task in assignment.weights}}
        state = job.track.optimizer if assignment.continues else {}
        return Follows(assignment.learning, parts, job.track.steps, assignment.schedule_steps, state)


def _update(
    job: Job, theta: Vector, losses: Mapping[str, float], optimizer: StackedOptimizer, row: int, fine: bool
) -> Update:
    one = job.assignment
    return Update(
        assignment=one.name,
        track=one.track,
        steps=one.steps,
        theta=theta,
        losses={task: losses[task] for task in one.weights},
        weights=dict(one.weights),
        gradient_steps=one.gradient_steps,
        optimizer={**job.track.optimizer, **optimizer.state(row)} if one.continues else {},
        trouble=None if fine else Trouble("", "something is not finite"),
    )


def _judged(task: Task, outputs: Tensor, targets: Tensor, loss: float, finite: bool) -> Judged:
    """The result of a row's outputs for a part of a split; its metrics ignore outputs that are not finite."""
    made = {measure.name: measure.make() for measure in task.measures}
    for name, metric in made.items() if finite else ():
        with one_line(f"task {task.name!r}: the metric {name} failed"):
            metric.update(outputs.float(), targets)
    return Judged(made, loss, len(targets), finite)
