"""What a step of equal weighting costs beside a plain loop, evaluation on select included: part of `make bench`.

Ours and two plain loops take turns: one backward pass of the summed losses, and one backward pass for each task. Each
ratio is the median over turns. Building, checks and the first round are left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import avil_ray as avil
from benchmarks.measured import Row

ROUNDS, STEPS, TURNS = 4, 50, 9
"""Rounds that are timed, steps of each, and turns."""


class PlainLoop:
    """Joint training as anyone would write it, on the same tasks, batch sizes and optimizer; inputs are tensors."""

    def __init__(self, suite: avil.Suite) -> None:
        self.suite, self.learning, tasks = suite, suite.learning, suite.draw(0)
        self.model = suite.build()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=self.learning.learning_rate,
            momentum=self.learning.momentum,
            weight_decay=self.learning.weight_decay,
        )
        train = {name: task.train for name, task in tasks.items()}
        train[suite.target] = train[suite.target].join(tasks[suite.target].dev)
        self.data = {name: part.batch(torch.arange(len(part))) for name, part in train.items()}
        select = tasks[suite.target].select
        self.select = select.batch(torch.arange(len(select)))
        self.orders: dict[str, list[Tensor]] = {name: [] for name in self.data}

    def batch(self, task: str) -> tuple[Tensor, Tensor]:
        """The task's next batch; a shuffled pass ends with its last whole batch."""
        inputs, labels = self.data[task]
        if not self.orders[task]:
            size = self.learning.batch_size
            order = torch.randperm(len(labels))
            self.orders[task] = list(order[: len(order) // size * size].split(size))
        rows = self.orders[task].pop()
        return inputs[rows], labels[rows]

    def step(self, *, summed: bool) -> None:
        """One step, with one backward pass or with one for each task."""
        self.optimizer.zero_grad()
        losses = []
        for task in self.suite.task_names:
            inputs, labels = self.batch(task)
            loss = nn.functional.cross_entropy(self.model(inputs, task), labels)
            if summed:
                losses.append(loss)
            else:
                loss.backward()
        if summed:
            torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.learning.clip)
        self.optimizer.step()

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Accuracy and mean loss on select."""
        self.model.eval()
        right = loss = 0.0
        inputs, labels = self.select
        parts = self.learning.evaluation_batches(len(labels))
        for some, known in zip(inputs.tensor_split(parts), labels.tensor_split(parts), strict=True):
            outputs = self.model(some, self.suite.target)
            right += int((outputs.argmax(1) == known).sum())
            loss += float(nn.functional.cross_entropy(outputs, known, reduction="sum"))
        self.model.train()
        return right / len(labels), loss / len(labels)

    def seconds(self, *, summed: bool) -> float:
        """Seconds of all rounds."""
        started = time.perf_counter()
        for _ in range(ROUNDS):
            for _ in range(STEPS):
                self.step(summed=summed)
            self.evaluate()
        return time.perf_counter() - started


def ours(suite: avil.Suite) -> float:
    """Seconds of as many rounds of `avil.train`, after a first one."""
    ends: list[float] = []
    method = avil.Static(weights=dict.fromkeys(suite.task_names, 1.0))
    avil.train(
        suite, method, rounds=ROUNDS + 1, steps_per_round=STEPS, on_round=lambda _: ends.append(time.perf_counter())
    )
    return ends[-1] - ends[0]


def rows() -> Iterator[Row]:
    """The ratios of three suites; one turn before them warms up."""
    torch.set_num_threads(1)
    suites = {
        "synthetic": (avil.suites.synthetic(), 1.4),
        "multimnist": (avil.suites.multimnist(target="left", target_labels=300), 1.05),
        "multimnist, 18 pixels": (avil.suites.multimnist(target="left", target_labels=300, size=18), None),
    }
    for name, (suite, most) in suites.items():
        loop = PlainLoop(suite)
        turns = [(ours(suite), loop.seconds(summed=True), loop.seconds(summed=False)) for _ in range(TURNS + 1)][1:]
        summed = statistics.median(own / plain for own, plain, _ in turns)
        each = statistics.median(own / plain for own, _, plain in turns)
        floor = statistics.median(plain / least for _, least, plain in turns)
        yield Row(f"a step on {name} / a plain loop that sums losses", summed, most=most)
        yield Row(f"a step on {name} / a plain loop with a backward pass a task", each)
        yield Row(f"a plain loop with a backward pass a task / one that sums losses, {name}", floor)
