"""Augmentation: a callable applied to single examples or batches of the training data only.

`augment(inputs, target) -> (inputs, target)`. It draws from PyTorch's, NumPy's or Python's global generators, which the
run seeds for each example (or batch), so results depend only on the seed, the step and the example, in any process.
Evaluation and adaptation use unaugmented examples.

Examples
--------
>>> import torch
>>> def brighter(inputs, target):
...     return inputs + 0.5, target
>>> brighter(torch.zeros(2), 1)
(tensor([0.5000, 0.5000]), 1)
>>> examples = torch.utils.data.TensorDataset(torch.rand(8, 3), torch.arange(8) % 2)
>>> import avil_ray as avil
>>> avil.Task("odd", examples, augment=[brighter, "noise"]).name
'odd'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from avil_ray.errors import UserError, unknown

Augment = Callable[[Any, Any], tuple[Any, Any]]

T = TypeVar("T", bound=Augment)


def batched(augment: T) -> T:
    """Mark a callable as one that takes a whole batch: inputs and targets [B, …].

    Examples
    --------
    >>> @batched
    ... def louder(inputs, targets):
    ...     return 2 * inputs, targets
    """
    augment.batched = True  # type: ignore[attr-defined]
    return augment


def is_batched(augment: Augment) -> bool:
    """Whether the callable takes a whole batch."""
    return bool(getattr(augment, "batched", False))


@dataclass(frozen=True)
class Flip:
    """Flips an image [channels, height, width] horizontally with probability 1/2."""

    def __call__(self, inputs: Tensor, target: Any) -> tuple[Tensor, Any]:
        """One example."""
        return (inputs.flip(-1) if torch.rand(()) < 0.5 else inputs), target


@dataclass(frozen=True)
class Shift:
    """Shifts an image by up to `pixels` pixels in each direction, padding with 0.

    Parameters
    ----------
    pixels
        The maximum shift.
    """

    pixels: int = 2

    def __call__(self, inputs: Tensor, target: Any) -> tuple[Tensor, Any]:
        """One example."""
        height, width = inputs.shape[-2:]
        down, right = torch.randint(0, 2 * self.pixels + 1, (2,)).tolist()
        padded = F.pad(inputs, (self.pixels,) * 4)
        return padded[..., down : down + height, right : right + width], target


@dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise to numeric inputs.

    Parameters
    ----------
    deviation
        Its standard deviation.
    """

    deviation: float = 0.1

    def __call__(self, inputs: Tensor, target: Any) -> tuple[Tensor, Any]:
        """One example."""
        return inputs + self.deviation * torch.randn(inputs.shape), target


@dataclass(frozen=True)
class OneAfterAnother:
    """Applies several augmentations of single examples in order."""

    parts: tuple[Augment, ...]

    def __call__(self, inputs: Any, target: Any) -> tuple[Any, Any]:
        """One example."""
        for part in self.parts:
            inputs, target = part(inputs, target)
        return inputs, target


AUGMENTATIONS: dict[str, Augment] = {"flip": Flip(), "shift": Shift(), "noise": Noise()}
"""Name -> an augmentation of single examples with its default options."""


def find_augment(augment: str | Augment | Sequence[str | Augment] | None, where: str) -> Augment | None:
    """The augmentation that a task specifies: a name, a callable, a list of these, or None.

    Raises
    ------
    UserError
        Where it is not allowed.
    """
    if augment is None:
        return None
    if isinstance(augment, str):
        if augment not in AUGMENTATIONS:
            raise unknown("augmentation", augment, AUGMENTATIONS, where)
        return AUGMENTATIONS[augment]
    if isinstance(augment, Sequence):
        parts = [found for found in (find_augment(one, where) for one in augment) if found is not None]
        if any(map(is_batched, parts)):
            raise UserError(f"{where}: augment: a list is for single examples; call the one on batches by itself")
        return OneAfterAnother(tuple(parts))
    if isinstance(augment, type) or not callable(augment):
        needed = "a name, a callable augment(inputs, target), or a list of these"
        raise UserError(f"{where}: augment must be {needed}, not {augment!r}")
    return augment
