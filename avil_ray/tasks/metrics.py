"""Metrics: by name, any object with `update`, `compute` and `reset` (all of torchmetrics), or `f(outputs, targets)`.

A metric sees a split batch by batch, on the CPU, so a split's outputs are never all in memory, except for functions,
which receive them all, and rank metrics, which keep one number per item.

A metric with `merge` can be distributed over workers: see `Mergeable`. Functions and named metrics can.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from avil_ray.errors import UserError, one_line, unknown
from avil_ray.tasks.losses import LossFunction, cross_entropy_of, of_classes
from avil_ray.tasks.named_metrics import METRICS

Mode = Literal["max", "min"]


@runtime_checkable
class Metric(Protocol):
    """A figure of merit over a split, computed in batches."""

    def update(self, outputs: Any, targets: Any, /) -> Any:
        """Add one batch."""

    def compute(self) -> Any:
        """One number over all batches since the last `reset`."""

    def reset(self) -> Any:
        """Forget all batches."""


@runtime_checkable
class Mergeable(Protocol):
    """A metric that can be distributed: several objects see parts of a split on several workers and are then merged.

    They are merged in the order of the parts, into a fresh one, so figures do not depend on which worker saw which
    part. A metric without `merge` sees its split in one process, batch by batch.
    """

    def merge(self, other: Any, /) -> Any:
        """Append what another object of the same kind has seen."""


MetricLike = str | Metric | Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Measure:
    """A metric as a task uses it.

    Attributes
    ----------
    name
        Its name in the history, tables and MLflow.
    mode
        Whether higher (`max`) or lower (`min`) is better.
    make
        Makes a fresh metric for each evaluation.
    """

    name: str
    mode: Mode
    make: Callable[[], Metric]


class Collected:
    """A metric given by a function of all outputs and targets of a split.

    A pickled one keeps its data but not the function, which `pickle` may not support: merge it into another.
    """

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self._function = function
        self.reset()

    def update(self, outputs: Any, targets: Any, /) -> None:
        """Keep one batch."""
        self._outputs.append(outputs)
        self._targets.append(targets)

    def merge(self, other: Collected, /) -> None:
        """Append another one's batches."""
        self._outputs += other._outputs
        self._targets += other._targets

    def __getstate__(self) -> dict[str, Any]:
        return {"_outputs": self._outputs, "_targets": self._targets}

    def compute(self) -> Any:
        """The function's result."""
        return self._function(joined(self._outputs), joined(self._targets))

    def reset(self) -> None:
        """Forget all batches."""
        self._outputs: list[Any] = []
        self._targets: list[Any] = []


def joined(batches: list[Any]) -> Any:
    """The concatenation of batches of tensors or of mappings of tensors."""
    first = batches[0]
    if isinstance(first, dict):
        return {key: joined([batch[key] for batch in batches]) for key in first}
    return torch.cat(batches) if isinstance(first, Tensor) else [item for batch in batches for item in batch]


def find_measure(
    metric: MetricLike, mode: Mode | None, loss: str | LossFunction, where: str, *, beside: bool = False
) -> Measure:
    """The measure that a task's metric specifies.

    Parameters
    ----------
    mode
        Needed for functions and for objects without `higher_is_better`; None otherwise.
    loss
        The task's loss: its class conventions (`class_dimension`, `ignore_index`) also apply to the metric.
    beside
        Whether the metric is only reported, so that its direction is not needed.

    Raises
    ------
    UserError
        The metric is unknown or not a metric, or the direction is missing or wrong.
    """
    if mode not in (None, "max", "min"):
        raise UserError(f"{where}: mode must be 'max' or 'min', not {mode!r}")
    if isinstance(metric, str):
        if metric not in METRICS:
            raise unknown("metric", metric, METRICS, where)
        named = METRICS[metric]
        if mode not in (None, named.mode):
            raise UserError(f"{where}: mode is {mode!r}, but {metric} is better where it is {_better(named.mode)}")
        conventions = cross_entropy_of(loss)
        dimension = conventions.class_dimension if of_classes(loss) else None
        return Measure(metric, named.mode, lambda: named.make(dimension, conventions.ignore_index))
    if isinstance(metric, type) or not (isinstance(metric, Metric) or callable(metric)):
        kind = f"the class {metric.__name__}" if isinstance(metric, type) else f"a {type(metric).__name__}"
        needed = "a name, an object with update, compute and reset, or a function f(outputs, targets)"
        raise UserError(f"{where}: metric must be {needed}, not {kind}")
    direction = mode or _direction(metric) or ("max" if beside else None)
    if direction is None:
        raise UserError(f"{where}: metric {_name(metric)} does not say which way is better; pass mode='max' or 'min'")
    if isinstance(metric, Metric):
        return Measure(_name(metric), direction, lambda: _fresh(metric))
    function: Callable[[Any, Any], Any] = metric
    return Measure(_name(metric), direction, lambda: Collected(function))


def figure(metric: Metric, where: str) -> float:
    """The metric's result as a number.

    Raises
    ------
    UserError
        It is not a single number.
    """
    with one_line(f"{where}: the metric failed"):
        found = metric.compute()
    try:
        return float(found)
    except (TypeError, ValueError, RuntimeError):
        kind = f"a tensor {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UserError(f"{where}: the metric must return one number, not {kind}") from None


def _direction(metric: object) -> Mode | None:
    higher = getattr(metric, "higher_is_better", None)
    return None if higher is None else ("max" if higher else "min")


def _better(mode: str) -> str:
    return "higher" if mode == "max" else "lower"


def _name(metric: Any) -> str:
    """A name for it: its `name`, the function's name, or the class's."""
    name = getattr(metric, "name", None) or getattr(metric, "__name__", None) or type(metric).__name__
    return re.sub(r"[^\w -]", "_", str(name)) or "metric"


def _fresh(metric: Metric) -> Metric:
    made = copy.deepcopy(metric)
    made.reset()
    return made
