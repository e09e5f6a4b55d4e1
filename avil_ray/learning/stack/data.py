"""The data of a stack's rows: the batches of a round, in each seed's own order, and the splits for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avil_ray.learning.passes import Source
from avil_ray.learning.splits import DevUse
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.order import batches
from avil_ray.tasks.task import Task

MOST_AT_ONCE = 1 << 24
"""About how many input numbers are gathered at a time: 64 MiB."""


@dataclass(frozen=True)
class Order:
    """Which examples a row sees in a round, and in what order. Rows with the same seed usually share it.

    Attributes
    ----------
    seed, first
        The seed from which all random choices derive, and the number of the round's first step.
    dev
        How the target's dev examples are used.
    """

    seed: int
    first: int
    dev: DevUse


class Data:
    """The tasks' examples for one seed, in the device's memory.

    Parameters
    ----------
    tasks
        The suite's data for that seed; every source must be `Examples` with tensors as inputs and labels.
    """

    def __init__(self, tasks: Mapping[str, Task], target: str, device: str | torch.device = "cpu") -> None:
        self._tasks, self._target, self._device = tasks, target, device
        self._splits: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}

    def split(self, task: str, *splits: str) -> tuple[Tensor, Tensor]:
        """The inputs [N, …] and labels [N, …] of some splits, concatenated."""
        if (task, *splits) not in self._splits:
            examples = Source(self._tasks[task], *splits).data
            assert isinstance(examples, Examples)
            self._splits[task, *splits] = examples.inputs.to(self._device), examples.labels.to(self._device)
        return self._splits[task, *splits]

    def rows(self, task: str, order: Order, size: int, steps: int, skip: int) -> Tensor:
        """The rows [steps, B] of a task's batches, from `skip` steps after the order's first: those of `Learner`."""
        which = self._tasks[task]
        if task == self._target:
            assert which.dev is not None
            pool, _ = order.dev.rows(len(which.train), len(which.dev), order.seed, 0)
        else:
            pool = torch.arange(len(which.train))
        coming = batches(pool, size, order.first + skip, steps, order.seed, task, replacement=which.replacement)
        return torch.stack(list(coming))

    def batches(self, task: str, order: Order, size: int, steps: int, skip: int) -> tuple[Tensor, Tensor]:
        """The inputs [steps, B, …] and labels [steps, B, …] of a task's batches."""
        where = self.rows(task, order, size, steps, skip).to(self._device)
        inputs, labels = self.split(task, *(("train", "dev") if task == self._target else ("train",)))
        return inputs[where], labels[where]


def steps_of(
    data: Mapping[int, Data], orders: Sequence[Order], tasks: Sequence[str], size: int, steps: int
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yields, for each step, task -> inputs [K, B, …] and task -> labels [K, B, …] for rows with these orders.

    Rows with the same order share examples, which are gathered once for all of them.
    """
    known = list(dict.fromkeys(orders))
    row_of = {order: index for index, order in enumerate(known)}
    where = torch.tensor([row_of[order] for order in orders])
    at_once = _at_once(data[orders[0].seed], tasks, size * len(known))
    for skip in range(0, steps, at_once):
        count = min(at_once, steps - skip)
        found = {task: [data[order.seed].batches(task, order, size, count, skip) for order in known] for task in tasks}
        inputs = {task: torch.stack([one for one, _ in of_task]) for task, of_task in found.items()}
        labels = {task: torch.stack([one for _, one in of_task]) for task, of_task in found.items()}
        for step in range(count):
            yield _of_step(inputs, step, where), _of_step(labels, step, where)


def _of_step(values: Mapping[str, Tensor], step: int, where: Tensor) -> dict[str, Tensor]:
    """What each row sees in a step, [K, B, …], from [orders, steps, B, …]; a view if all see the same."""
    return {
        task: one[:, step].expand(len(where), *one.shape[2:]) if len(one) == 1 else one[:, step][where.to(one.device)]
        for task, one in values.items()
    }


def _at_once(data: Data, tasks: Sequence[str], examples: int) -> int:
    """The number of steps gathered at a time, given the number of examples per task."""
    numbers = sum(data.split(task, "train")[0][:1].numel() for task in tasks) * examples
    return max(1, MOST_AT_ONCE // max(1, numbers))
