"""Which labelled target examples are used for training and which for adaptation (of alpha or weights).

Train and dev together form the target's pool: every method sees all of it, and decides how to use the dev part.
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
    """How a method uses the target's dev examples.

    `train`: they join the training data (the method adapts nothing). `hold`: they are used for adaptation only.
    `crossfit`: each round, a new random `fraction` of train and dev together is used for training and the rest for
    adaptation, so that over the rounds every example is used for both, but never in the same round.
    """

    kind: Dev = "train"
    fraction: float = 0.7

    def __post_init__(self) -> None:
        if self.kind not in ("train", "hold", "crossfit"):
            raise UserError(f"dev must be 'train', 'hold' or 'crossfit', not {self.kind!r}")
        if not 0 < self.fraction < 1:
            raise UserError(f"crossfit_fraction must lie between 0 and 1, not {self.fraction}")

    def rows(self, train: int, dev: int, seed: int, number: int) -> tuple[Tensor, Tensor]:
        """The rows of the pool (train, then dev) for training and those for adaptation in round `number`."""
        if self.kind == "crossfit":
            order = numpy_generator(seed, number, "crossfit").permutation(train + dev)
            cut = min(max(1, round(self.fraction * (train + dev))), train + dev - 1)
            return torch.from_numpy(np.sort(order[:cut])), torch.from_numpy(np.sort(order[cut:]))
        pool = torch.arange(train + dev)
        return (pool if self.kind == "train" else pool[:train]), pool[train:]


def pieces(rows: Tensor, learning: Learning) -> tuple[Tensor, ...]:
    """Rows [N] split evenly by `Learning.evaluation_batches`; each part is evaluated separately, in any process."""
    # copies: sending a view would send all rows
    return tuple(part.clone() for part in rows.tensor_split(learning.evaluation_batches(len(rows))))
