"""How a suite is learned: optimizer, rates, batch sizes, precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from avil_ray.choices import check_choices
from avil_ray.errors import at_least, between, whole


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a suite is learned unless a method says otherwise; a step sees `batch_size` examples of each task."""

    learning_rate: float = 0.05
    batch_size: int = 32
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip: float = 5.0
    """Largest 2-norm of a step's gradient; longer ones are scaled down to it. Infinity: none is."""
    warmup: int = 0
    """Over so many of an assignment's first steps, counted across rounds, the learning rate rises to its value."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: the model computes in bfloat16 where that is safe (autocast); theta and its gradient stay float32."""
    evaluation_batch: int = 512
    """Examples that go through the model at a time where it is evaluated, and where alpha is fitted."""

    def __post_init__(self) -> None:
        check_choices(Learning, vars(self), "learning")
        whole("learning: batch_size", self.batch_size, 1, 10**7)
        whole("learning: evaluation_batch", self.evaluation_batch, 1, 10**9)
        whole("learning: warmup", self.warmup, 0)
        between("learning: learning_rate", self.learning_rate, 0, math.inf)
        if self.clip != math.inf:
            between("learning: clip", self.clip, 0, math.inf)
        at_least("learning: momentum", self.momentum, 0, 1)
        at_least("learning: weight_decay", self.weight_decay, 0)
