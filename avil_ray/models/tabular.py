"""Trunks for vectors: tables, and features from another model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from avil_ray.errors import UserError, at_least


class MLP(nn.Sequential):
    """Fully connected layers with ReLU and optional dropout: [B, inputs] -> [B, hidden[-1]].

    Parameters
    ----------
    inputs
        Numbers per example.
    hidden
        The width of each layer, one or more; the last one is the input of the heads.
    dropout
        The fraction of each layer's outputs dropped in training, from 0 to below 1.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], *, dropout: float = 0.0) -> None:
        if not hidden or min(inputs, *hidden) < 1:
            raise UserError(f"MLP: at least one width is needed, and all must be 1 or more, not {[inputs, *hidden]}")
        at_least("MLP: dropout", dropout, 0, 1)
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden]):
            layers += [nn.Linear(before, after), nn.ReLU()]
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers)
