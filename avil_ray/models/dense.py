"""A trunk and heads for dense tasks: an answer for each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from avil_ray.models.multitask import MultitaskModel

Kind = Literal["segmentation", "depth", "normals"]
"""What a dense task answers for each pixel: a class, a depth, or a surface normal."""

LEVELS = 3
"""Resolutions that the trunk works at: the image's, a half and a quarter of it."""

SMALLEST_SIDE = 2**LEVELS
"""The smallest height and width, in pixels: 2 x 2 is left of it at the lowest resolution; of one, a norm leaves 0."""


class EncoderDecoder(nn.Module):
    """A small SegNet-like trunk: [B, channels, H, W] -> [B, width, H, W], for any height H and width W from 8.

    After Badrinarayanan, Kendall and Cipolla, "SegNet" (2017, https://arxiv.org/abs/1511.00561): convolutions and max
    pooling on the way down, convolutions on the way up. It differs from theirs: where they put values back to the
    places that pooling took them from, here the way up adds what the way down had at the same resolution; this keeps
    edges as well, and on a GPU its gradient does not depend on the order in which numbers are added.

    Each channel of each image is normalised by itself, not over the batch: with BatchNorm all tasks would share running
    statistics, which belong to the data and the theta of the task that wrote them last, and not to a combination of
    several tasks' updates.

    Parameters
    ----------
    channels
        Of the images.
    width
        Channels at full resolution; twice as many at each lower one.
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
    """A convolution of 3 x 3, normalised."""
    # the norm has a bias of its own; its groups are of one channel each
    convolution = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(after, after), nn.ReLU())


class PixelHead(nn.Sequential):
    """Two convolutions, the second of single pixels: [B, width, H, W] -> [B, outputs, H, W].

    `outputs` is the number of classes for segmentation, and 1 for depth.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(width, width, kernel_size=3, padding=1), nn.ReLU(), nn.Conv2d(width, outputs, kernel_size=1)
        )


class NormalsHead(PixelHead):
    """A vector of length 1 at each pixel: features [B, width, H, W] -> [B, 3, H, W]."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 3)

    def forward(self, features: Tensor) -> Tensor:
        """The normals for a batch of features."""
        first, relu, last = self
        return F.normalize(last(relu(first(features))), dim=1)


def dense_model(kinds: Mapping[str, Kind], classes: int, width: int) -> MultitaskModel:
    """A trunk of `width` channels that all tasks share, and the head of its kind for each: task -> kind."""

    def head(kind: Kind) -> nn.Module:
        return NormalsHead(width) if kind == "normals" else PixelHead(width, classes if kind == "segmentation" else 1)

    return MultitaskModel(EncoderDecoder(3, width), {task: head(kind) for task, kind in kinds.items()})
