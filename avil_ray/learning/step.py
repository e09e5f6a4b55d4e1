"""One gradient step as a weighting rule sees it: the tasks' losses and gradients, and the target's dev loss.

Everything is computed when it is asked for, and once. Passes that only measure (`dev`, `losses_at`, `gradient_at`) run
in evaluation mode: no dropout, BatchNorm's running statistics; they leave no trace in what the step trains on.

A step may be shared out over a team (`learning/team.py`). Each member then computes what concerns its own tasks, and
sends the others what they ask for too: all members must ask for the same, in the same order, as a rule does that
depends on nothing but its step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.learning.parameters import FlatModel, ParameterSpace, backward_in_evaluation
from avil_ray.learning.passes import Batch, losses, total_loss
from avil_ray.learning.team import Team
from avil_ray.learning.twins import Twins, backward
from avil_ray.randomness import reseed
from avil_ray.tasks.learning import Learning

Loss = Callable[[FlatModel, Batch, Learning], Tensor]


@dataclass(frozen=True)
class Bench:
    """What the steps of an assignment work with.

    Attributes
    ----------
    target
        The target's name; it need not be among the tasks.
    weights
        The assignment's weights, task -> weight: the tasks of every step.
    batches, dev_batch
        Each task's batches, one a step; a step's `draw`-th dev batch, `dev_batch(step, draw)`.
    first
        The number of the assignment's first step.
    divides
        Whether a task's micro-batches may be computed by several members: where no rule asks for its losses.
    twins
        Twins of the model, where they save time.
    """

    flat: FlatModel
    learning: Learning
    target: str
    weights: Mapping[str, float]
    memory: dict[str, npt.NDArray[Any]]
    batches: Mapping[str, Iterator[Batch]]
    dev_batch: Callable[[int, int], Batch]
    first: int
    seed: int
    team: Team
    divides: bool
    twins: Twins | None
    _drawn: dict[str, int] = field(default_factory=dict)

    def batch(self, task: str, index: int) -> Batch:
        """The task's batch of the `index`-th step; those before it, which others have seen, are skipped."""
        for _ in range(self._drawn.get(task, 0), index):
            next(self.batches[task])
        self._drawn[task] = index + 1
        return next(self.batches[task])

    @property
    def keeper(self) -> str:
        """The task whose passes change buffers (BatchNorm's statistics): the target, else the first one."""
        return self.target if self.target in self.weights else next(iter(self.weights))


