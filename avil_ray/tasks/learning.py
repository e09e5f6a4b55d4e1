"""How a suite is learned: optimizer, rates, batch sizes, precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avil_ray.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a suite is learned unless a method says otherwise; a step sees `batch_size` examples of each task."""

    learning_rate: float = 0.05
    batch_size: int = 32
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip: float = 5.0
    """Largest 2-norm of a step's gradient; longer ones are scaled down to it."""
    warmup: int = 0
    """Over so many of an assignment's first steps, counted across rounds, the learning rate rises to its value."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: the model computes in bfloat16 where that is safe (autocast); theta and its gradient stay float32."""
    evaluation_batch: int = 512
    """Examples that go through the model at a time where it is evaluated, and where alpha is fitted."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "clip", "evaluation_batch"):
            if not getattr(self, name) > 0:
                raise UserError(f"learning: {name} must be above 0, not {getattr(self, name)}")
        if self.warmup < 0:
            raise UserError(f"learning: warmup must be at least 0, not {self.warmup}")
        if self.precision not in ("fp32", "bf16"):
            raise UserError(f"learning: precision must be 'fp32' or 'bf16', not {self.precision!r}")
