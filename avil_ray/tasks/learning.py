"""How a suite is learned: optimizer, rates, batch sizes, precision, loading."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, at_least, between, unknown, whole
from avil_ray.tasks.optimizer_names import check_optimizer

GROUP = ("learning_rate", "weight_decay")
"""What a parameter group may have of its own."""


SHARED = 4
"""Batches that an evaluation has at least, where it has as many of the size that trains: so many workers share it."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a suite is learned unless a method says otherwise; a step sees `batch_size` examples of each task.

    Raises
    ------
    UserError
        A word or a number that is wrong, or an option that the optimizer does not take.

    Examples
    --------
    >>> Learning(optimizer="AdamW", optimizer_options={"betas": [0.9, 0.98]}, schedule="cosine").clip
    5.0
    """

    learning_rate: float = 0.05
    batch_size: int = 32
    micro_batch: int | None = None
    """Examples that go forward and backward at a time; gradients of a batch's parts add up. None: all of it."""
    optimizer: str = "sgd"
    """Any optimizer of `torch.optim`, by its name."""
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    """Its other arguments: {"betas": [0.9, 0.98]}, say."""
    momentum: float = 0.9
    """Of SGD alone."""
    weight_decay: float = 0.0
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Beginning of parameters' names -> their own learning_rate, weight_decay: {"trunk": {"learning_rate": 1e-5}}."""
    clip: float = 5.0
    """Largest 2-norm of a step's gradient; longer ones are scaled down to it. Infinity: none is."""
    warmup: int = 0
    """Over so many of an assignment's first steps, counted across rounds, the learning rate rises to its value."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls after that, to 0 after rounds x steps_per_round steps of a track; a fine-tuning at
    the end has a schedule of its own. A run that ends early uses the length that it was planned for."""
    patience: int | None = None
    """Rounds without a better figure on select after which a run ends; methods that plan ahead refuse it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: the model computes in bfloat16 where that is safe (autocast); theta and its gradient stay float32."""
    compile: bool = False
    """Whether the model is compiled (`torch.compile`): the first steps take long, later ones less, most on a GPU."""
    reduction: Literal["auto", "tree", "all_reduce"] = "auto"
    """How several workers on one assignment add up gradients. tree: the bits of one worker alone. all_reduce: in the
    communication library's order, which is faster for many workers and on GPUs, and agrees within rounding. auto: tree
    on CPUs, all_reduce on GPUs."""
    evaluation_batch: int | None = None
    """Examples that go through the model at a time where it is evaluated, and where alpha is fitted; several workers
    share out such batches. Where not given, 4 x batch_size, or less where there would be fewer than 4 batches."""
    loader_processes: int = 0
    """Processes of a worker that read a task's dataset for training; 0: the worker reads it. A stream is read by the
    worker, and what a run is evaluated on by the process that evaluates."""
    prefetch: int = 2
    """Batches that each of them reads ahead."""
    pin_memory: bool = False
    """Whether they leave batches in memory from which a GPU copies faster."""

    def __post_init__(self) -> None:
        check_choices(Learning, vars(self), "learning")
        for name, most in (("batch_size", 10**6), ("prefetch", 10**3)):
            whole(f"learning: {name}", getattr(self, name), 1, most)
        if self.evaluation_batch is not None:
            whole("learning: evaluation_batch", self.evaluation_batch, 1, 10**9)
        for name in ("warmup", "loader_processes"):
            whole(f"learning: {name}", getattr(self, name), 0)
        for name in ("micro_batch", "patience"):
            if getattr(self, name) is not None:
                whole(f"learning: {name}", getattr(self, name), 1)
        between("learning: learning_rate", self.learning_rate, 0, math.inf)
        if self.clip != math.inf:
            between("learning: clip", self.clip, 0, math.inf)
        at_least("learning: momentum", self.momentum, 0, 1)
        at_least("learning: weight_decay", self.weight_decay, 0)
        for name in ("optimizer_options", "groups"):
            if not isinstance(getattr(self, name), Mapping):
                raise UserError(f"learning: {name} must be a mapping, not {getattr(self, name)!r}")
        for group, own in self.groups.items():
            self._check_group(group, own)
        check_optimizer(self)

    def evaluation_batches(self, examples: int) -> int:
        """Into how many batches so many examples are divided where they are evaluated.

        Examples
        --------
        >>> [Learning(batch_size=16).evaluation_batches(examples) for examples in (15, 64, 1000)]
        [1, 4, 16]
        """
        if self.evaluation_batch is not None:
            return max(1, -(-examples // self.evaluation_batch))
        few = min(SHARED, examples // self.batch_size)  # a small dev split too can be shared out
        return max(1, few, -(-examples // (4 * self.batch_size)))

    def _check_group(self, group: object, own: object) -> None:
        where = f"learning: groups.{group}"
        if not isinstance(group, str) or not group:
            raise UserError(f"{where}: a group must be named by a prefix of its parameters' names")
        if not isinstance(own, Mapping):
            raise UserError(f"{where} must be a mapping such as {{learning_rate: 0.001}}, not {own!r}")
        for name, value in own.items():
            if name not in GROUP:
                raise unknown("option", name, GROUP, where)
            if name == "learning_rate":
                between(f"{where}.{name}", value, 0, math.inf)
            else:
                at_least(f"{where}.{name}", value, 0)