class Step:
    """A step in progress.

    Attributes
    ----------
    number
        Which step of the track this is, from 0, across rounds.
    target
        The target's name; it need not be among the step's tasks.
    weights
        The assignment's weights, task -> weight; the tasks of the step.
    memory
        What the rule remembers: named arrays, to be changed by the rule.
    passes
        This member's passes over a batch so far, forward and backward or forward only: its part of the step's cost.
    shares
        Task -> this member's parts of its mean training loss [], in order: they add up to it.
    """

    def __init__(self, number: int, bench: Bench) -> None:
        self.number, self.target, self.weights, self.memory = number, bench.target, bench.weights, bench.memory
        self.passes = 0
        self.shares: dict[str, list[Tensor]] = {}
        self._bench, self._flat, self._learning, self._team = bench, bench.flat, bench.learning, bench.team
        self._drawn: dict[str, Batch] = {}
        self._losses: dict[str, Tensor] = {}
        self._own: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}
        self._moved: dict[str, Tensor] = {}

    @property
    def space(self) -> ParameterSpace:
        """The layout of theta and of every gradient."""
        return self._flat.space

    @property
    def theta(self) -> Tensor:
        """A copy of theta [P] as it stands before the step."""
        return self._flat.values.detach().clone()

    @property
    def own(self) -> list[str]:
        """The tasks whose losses this member computes: all of them where it works alone."""
        tasks = list(self.weights)
        return [tasks[unit] for unit in self._team.mine(len(tasks))]

    def batch(self, task: str) -> Batch:
        """The task's batch of examples."""
        if task not in self._drawn:
            self._drawn[task] = self._bench.batch(task, self.number - self._bench.first)
        return self._drawn[task]

    def losses(self, task: str) -> Tensor:
        """The training losses of the task's batch: of each example [batch], or [1], their mean.

        With their graph where this member has computed them; it is held for the whole batch, whatever `micro_batch` is.
        """
        if task not in self._losses:
            found = self._computed(task) if task in self.own else None
            if self._team.size > 1:
                values = None if found is None else found.detach().cpu().numpy()
                told = self._team.tell(values, self._owner(task))
                found = torch.from_numpy(told).to(self._flat.device) if found is None else found
            assert found is not None
            self._losses[task] = found
        return self._losses[task]

    def losses_of_examples(self, task: str) -> Tensor:
        """The training loss of each example of the task's batch [batch], for rules that weigh single examples.

        Raises
        ------
        UserError
            The task's loss gives the batch's mean only.
        """
        found = self.losses(task)
        if len(found) == 1 and self._learning.batch_size > 1:
            hint = "give a loss that returns a tensor [batch], one for each example"
            raise UserError(f"task {task!r}: this method weighs single examples, but the loss gives their mean; {hint}")
        return found

    def gradient(self, task: str) -> Tensor:
        """The gradient [P] of the task's mean training loss, unweighted; the target's is among those of the tasks."""
        if task not in self._gradients:
            if task in self.own:
                self._gradients[task] = self._backward(self._computed(task).mean(), keep=True)
            else:
                self._gradients[task] = torch.empty_like(self._flat.gradient)
            self._team.share(self._gradients[task], self._owner(task))
        return self._gradients[task]

    def dev(self, theta: Tensor, draw: int = 0) -> tuple[float, Tensor]:
        """The target's mean loss and its gradient [P] at `theta` [P], on the step's `draw`-th batch of dev examples.

        The examples are those that adapt in this round: `DevUse.rows`. Every member computes it by itself.
        """
        self.passes += self._team.leads
        with self._measuring(theta, "dev"):
            loss = losses(self._flat, self._bench.dev_batch(self.number, draw), self._learning).mean()
            return loss.item(), self._backward(loss)

    def losses_at(self, task: str, theta: Tensor) -> Tensor:
        """The losses of the task's batch at `theta` [P], as of `losses`, without a graph."""
        found = None
        if task in self.own:
            self.passes += 1
            with self._measuring(theta, task), torch.no_grad():
                found = losses(self._flat, self.batch(task), self._learning).clone()
        if self._team.size == 1:
            assert found is not None
            return found
        values = self._team.tell(None if found is None else found.cpu().numpy(), self._owner(task))
        return torch.from_numpy(values).to(self._flat.device)

    def gradient_at(self, theta: Tensor, weights: Mapping[str, float | Tensor]) -> Tensor:
        """The gradient [P] at `theta` [P] of the weighted training losses of the tasks in `weights`.

        A weight of 0 for an example leaves it out.
        """
        with self._measuring(theta, "elsewhere"):
            self._flat.zero_gradient()

            def add(task: str) -> None:
                self.passes += 1
                (weights[task] * losses(self._flat, self.batch(task), self._learning)).mean().backward()
                self._flat.pull()

            self._sum_of_tasks(set(weights), add)
            return self._flat.gradient.clone()

    def backward(self, weights: Mapping[str, float | Tensor]) -> None:
        """Leave the gradient of the weighted losses in the model, what the optimizer follows; and move its buffers.

        A task with weight 0 has no part in it, even where its loss is not finite.
        """
        self._flat.zero_gradient()
        ready = [task for task, weight in weights.items() if task in self._gradients and not isinstance(weight, Tensor)]
        if self._bench.divides and self._bench.twins is not None:
            self._sum_of_twins(weights, self._bench.twins)
        elif self._bench.divides:
            self._sum_of_grains(weights)
        else:
            pending = {
                task for task in weights if task not in ready or (self._has_buffers and task == self._bench.keeper)
            }
            if pending:
                self._sum_of_tasks(pending, lambda task: self._add(task, 0.0 if task in ready else weights[task]))
        for task in ready:
            if weights[task]:
                self._flat.gradient.add_(self._gradients[task], alpha=float(weights[task]))
        self._move_buffers()

    def _add(self, task: str, weight: float | Tensor) -> None:
        """Add the gradient of a task's weighted mean loss, and how its pass has moved the buffers."""
        size = self._learning.micro_batch
        taking_part = isinstance(weight, Tensor) or bool(weight)
        whole = size is None or isinstance(weight, Tensor) or self.batch(task).count <= size
        if task in self._own or whole or not taking_part:
            found = self._computed(task)
            if taking_part:
                mean = (weight * found).mean() if isinstance(weight, Tensor) else weight * found.mean()
                mean.backward()
                self._flat.pull()
        else:
            assert size is not None
            for index, part in enumerate(self.batch(task).parts(size)):
                self._grain(task, index, part, float(weight))
            self.passes += 1
        if task in self._moved:
            self._flat.gradient[self.space.buffers] += self._moved[task]

    def _sum_of_tasks(self, tasks: set[str], add: Callable[[str], None]) -> None:
        """Sum over tasks, each computed by its owner; those that are not among `tasks` add nothing."""
        names = list(self.weights)

        def unit(index: int) -> None:
            if names[index] in tasks:
                # several parts, or a sum of their own, must not be added one by one to what is there
                self._team.apart(lambda: add(names[index]), self._flat.gradient)

        self._team.sum(len(names), unit, self._flat.gradient)

    def _sum_of_grains(self, weights: Mapping[str, float | Tensor]) -> None:
        """Sum over all tasks' micro-batches, whoever has them; their losses are not known before."""
        size = self._learning.micro_batch or self._learning.batch_size
        number = -(-self._learning.batch_size // size)
        grains = [(task, part) for task in weights for part in range(number)]
        parts: dict[str, list[Batch]] = {}

        def add(index: int) -> None:
            task, part = grains[index]
            if task not in parts:
                batch = self.batch(task)
                parts[task] = [batch] if batch.count <= size else list(batch.parts(size))
            if part < len(parts[task]):
                self._grain(task, part, parts[task][part], float(weights[task]))
            self.passes += part == 0

        self._team.sum(len(grains), add, self._flat.gradient)

    def _sum_of_twins(self, weights: Mapping[str, float | Tensor], twins: Twins) -> None:
        """The same sum, of whole batches, from one backward pass of this member."""
        tasks = list(weights)
        mine = self._team.mine(len(tasks))
        used = dict(zip(mine, twins.take(len(mine)), strict=True))
        totals, slopes = [], []
        for index, twin in used.items():
            task, batch = tasks[index], self.batch(tasks[index])
            reseed(self._bench.seed, "training", self.number, task, 0)
            totals.append(total_loss(twin, batch, self._learning))
            slopes.append(float(weights[task]) / batch.count)
            self.shares.setdefault(task, []).append(totals[-1].detach() / batch.count)
        self.passes += len(used)
        backward(list(used.values()), totals, slopes)
        self._team.sum(len(tasks), lambda index: self._flat.gradient.add_(used[index].gradient), self._flat.gradient)

    def _grain(self, task: str, index: int, part: Batch, weight: float) -> None:
        """Add the gradient of a micro-batch's share of its task's weighted mean loss."""
        count = self.batch(task).count
        total, moved = self._passed(total_loss, task, index, part)
        if weight:  # as the backward pass of the weighted mean would begin
            total.backward(torch.full_like(total, weight / count))
            self._flat.pull()
        self.shares.setdefault(task, []).append(total.detach() / count)
        if moved is not None:
            # the product first: multiplied and added in one go it would be rounded once, and depend on who adds
            self._flat.gradient[self.space.buffers] += moved * (part.count / count)

    def _computed(self, task: str) -> Tensor:
        """The losses of a task of this member's own, with their graph."""
        if task not in self._own:
            self.passes += 1
            self._own[task], moved = self._passed(losses, task, 0, self.batch(task))
            self.shares[task] = [self._own[task].mean().detach()]
            if moved is not None:
                self._moved[task] = moved
        return self._own[task]

    def _passed(self, loss: Loss, task: str, index: int, part: Batch) -> tuple[Tensor, Tensor | None]:
        """The loss of a pass in training mode, and how it has moved the buffers: kept from one task, and put back."""
        reseed(self._bench.seed, "training", self.number, task, index)
        if not self._has_buffers:
            return loss(self._flat, part, self._learning), None
        self._flat.pull()
        before = self._flat.values[self.space.buffers].clone()
        found = loss(self._flat, part, self._learning)
        self._flat.pull()
        moved = self._flat.values[self.space.buffers] - before
        self._flat.values[self.space.buffers] = before
        self._flat.push()
        return found, moved if task == self._bench.keeper else None

    @property
    def _has_buffers(self) -> bool:
        return bool(self.space.buffers.stop > self.space.buffers.start)

    def _move_buffers(self) -> None:
        """Buffers move as the keeper's passes have moved them; the gradient is zero there again."""
        if self._has_buffers:
            moved = self._flat.gradient[self.space.buffers]
            self._flat.values[self.space.buffers] += moved
            moved.zero_()
            self._flat.push()

    def _owner(self, task: str) -> int:
        return self._team.owner(list(self.weights).index(task), len(self.weights))

    def _backward(self, loss: Tensor, *, keep: bool = False) -> Tensor:
        self._flat.zero_gradient()
        loss.backward(retain_graph=keep)
        self._flat.pull()
        return self._flat.gradient.clone()

    @contextmanager
    def _measuring(self, theta: Tensor, what: str) -> Iterator[None]:
        before, training = self.theta, self._flat.model.training
        reseed(self._bench.seed, "measuring", self.number, what)
        self._flat.load(theta)
        self._flat.model.eval()
        try:
            with backward_in_evaluation(self._flat.model):
                yield
        finally:
            self._flat.load(before)
            self._flat.model.train(training)
