"""A trunk and heads for dense tasks: an output for each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from avil_ray.models.multitask import MultitaskModel

Kind = Literal["segmentation", "depth", "normals"]
"""The kind of a dense task's output for each pixel: a class, a depth, or a surface normal."""

LEVELS = 3
"""The number of resolutions in the trunk: full, half and quarter."""

SMALLEST_SIDE = 2**LEVELS
"""The minimum height and width in pixels: 2 x 2 remain at the lowest resolution; normalising 1 x 1 would give 0."""


class EncoderDecoder(nn.Module):
    """A small SegNet-like trunk: [B, channels, H, W] -> [B, width, H, W], for any H and W of at least 8.

    After Badrinarayanan, Kendall and Cipolla, "SegNet" (2017, https://arxiv.org/abs/1511.00561): convolutions and max
    pooling on the way down, convolutions on the way up. The difference: instead of unpooling with stored indices, the
    decoder adds the encoder's features at the same resolution; this also preserves edges, and its gradient on a GPU
    does not depend on the order of additions.

    Each channel of each image is normalised separately, not over the batch: with BatchNorm, all tasks would share
    running statistics, which reflect the data and theta of the task that updated them last, and not a combination of
    several tasks' updates.

    Parameters
    ----------
    channels
        Channels of the images.
    width
        Channels at full resolution, doubled at each lower one.
    """

    def __init__(self, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(_block(before, after) for before, after in pairwise([channels, *widths]))
        self.narrow = nn.ModuleList(nn.Conv2d(wide, slim, kernel_size=1) for slim, wide in pairwise(widths))
        self.up = nn.ModuleList(_block(one, one) for one in widths[:-1])

    def forward(self, images: Tensor) -> Tensor:
        """Features for each pixel of a batch of images."""
        features, passed = images, []
        for level, block in enumerate(self.down):
            features = block(F.max_pool2d(features, 2) if level else features)
            passed.append(features)
        for level in reversed(range(LEVELS - 1)):
            slim, same = self.narrow[level](features), passed[level]
            features = self.up[level](F.interpolate(slim, size=same.shape[-2:], mode="nearest") + same)
        return features


def _block(before: int, after: int) -> nn.Sequential:
    """A 3 x 3 convolution with normalisation."""
    # the norm has its own bias; each group is one channel
    convolution = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(after, after), nn.ReLU())


class PixelHead(nn.Sequential):
    """Two convolutions, the second one 1 x 1: [B, width, H, W] -> [B, outputs, H, W].

    `outputs` is the number of classes for segmentation, and 1 for depth.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(width, width, kernel_size=3, padding=1), nn.ReLU(), nn.Conv2d(width, outputs, kernel_size=1)
        )


class NormalsHead(PixelHead):
    """A unit vector at each pixel: features [B, width, H, W] -> [B, 3, H, W]."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 3)

    def forward(self, features: Tensor) -> Tensor:
        """The normals for a batch of features."""
        first, relu, last = self
        return F.normalize(last(relu(first(features))), dim=1)


def dense_model(kinds: Mapping[str, Kind], classes: int, width: int) -> MultitaskModel:
    """A shared trunk with `width` channels, and a head for each task by its kind (task -> kind)."""

    def head(kind: Kind) -> nn.Module:
        return NormalsHead(width) if kind == "normals" else PixelHead(width, classes if kind == "segmentation" else 1)

    return MultitaskModel(EncoderDecoder(3, width), {task: head(kind) for task, kind in kinds.items()})
