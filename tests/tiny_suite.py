"""A suite that trains in milliseconds; in a module of its own, as Ray's workers must be able to import it."""

from __future__ import annotations

import time
from functools import partial

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

    return [avil.Task("a", examples(40), examples(20), examples(50), examples(50)), *(avil.Task(t, examples(60)) for t in "bc")]


def model() -> nn.Module:
    return avil.MultitaskModel(nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.ReLU()), {t: nn.Linear(8, 2) for t in TASKS})


def tiny_suite(delay: float = 0.0) -> avil.Suite:
    return avil.Suite(name="tiny", target="a", task_names=TASKS, tasks=partial(draw, delay=delay), model=model)
