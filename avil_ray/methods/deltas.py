"""The deltas of a round as one matrix [n, P] on the driver, and what can be read off them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import ParameterSpace, Vector, dot
from avil_ray.learning.score import cosine

log = logging.getLogger(__name__)


def gather(theta: Vector, updates: Sequence[Update], device: torch.device) -> Tensor:
    """The deltas [n, P] on the driver's device; one that is not finite becomes zero, and that is said."""
    deltas = torch.empty(len(updates), len(theta), device=device)
    for row, update in zip(deltas, updates, strict=True):
        delta = update.delta(theta)
        if np.isfinite(delta).all():
            row.copy_(torch.from_numpy(delta))
        else:
            row.zero_()
            why = f": {update.trouble.text}" if update.trouble else ""
            log.warning("the update of task %r is not finite; it is dropped from this round%s", update.assignment, why)
    return deltas


def split_off(base: Tensor, deltas: Tensor, tasks: list[str], target: Target, *, full_heads: bool) -> None:
    """Move into `base`, in place, what alpha does not scale: buffers, and auxiliary heads where they move in full.

    Buffers (BatchNorm's running statistics) are the target's: as its own training left them.
    """
    space, name = target.space, target.suite.target
    if name in tasks:
        base[space.buffers] += deltas[tasks.index(name), space.buffers]
    deltas[:, space.buffers] = 0
    for row, task in enumerate(tasks):
        if task != name and full_heads:
            base[space.head(task)] += deltas[row, space.head(task)]
            deltas[row, space.head(task)] = 0


def by_layer(deltas: Tensor, space: ParameterSpace) -> Tensor:
    """Each delta [P] as one row for each layer, zero elsewhere: [n, P] -> [n x layers, P], a task's rows together."""
    layers = list(space.layers.values())
    rows = deltas.new_zeros(len(deltas), len(layers), deltas.shape[1])
    for index, layer in enumerate(layers):
        rows[:, index, layer] = deltas[:, layer]
    return rows.flatten(0, 1)


def geometry(deltas: Tensor, tasks: list[str], target: str) -> dict[str, float]:
    """Norms of the deltas [n, parameters] and their cosines with the target's."""
    own = deltas[tasks.index(target)]
    norms = {f"delta_norm/{task}": dot(delta, delta) ** 0.5 for task, delta in zip(tasks, deltas, strict=True)}
    return norms | {f"cosine/{task}": cosine(delta, own) for task, delta in zip(tasks, deltas, strict=True)}
