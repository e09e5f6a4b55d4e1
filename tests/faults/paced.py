"""A suite whose training passes take as long as asked; in a module of its own, as Ray's workers must import it."""

from __future__ import annotations

import time
from functools import partial

import torch
from tiny_suite import TASKS, draw
from torch import nn

import avil_ray as avil


class Pause(nn.Module):
    """Gives its input back, in training some seconds later."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            time.sleep(self.seconds)
        return inputs


def model(seconds: float, width: int) -> nn.Module:
    trunk = nn.Sequential(nn.Linear(6, width), nn.Dropout(0.2), nn.ReLU(), Pause(seconds))
    return avil.MultitaskModel(trunk, {task: nn.Linear(width, 2) for task in TASKS})


def paced_suite(seconds: float = 0.0, width: int = 8) -> avil.Suite:
    """As the tiny suite, with `seconds` for each pass of a batch and `width` hidden units: 13 parameters for each."""
    build = partial(model, seconds, width)
    return avil.Suite(name="paced", target="a", task_names=TASKS, tasks=draw, model=build)
