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
from torch import Tensor

from avil_ray.learning.assignment import NOTHING, Assignment, Part, Trouble, Update, mean, whole
from avil_ray.learning.diverged import trouble
from avil_ray.learning.loading import StreamLoader, loaded
from avil_ray.learning.optimizers import FlatOptimizer
from avil_ray.learning.parameters import Vector, initial_model
from avil_ray.learning.passes import Batch, Source
from avil_ray.learning.step import Bench, Step
from avil_ray.learning.team import Team
from avil_ray.learning.track import Track
from avil_ray.learning.twins import Twins
from avil_ray.learning.weighting import Fixed, Weights
from avil_ray.randomness import derive, numpy_generator, seeded
from avil_ray.tasks.data import Stream
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
        import torch._dynamo  # noqa: F401 (PyTorch's first optimizer does: not in an assignment that is timed)

        self.suite, self.seed, self.threads = suite, seed, threads
        with cpu_threads(threads):
            self.flat = initial_model(suite, seed, device)
        self._twins = Twins(suite, seed, self.flat)
        self._tasks = tasks
        self._sources: dict[str, Source] = {}
        self._streams: dict[tuple[str, str], StreamLoader] = {}

    def _source(self, name: str) -> Source:
        """The examples that a task trains on; a task that never trains here is never asked for."""
        if name not in self._sources:
            splits = ("train", "dev") if name == self.suite.target else ("train",)
            self._sources[name] = Source(self._tasks[name], *splits)
        return self._sources[name]

    @property
    def goal(self) -> Task:
        """The target, with its data."""
        return self._tasks[self.suite.target]

    @property
    def _counts(self) -> tuple[int, int]:
        """How many train and dev examples the target has."""
        sizes = self._source(self.suite.target).sizes
        return sizes["train"], sizes["dev"]

    def train(self, assignment: Assignment, track: Track, number: int) -> Update:
        """Train from where the track stands, in round `number`; the track itself is not changed."""
        return whole([self.take_part(assignment, track, number)])

    def take_part(self, assignment: Assignment, track: Track, number: int, team: Team | None = None) -> Part:
        """Do one member's part of an assignment that a team works on; the parts make a `whole` update."""
        started, team = time.perf_counter(), team or Team()
        flat, before = self.flat, track.optimizer if assignment.continues else {}
        with cpu_threads(self.threads), seeded(self.seed, "training"):
            flat.load(track.theta)
            flat.model.train()
            optimizer = FlatOptimizer(
                flat, self._parts(assignment), assignment.learning, assignment.schedule_steps, before
            )
            memory = {name: np.array(value) for name, value in track.memory.items() if assignment.continues}
            losses: dict[str, list[Tensor]] = {task: [] for task in assignment.weights}
            weights: dict[str, list[float]] = {task: [] for task in assignment.weights}
            passes, diverged = 0, None
            for step in self._steps(assignment, track.steps, number, memory, team):
                weighed = assignment.rule.weigh(step)
                step.backward(weighed)
                passes += step.passes
                for task, found in step.shares.items():
                    losses[task] += found
                norm = optimizer.clip()
                if diverged is None and not math.isfinite(norm):
                    diverged = self._trouble(step, weighed, track.theta)
                optimizer.step(step.number)
                flat.push()
                for task, values in weights.items():
                    weight = weighed.get(task, 0.0)
                    values.append(float(weight.mean() if isinstance(weight, Tensor) else weight))
        continued = assignment.continues and team.leads
        update = Update(
            assignment=assignment.name,
            track=assignment.track,
            steps=assignment.steps,
            theta=flat.vector() if team.leads else NOTHING,
            weights={task: mean(values) for task, values in weights.items()},
            gradient_steps=passes,
            seconds=time.perf_counter() - started - team.waited,
            optimizer={**before, **optimizer.state()} if assignment.continues else {},
            memory=memory if continued else {},
            trouble=diverged,
        )
        return Part(update, {task: torch.stack(found).tolist() if found else [] for task, found in losses.items()})

    def _trouble(self, step: Step, weights: Weights, start: Vector) -> Trouble:
        """Why the gradient is not finite; it is left as it is."""
        gradient = self.flat.gradient.clone()
        found = trouble(step, weights, torch.from_numpy(np.array(start)).to(gradient.device))
        self.flat.gradient.copy_(gradient)
        return found

    def _steps(
        self, assignment: Assignment, first: int, number: int, memory: dict[str, npt.NDArray[Any]], team: Team
    ) -> Iterator[Step]:
        """The assignment's steps from the track's step `first`, each with the next batch of every task."""
        bench = Bench(
            flat=self.flat,
            learning=assignment.learning,
            target=self.suite.target,
            weights=assignment.weights,
            memory=memory,
            batches={task: self._batches(assignment, task, first, number) for task in assignment.weights},
            dev_batch=partial(self._dev_batch, assignment, number),
            first=first,
            seed=self.seed,
            team=team,
            divides=isinstance(assignment.rule, Fixed),
            twins=self._twins if self._twins.pay(assignment.learning) else None,
        )
        for index in range(first, first + assignment.steps):
            yield Step(index, bench)

    def _dev_batch(self, assignment: Assignment, number: int, step: int, draw: int) -> Batch:
        """A step's `draw`-th dev batch: a random part of the examples that adapt in this round, not augmented."""
        _, rows = assignment.dev.rows(*self._counts, self.seed, number)
        generator = numpy_generator(self.seed, "dev batch", step, draw)
        chosen = rows[torch.from_numpy(generator.permutation(len(rows))[: assignment.learning.batch_size])]
        with seeded(self.seed, "dev batch", step, draw):
            return self._source(self.suite.target).batch(chosen)

    def _batches(self, assignment: Assignment, task: str, first: int, number: int) -> Iterator[Batch]:
        """The batches of one task. A cross-fitted target has new rows each round, and so a new order each round."""
        source, learning, purpose = self._source(task), assignment.learning, (task,)
        if isinstance(source.data, Stream):
            reader = self._streams.setdefault((assignment.name, task), StreamLoader(source))
            return reader.batches(assignment.steps, first, derive(self.seed, task, "data"), learning)
        rows = torch.arange(len(source))
        if task == self.suite.target:
            rows, _ = assignment.dev.rows(*self._counts, self.seed, number)
            if assignment.dev.kind == "crossfit":
                first, purpose = 0, (f"{task} in round {number}",)
        size, replacement = learning.batch_size, source.task.replacement
        order = batches(rows, size, first, assignment.steps, self.seed, *purpose, replacement=replacement)
        return loaded(source, order, first, derive(self.seed, *purpose, "data"), learning)

    def _parts(self, assignment: Assignment) -> dict[str, slice]:
        """What of theta the assignment may move: the trunk and the heads of its tasks, or one of the two."""
        space = self.flat.space
        trunk, heads = {"trunk": space.trunk}, {f"head of {task}": space.head(task) for task in assignment.weights}
        return {"all": {**trunk, **heads}, "trunk": trunk, "heads": heads}[assignment.trains]


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Use exactly so many CPU threads inside the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
