"""Trunks for small images."""

from __future__ import annotations

from torch import nn

from avil_ray.errors import UserError

SMALLEST = 16
"""The minimum height and width in pixels: 2 x 2 remain after both poolings."""


class LeNet(nn.Sequential):
    """Two convolutions with pooling and one fully connected layer: [B, channels, height, width] -> [B, features].

    After LeCun et al., "Gradient-based learning applied to document recognition" (1998), but with ReLU, max pooling and
    a second kernel of 3 x 3, to support images of 16 x 16.

    Attributes
    ----------
    input_shape
        (channels, height, width) of the images.

    Raises
    ------
    UserError
        The image is smaller than 16 x 16.
    """

    def __init__(self, channels: int, height: int, width: int, features: int = 64) -> None:
        if min(height, width) < SMALLEST:
            raise UserError(f"LeNet: images must be {SMALLEST} x {SMALLEST} or larger, not {height} x {width}")
        first, second = 16, 32
        super().__init__(
            nn.Conv2d(channels, first, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, kernel_size=3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * _after_poolings(height) * _after_poolings(width), features),
            nn.ReLU(),
        )
        self.input_shape = (channels, height, width)


def _after_poolings(side: int) -> int:
    """The remaining side length: the kernels of 5 and 3 cut off 4 and 2, each pooling halves it."""
    return ((side - 4) // 2 - 2) // 2
