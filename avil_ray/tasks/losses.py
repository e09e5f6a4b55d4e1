"""Losses: by name, or any callable `loss(outputs, targets)`.

A loss gives one number per example, [B]; if an example has several positions (tokens, pixels, labels), it is the mean
over those that count. A callable may also return one number for the batch, taken as the mean over its examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from avil_ray.errors import UserError, unknown

LossFunction = Callable[[Any, Any], Tensor]
"""Outputs and targets of a batch -> a loss for each example [B], or their mean []."""


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of int64 classes: targets [B], or [B, …] for tokens and pixels.

    Parameters
    ----------
    weights
        A weight for each class; the loss of an example of class c is multiplied by `weights[c]`.
    smoothing
        Label smoothing, from 0 to below 1.
    ignore_index
        Targets with this value are ignored: an example's loss is the mean over the others, or 0 if there are none.
    class_dimension
        The class dimension of the outputs: 1, as in PyTorch ([B, classes, …]), or -1 ([B, tokens, classes]).

    Examples
    --------
    >>> import torch
    >>> CrossEntropy(smoothing=0.1)(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([1.3863, 1.3863])
    """

    weights: tuple[float, ...] | None = None
    smoothing: float = 0.0
    ignore_index: int = -100
    class_dimension: int = 1

    def __post_init__(self) -> None:
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
            if not all(0 <= weight < float("inf") for weight in self.weights or ()):
                raise UserError(f"cross_entropy: weights must be numbers, at least 0, not {list(self.weights or ())}")
        if not 0 <= self.smoothing < 1:
            raise UserError(f"cross_entropy: smoothing must be at least 0 and below 1, not {self.smoothing}")
        if self.class_dimension not in (1, -1):
            raise UserError(f"cross_entropy: class_dimension must be 1 or -1, not {self.class_dimension}")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example, [B]."""
        rows, classes = full_precision(outputs), targets
        if targets.ndim > 1:
            # one position per row: CUDA's kernel for maps sums in an order that depends on thread timing
            rows, classes = rows.movedim(self.class_dimension, -1).flatten(0, -2), targets.flatten()
        losses = self._reduced(rows, classes, "none")
        return losses if targets.ndim == 1 else per_example(losses.view_as(targets), targets != self.ignore_index)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum [] of the losses of all examples; a single call for [B] targets, as one sum is faster than two."""
        if targets.ndim == 1 and not self.smoothing:
            return self._reduced(full_precision(outputs), targets, "sum")
        return self(outputs, targets).sum()

    def _reduced(self, rows: Tensor, classes: Tensor, reduction: str) -> Tensor:
        weight = None if self.weights is None else torch.tensor(self.weights).to(rows)
        return F.cross_entropy(
            rows,
            classes,
            weight=weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.smoothing,
            reduction=reduction,
        )


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Cross-entropy of independent labels between 0 and 1, one logit each: outputs and targets [B] or [B, …].

    Parameters
    ----------
    positive_weight
        The factor on the loss of positive labels: one number, or one for each label of the last dimension.

    Examples
    --------
    >>> import torch
    >>> BinaryCrossEntropy(positive_weight=2.0)(torch.zeros(2), torch.tensor([0.0, 1.0]))
    tensor([0.6931, 1.3863])
    """

    positive_weight: float | tuple[float, ...] = 1.0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example, [B]."""
        outputs = full_precision(outputs)
        weight = None if self.positive_weight == 1.0 else torch.tensor(self.positive_weight).to(outputs)
        losses = F.binary_cross_entropy_with_logits(outputs, targets.to(outputs), reduction="none", pos_weight=weight)
        return per_example(losses)


@dataclass(frozen=True)
class SquaredError:
    """The squared difference of outputs and targets of the same shape, [B] or [B, …].

    Examples
    --------
    >>> import torch
    >>> SquaredError()(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0]))
    tensor([1., 4.])
    """

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example, [B]."""
        outputs = full_precision(outputs)
        return per_example(F.mse_loss(outputs, targets.to(outputs), reduction="none"))


@dataclass(frozen=True)
class AbsoluteError:
    """The absolute difference of outputs and targets of the same shape, [B] or [B, …].

    Examples
    --------
    >>> import torch
    >>> AbsoluteError()(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0]))
    tensor([1., 2.])
    """

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example, [B]."""
        outputs = full_precision(outputs)
        return per_example(F.l1_loss(outputs, targets.to(outputs), reduction="none"))


LOSSES: dict[str, LossFunction] = {
    "cross_entropy": CrossEntropy(),
    "token_cross_entropy": CrossEntropy(class_dimension=-1),
    "binary_cross_entropy": BinaryCrossEntropy(),
    "mean_squared_error": SquaredError(),
    "mean_absolute_error": AbsoluteError(),
}
"""Name -> the loss with its default options."""


def find_loss(loss: str | LossFunction, where: str) -> LossFunction:
    """The loss specified by a name or a callable.

    Raises
    ------
    UserError
        It is neither a known name nor callable.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES, where)
        return LOSSES[loss]
    if isinstance(loss, type) or not callable(loss):
        kind = f"the class {loss.__name__}" if isinstance(loss, type) else f"a {type(loss).__name__}"
        raise UserError(f"{where}: loss must be a name or a callable loss(outputs, targets), not {kind}")
    return loss


def example_losses(losses: Any, count: int, where: str) -> Tensor:
    """A loss's result for a batch of `count` examples, checked: [B], or [1] if it is the batch's mean.

    Raises
    ------
    UserError
        It is not a tensor with one of the two shapes.
    """
    if isinstance(losses, Tensor) and losses.shape == (count,):
        return losses
    if isinstance(losses, Tensor) and losses.ndim == 0:
        return losses[None]
    found = f"a tensor {list(losses.shape)}" if isinstance(losses, Tensor) else f"a {type(losses).__name__}"
    raise UserError(f"{where}: the loss returned {found} for {count} examples; it must return [{count}] or one number")


def per_example(losses: Tensor, counted: Tensor | None = None) -> Tensor:
    """The mean over each example's positions [B]; only over those `counted`, and 0 if there are none."""
    if losses.ndim == 1 and counted is None:
        return losses
    if counted is None:
        return losses.flatten(1).mean(1)
    counts = counted.reshape(len(losses), -1).sum(1).clamp(min=1)
    return torch.where(counted, losses, 0).reshape(len(losses), -1).sum(1) / counts


def full_precision(outputs: Tensor) -> Tensor:
    """Outputs in at least float32: losses in half precision are too coarse to compare."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def of_classes(loss: str | LossFunction) -> bool:
    """Whether the targets are classes."""
    return isinstance(LOSSES.get(loss) if isinstance(loss, str) else loss, CrossEntropy)


def cross_entropy_of(loss: str | LossFunction) -> CrossEntropy:
    """The loss itself if it is a cross-entropy, otherwise one with the default conventions for classes."""
    found = LOSSES.get(loss) if isinstance(loss, str) else loss
    return found if isinstance(found, CrossEntropy) else cast(CrossEntropy, LOSSES["cross_entropy"])
