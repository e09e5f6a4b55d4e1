"""Which labelled target examples train and which adapt (alpha, weights).

Train and dev together are the target's pool: every method sees all of it, and says how it spends the dev part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.randomness import numpy_generator
from avil_ray.tasks.learning import Learning

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


def pieces(rows: Tensor, learning: Learning) -> tuple[Tensor, ...]:
    """Rows [N] in even parts, `Learning.evaluation_batches`: each is evaluated by itself, whoever does it."""
    # copies: a view that travels takes all rows with it
    return tuple(part.clone() for part in rows.tensor_split(learning.evaluation_batches(len(rows))))
