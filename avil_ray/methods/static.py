"""The static baselines: joint training on fixed weights, which rounds do not change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from avil_ray.errors import UserError, at_least, unknown
from avil_ray.methods.joint import FixedWeights, TargetOnly
from avil_ray.tasks.suite import Suite

__all__ = ["Equal", "EqualFineTune", "Static", "TargetOnly"]


@dataclass(frozen=True, kw_only=True)
class Static(FixedWeights):
    """Fixed weights: by default 1 for the target and 0 for auxiliaries.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.Static(weights={"helpful_1": 0.5}), rounds=2, steps_per_round=2)
    >>> result.history["weight/helpful_1"].tolist()
    [0.5, 0.5]
    """

    source: ClassVar[str] = (
        "weighted sum of losses; a strong baseline once tuned (Xin et al., Kurin et al., NeurIPS 2022)"
    )

    weights: Annotated[
        Mapping[str, float], Doc("task -> weight of its loss; by default 1 for the target and 0 for auxiliaries")
    ] = field(default_factory=dict)
    finish: Annotated[
        Literal["fine-tune", "none"], Doc("fine-tune: train the best theta on the target alone at the end")
    ] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        for task, weight in self.weights.items():
            at_least(f"weights: {task}: a weight", weight, 0)

    def check(self, suite: Suite) -> None:
        """Check that every weight belongs to a task of the suite, and that one weight is above 0."""
        for task in self.weights:
            if task not in suite.task_names:
                raise unknown("task", task, suite.task_names, "weights")
        if not any(self.task_weights(suite).values()):
            raise UserError("weights: all are 0, so nothing would train; give one task a weight above 0")

    def task_weights(self, suite: Suite) -> dict[str, float]:
        """The weights given; otherwise 1 for the target and 0 for auxiliaries."""
        return {task: float(self.weights.get(task, task == suite.target)) for task in suite.task_names}

    @property
    def plans_ahead(self) -> bool:
        """Whether the run ends with a fine-tuning, as set by the option."""
        return self.finish == "fine-tune"


@dataclass(frozen=True, kw_only=True)
class Equal(FixedWeights):
    """Every task with weight 1: plain multi-task learning.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.Equal(), rounds=2, steps_per_round=2)
    >>> result.history["weight/helpful_1"].tolist()
    [1.0, 1.0]
    """

    source: ClassVar[str] = "plain multi-task learning (Caruana 1997)"


@dataclass(frozen=True, kw_only=True)
class EqualFineTune(Equal):
    """Every task with weight 1, then fine-tuning of the target alone from the best theta.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.EqualFineTune(), rounds=2, steps_per_round=2)
    >>> result.history["fine_tuning"].tolist()
    [nan, nan, 1.0]
    """

    source: ClassVar[str] = "multi-task pre-training, then fine-tuning on the target"

    @property
    def plans_ahead(self) -> bool:
        """Always: the run ends with a fine-tuning."""
        return True
