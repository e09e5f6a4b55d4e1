"""Losses and metrics of dense tasks: a class, a depth or a surface normal for each pixel where it is known.

| task | outputs | targets | a pixel's target is unknown where it is |
|---|---|---|---|
| segmentation | [B, classes, H, W] | int64 [B, H, W] | -1 |
| depth | [B, 1, H, W] | float [B, 1, H, W] | 0 |
| normals | [B, 3, H, W] | float [B, 3, H, W], of length 1 | (0, 0, 0) |

Unknown pixels are ignored. The losses and metrics are those of Liu, Johns and Davison, "End-to-end multi-task learning
with attention" (MTAN, CVPR 2019, https://arxiv.org/abs/1803.10704), with two differences. A loss is the mean over an
example's known pixels, so that examples have equal weight; theirs is the mean over all known pixels of a batch. A
metric is one mean over all known pixels of a split; theirs averages over batches, so it depends on how the split is
divided into them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.models.dense import Kind
from avil_ray.tasks.losses import CrossEntropy, full_precision, per_example

UNKNOWN = -1
"""The class of an unknown pixel."""

BINS_PER_DEGREE = 100
"""The median angle is exact to a hundredth of a degree."""


def objectives(kind: Kind) -> dict[str, Any]:
    """A dense task's `loss`, `metric` and `also`, as arguments of `Task`."""
    if kind == "segmentation":
        return {"loss": CrossEntropy(ignore_index=UNKNOWN), "metric": "miou", "also": ("pixel_accuracy",)}
    if kind == "depth":
        return {"loss": DepthLoss(), "metric": AbsoluteError(), "also": (RelativeError(),)}
    within = tuple(WithinAngle(degrees) for degrees in (11.25, 22.5, 30.0))
    return {"loss": NormalsLoss(), "metric": MeanAngle(), "also": (MedianAngle(), *within)}


def known_depth(targets: Tensor) -> Tensor:
    """Whether the depth is known, bool [B, 1, H, W]."""
    return targets > 0


def known_normals(targets: Tensor) -> Tensor:
    """Whether the normal is known, bool [B, H, W]."""
    return (targets != 0).any(dim=1)


@dataclass(frozen=True)
class DepthLoss:
    """The mean absolute error over each example's known depths, [B]; 0 if none is known."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example."""
        return per_example((full_precision(outputs) - targets).abs(), known_depth(targets))


@dataclass(frozen=True)
class NormalsLoss:
    """1 minus the mean cosine of output and target over each example's known normals, [B]; 0 if none is known."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example."""
        outputs = full_precision(outputs)
        return per_example(1 - F.cosine_similarity(outputs, targets.to(outputs), dim=1), known_normals(targets))


@dataclass
class PixelMean(ABC):
    """A metric: the mean of one number per known pixel over all batches since the last `reset`."""

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False
    _sum: float = field(default=0.0, init=False, repr=False, compare=False)
    _count: int = field(default=0, init=False, repr=False, compare=False)

    @abstractmethod
    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """One number for each known pixel of a batch, [pixels]."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add one batch."""
        numbers = self.numbers(outputs, targets).double()
        self._sum += float(numbers.sum())
        self._count += len(numbers)

    def compute(self) -> float:
        """The mean."""
        _check_any(self.name, self._count)
        return self._sum / self._count

    def reset(self) -> None:
        """Forget all batches."""
        self._sum, self._count = 0.0, 0


class AbsoluteError(PixelMean):
    """The mean absolute error of depth, in the targets' unit."""

    name = "absolute_error"

    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """|output - target|."""
        return (outputs - targets).abs()[known_depth(targets)]


class RelativeError(PixelMean):
    """The mean absolute error of depth relative to the depth."""

    name = "relative_error"

    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """|output - target| / target."""
        known = known_depth(targets)
        return (outputs[known] - targets[known]).abs() / targets[known]


class MeanAngle(PixelMean):
    """The mean angle between output and target, in degrees."""

    name = "mean_angle"

    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The angles."""
        return angles(outputs, targets)


@dataclass
class WithinAngle(PixelMean):
    """The fraction of normals whose angle to the target is below a number of degrees."""

    higher_is_better = True
    degrees: float = 11.25

    @property
    def name(self) -> str:  # type: ignore[override]
        """`within_11_25` and so on."""
        return f"within_{self.degrees:g}".replace(".", "_")

    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 if the angle is below, otherwise 0."""
        return angles(outputs, targets) < self.degrees


@dataclass
class MedianAngle:
    """The median angle between output and target, in degrees, with a resolution of 0.01 degrees.

    It keeps a histogram with bins of a hundredth of a degree, not the angles.
    """

    name: ClassVar[str] = "median_angle"
    higher_is_better: ClassVar[bool] = False
    _counts: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.reset()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add one batch."""
        bins = (angles(outputs, targets) * BINS_PER_DEGREE).long().clamp(max=180 * BINS_PER_DEGREE - 1)
        self._counts += torch.bincount(bins, minlength=len(self._counts))

    def compute(self) -> float:
        """The median; for an even number of angles, the mean of the middle two."""
        count = int(self._counts.sum())
        _check_any(self.name, count)
        middle = torch.tensor([(count - 1) // 2, count // 2])
        bins = torch.searchsorted(self._counts.cumsum(0), middle, right=True)
        return float((bins + 0.5).mean()) / BINS_PER_DEGREE

    def reset(self) -> None:
        """Forget all batches."""
        self._counts = torch.zeros(180 * BINS_PER_DEGREE, dtype=torch.int64)


def angles(outputs: Tensor, targets: Tensor) -> Tensor:
    """The angle between output and target at each known normal of a batch, in degrees, float64 [pixels]."""
    # the cosine of a small angle is too close to 1 for float32
    cosines = F.cosine_similarity(outputs.double(), targets.double(), dim=1)[known_normals(targets)]
    return torch.rad2deg(torch.acos(cosines.clamp(-1, 1)))


def _check_any(metric: str, pixels: int) -> None:
    if pixels == 0:
        raise UserError(f"metric {metric}: no pixel of the split has a known target; give examples that have")
