"""Sends plain objects between the processes of a `World`: arrays are sent as tensors, the rest is pickled."""

from __future__ import annotations

import pickle
import warnings
from pickle import PickleBuffer
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avil_ray.learning.world import World

SMALL = 4096
"""Arrays up to this many bytes are pickled with their object: a separate message would take longer."""


def tell(world: World, value: Any = None) -> Any:
    """The first rank's value, on every rank; all ranks must call this at the same time."""
    ranks = list(range(world.size))
    sent = _taken_apart(value) if world.rank == 0 else []
    count = torch.tensor([len(sent)])
    world.spread(count, ranks)
    lengths = torch.tensor([len(part) for part in sent]) if sent else torch.empty(int(count), dtype=torch.int64)
    world.spread(lengths, ranks)
    parts = sent or [torch.empty(int(length), dtype=torch.uint8) for length in lengths]
    for part in parts:
        world.spread(part, ranks)
    return value if world.rank == 0 else _put_together(parts)


def send(world: World, value: Any, rank: int) -> None:
    """Send a value to another rank, which must call `receive` at the same time."""
    parts = _taken_apart(value)
    for tensor in (torch.tensor([len(parts)]), torch.tensor([len(part) for part in parts]), *parts):
        world.exchange(tensor, [rank], None, 0)


def receive(world: World, rank: int) -> Any:
    """Receive a value from another rank."""
    count = torch.empty(1, dtype=torch.int64)
    world.exchange(None, [], count, rank)
    lengths = torch.empty(int(count), dtype=torch.int64)
    world.exchange(None, [], lengths, rank)
    parts = [torch.empty(int(length), dtype=torch.uint8) for length in lengths]
    for part in parts:
        world.exchange(None, [], part, rank)
    return _put_together(parts)


def _taken_apart(value: Any) -> list[Tensor]:
    """The value pickled without its arrays, followed by the arrays' bytes without a copy, as uint8 tensors."""
    buffers: list[PickleBuffer] = []

    def within(buffer: PickleBuffer) -> bool:
        if buffer.raw().nbytes > SMALL:
            buffers.append(buffer)
        return buffer.raw().nbytes <= SMALL

    head = pickle.dumps(value, protocol=5, buffer_callback=within)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some arrays are read-only, and are only read
        return [torch.frombuffer(data, dtype=torch.uint8) for data in (head, *(buffer.raw() for buffer in buffers))]


def _put_together(parts: list[Tensor]) -> Any:
    head, *buffers = (np.asarray(part) for part in parts)
    # only from processes of the same run, never from a file
    return pickle.loads(head.tobytes(), buffers=buffers)  # noqa: S301
