"""Which labelled target examples train and which adapt (alpha, weights), and in what order examples come.

Train and dev together are the target's pool: every method sees all of it, and says how it spends the dev part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.randomness import numpy_generator

Dev = Literal["train", "hold", "crossfit"]


@dataclass(frozen=True)
class DevUse:
    """How a method spends the target's dev examples.

    `train`: they join the training data (the method adapts nothing). `hold`: they only adapt. `crossfit`: each round a
    fresh random `fraction` of train and dev together trains and the rest adapts, so that over the rounds every example
    does both, but never in the same round.
    """

    kind: Dev = "train"
    fraction: float = 0.7

    def __post_init__(self) -> None:
        if self.kind not in ("train", "hold", "crossfit"):
            raise UserError(f"dev must be 'train', 'hold' or 'crossfit', not {self.kind!r}")
        if not 0 < self.fraction < 1:
            raise UserError(f"crossfit_fraction must lie between 0 and 1, not {self.fraction}")

    def rows(self, train: int, dev: int, seed: int, number: int) -> tuple[Tensor, Tensor]:
        """The rows of the pool (train, then dev) that train and those that adapt in round `number`."""
        if self.kind == "crossfit":
            order = numpy_generator(seed, number, "crossfit").permutation(train + dev)
            cut = min(max(1, round(self.fraction * (train + dev))), train + dev - 1)
            return torch.from_numpy(np.sort(order[:cut])), torch.from_numpy(np.sort(order[cut:]))
        pool = torch.arange(train + dev)
        return (pool if self.kind == "train" else pool[:train]), pool[train:]


def batches(
    rows: Tensor,
    batch_size: int,
    first: int,
    steps: int,
    seed: int,
    *purpose: str | int,
    replacement: bool = False,
) -> Iterator[Tensor]:
    """Batches `first` … `first + steps - 1` of an endless shuffled stream over `rows`.

    The stream is one fresh permutation of the rows after another, cut into batches of exactly `batch_size`; a batch may
    span two of them, or more where there are fewer rows than places in it. With `replacement`, each place of a batch is
    drawn from all rows by itself instead. Batch k depends only on (seed, purpose, k), so a run may stop after any step
    and go on elsewhere.
    """
    if replacement:
        for step in range(first, first + steps):
            drawn = numpy_generator(seed, *purpose, "replacement", step).integers(len(rows), size=batch_size)
            yield rows[torch.from_numpy(drawn)]
        return
    epochs: dict[int, Tensor] = {}

    def epoch(number: int) -> Tensor:
        if number not in epochs:
            order = numpy_generator(seed, *purpose, "order", number).permutation(len(rows))
            epochs[number] = rows[torch.from_numpy(order)]
        return epochs[number]

    for step in range(first, first + steps):
        places = torch.arange(step * batch_size, (step + 1) * batch_size)
        passes = places // len(rows)
        yield torch.cat([epoch(int(number))[places[passes == number] % len(rows)] for number in passes.unique()])
        for finished in [number for number in epochs if number < int(passes[-1])]:
            del epochs[finished]
