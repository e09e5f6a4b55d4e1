"""A worker that answers at once, as if it had trained, and a suite that gives 256 of them something to do.

What is left of a round is the driver's own work, and the wire: see `simulated_pools.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.learning.assignment import NOTHING, OptimizerState, Part, Update
from avil_ray.learning.judging import Judged, Piece
from avil_ray.learning.line import Line, Share
from avil_ray.learning.member import Job, Kept
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import Track
from avil_ray.learning.world import World
from avil_ray.pools.planner import EXCHANGE, units

TASKS = tuple("abcdefgh")
BATCH, MICRO, PIECES = 512, 16, 256
"""Examples of a task's batch, and of the micro-batches it is divided into; batches of dev and of select. So 256 workers
find something to do in all that they share out."""
SECONDS = 0.3
"""What a gradient step of a task takes, as the answers say: the planner shares out rounds as if it did."""


class Large(nn.Module):
    """A trunk with as many parameters as asked for, of which a pass uses 64."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(size))

    def forward(self, inputs: Tensor) -> Tensor:
        """Features [B, 8]."""
        return inputs @ self.weight[:64].view(8, 8)


def suite(size: int) -> avil.Suite:
    """Eight small tasks on a trunk of `size` parameters."""

    def tasks(seed: int) -> list[avil.Task]:
        generator = torch.Generator().manual_seed(seed)

        def examples(count: int) -> avil.Examples:
            inputs = torch.randn(count, 8, generator=generator)
            return avil.Examples(inputs, (inputs[:, 0] > 0).long())

        rows = PIECES * MICRO
        target = avil.Task("a", examples(BATCH), examples(rows), examples(rows), examples(MICRO))
        return [target, *(avil.Task(name, examples(BATCH)) for name in TASKS[1:])]

    def model() -> nn.Module:
        return avil.MultitaskModel(Large(size), {name: nn.Linear(8, 2) for name in TASKS})

    learning = avil.Learning(batch_size=BATCH, micro_batch=MICRO, evaluation_batch=MICRO, learning_rate=0.01)
    return avil.Suite(name="large", target="a", task_names=TASKS, tasks=tasks, model=model, learning=learning)


@dataclass
class Simulated:
    """Stands in for a `Member`: it answers at once, as if it had worked."""

    rank: int
    world: World | None = None
    kept: dict[str, OptimizerState] = field(default_factory=dict)
    _line: Any = None

    def perform(self, jobs: Sequence[Job], tracks: Mapping[str, Track], number: int) -> Iterator[Part]:
        """See `Member.perform`. The optimizer's state is one vector."""
        needed = {track.optimizer.key for track in tracks.values() if isinstance(track.optimizer, Kept)}
        self.kept = {key: state for key, state in self.kept.items() if key in needed}
        for job in jobs:
            if self.rank in job.ranks:
                theta = tracks[job.assignment.track].theta
                if job.keep:
                    self.kept[job.keep] = {"momentum": theta}
                yield self._part(job, theta)

    def _part(self, job: Job, theta: Vector) -> Part:
        work, members = job.assignment, len(job.ranks)
        passes = max(1, work.gradient_steps // members)
        update = Update(
            assignment=work.name,
            track=work.track,
            steps=work.steps,
            theta=theta + np.float32(1e-3) if self.rank == job.ranks[0] else NOTHING,
            weights=work.weights,
            gradient_steps=passes,
            seconds=SECONDS * passes,
        )
        shares = max(1, work.steps * units(work) // members // len(work.weights))
        return Part(update, {task: [0.1] * shares for task in work.weights})

    def judge(self, piece: Piece) -> Judged:
        """See `Member.judge`. A copy, as pickle would write the same object only once."""
        return deepcopy(right(sum(map(len, piece.batches))))

    def open_line(self, line: Line, rows: Tensor, start: Vector, ends: Sequence[Vector]) -> None:
        """Hold the vectors."""
        self._line = line, rows, start, ends

    def shares(self, alpha: Tensor, numbers: Sequence[int], *, slope: bool) -> list[Share]:
        """Of a parabola in alpha."""
        away = alpha.double() - 0.5
        return [Share(float(away @ away) / PIECES, 2 * away / PIECES if slope else None) for _ in numbers]

    def close_line(self) -> None:
        """Let go of them."""
        self._line = None

    def exchange_seconds(self, ranks: tuple[int, ...]) -> float:
        """What the planner expects before it has measured."""
        return EXCHANGE


@lru_cache
def right(count: int) -> Judged:
    """What a piece of so many examples comes to where all outputs are right."""
    made = {measure.name: measure.make() for measure in suite(64).draw(0)["a"].measures}
    for metric in made.values():
        metric.update(torch.tensor([[1.0, 0.0]]).repeat(count, 1), torch.zeros(count, dtype=torch.long))
    return Judged(made, 0.1 * count, count, True)
