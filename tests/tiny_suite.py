"""A suite that trains in milliseconds; in a module of its own, as Ray's workers must be able to import it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import torch
from torch import nn

import avil_ray as avil

TASKS = ("a", "b", "c")


def draw(seed: int, delay: float = 0.0) -> list[avil.Task]:
    time.sleep(delay)
    generator = torch.Generator().manual_seed(seed)

    def examples(count: int) -> avil.Examples:
        inputs = torch.randn(count, 6, generator=generator)
        return avil.Examples(inputs, (inputs[:, 0] > 0).long())

    return [
        avil.Task("a", examples(40), examples(20), examples(50), examples(50)),
        *(avil.Task(t, examples(60)) for t in "bc"),
    ]


def model() -> nn.Module:
    return avil.MultitaskModel(
        nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.ReLU()), {t: nn.Linear(8, 2) for t in TASKS}
    )


def tiny_suite(delay: float = 0.0) -> avil.Suite:
    return avil.Suite(name="tiny", target="a", task_names=TASKS, tasks=partial(draw, delay=delay), model=model)


training_passes = [0]
"""Of this process: a count in the model would be refused, as it does not travel with theta."""


class BreaksOnce(nn.Module):
    """Raises in a process's training pass of that number, once: the flag file remembers that it has."""

    def __init__(self, flag: Path, number: int) -> None:
        super().__init__()
        self.flag, self.number = flag, number

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        training_passes[0] += self.training
        if training_passes[0] == self.number and not self.flag.exists():
            self.flag.touch()
            raise RuntimeError("broken on purpose")
        return inputs


def breaking_model(flag: str, after: int) -> nn.Module:
    whole = model()
    whole.trunk.append(BreaksOnce(Path(flag), after))  # type: ignore[union-attr, operator]
    return whole


def breaks_once(flag: str, after: int) -> avil.Suite:
    """As `tiny_suite`, but one training step raises, once."""
    return avil.Suite(name="tiny", target="a", task_names=TASKS, tasks=draw, model=partial(breaking_model, flag, after))
