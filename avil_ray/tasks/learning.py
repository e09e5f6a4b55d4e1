"""A suite's learning settings: optimizer, learning rates, batch sizes, precision, data loading."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, at_least, between, unknown, whole
from avil_ray.tasks.optimizer_names import check_optimizer

GROUP = ("learning_rate", "weight_decay")
"""The settings that a parameter group may override."""


SHARED = 4
"""The minimum number of batches of an evaluation, so that workers can share it, if it has that many training
batches."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """A suite's learning settings, unless a method overrides them; a step uses `batch_size` examples of each task.

    Raises
    ------
    UserError
        A value is invalid, or the optimizer does not accept an option.

    Examples
    --------
    >>> Learning(optimizer="AdamW", optimizer_options={"betas": [0.9, 0.98]}, schedule="cosine").clip
    5.0
    """

    learning_rate: float = 0.05
    batch_size: int = 32
    micro_batch: int | None = None
    """Examples per forward and backward pass; gradients are accumulated over the batch. None: the whole batch."""
    optimizer: str = "sgd"
    """Any optimizer in `torch.optim`, by name."""
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    """Its other arguments, such as {"betas": [0.9, 0.98]}."""
    momentum: float = 0.9
    """Only for SGD."""
    weight_decay: float = 0.0
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Prefix of parameter names -> their learning_rate and weight_decay: {"trunk": {"learning_rate": 1e-5}}."""
    clip: float = 5.0
    """Maximum 2-norm of a step's gradient; longer ones are scaled down. Infinity: no clipping."""
    warmup: int = 0
    """The number of warm-up steps, counted across rounds, over which the learning rate rises to its value."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """The decay of the learning rate after warm-up, to 0 after rounds x steps_per_round steps of a track; a final
    fine-tuning has its own schedule. A run that ends early uses its planned length."""
    patience: int | None = None
    """The number of rounds without improvement on select after which a run ends; rejected by methods that plan
    ahead."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: the model computes in bfloat16 where that is safe (autocast); theta and its gradient stay float32."""
    compile: bool = False
    """Whether to compile the model (`torch.compile`): the first steps are slow, later ones faster, especially on a
    GPU."""
    reduction: Literal["auto", "tree", "all_reduce"] = "auto"
    """How several workers on one assignment sum gradients. tree: bit-identical to a single worker. all_reduce: in the
    communication library's order, which is faster for many workers and on GPUs, and agrees up to rounding. auto: tree
    on CPUs, all_reduce on GPUs."""
    evaluation_batch: int | None = None
    """Examples per batch for evaluation and for fitting alpha; such batches are distributed over workers. By default 4
    x batch_size, or less if there would be fewer than 4 batches."""
    loader_processes: int = 0
    """Processes per worker that read a task's training dataset; 0: the worker reads it itself. Streams are always read
    by the worker, and evaluation data by the process that evaluates."""
    prefetch: int = 2
    """Batches that each of them prefetches."""
    pin_memory: bool = False
    """Whether they use pinned memory, from which a GPU copies faster."""

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
        """The number of batches into which `examples` examples are divided for evaluation.

        Examples
        --------
        >>> [Learning(batch_size=16).evaluation_batches(examples) for examples in (15, 64, 1000)]
        [1, 4, 16]
        """
        if self.evaluation_batch is not None:
            return max(1, -(-examples // self.evaluation_batch))
        few = min(SHARED, examples // self.batch_size)  # so that even a small dev split can be distributed
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
