"""A trunk that every task shares and a head for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class MultitaskModel(nn.Module):
    """Hard parameter sharing: `heads[task](trunk(inputs))`.

    A task without a head of its own gets the trunk's output as it is; a suite whose tasks share one head puts that head
    into the trunk and gives no heads. The parameters of task t's head are named `heads.t.…`: this is how the rest of
    the library tells a head from the trunk, so a model written by hand need only keep that naming and this `forward`.
    """

    def __init__(self, trunk: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleDict(dict(heads))

    def forward(self, inputs: Any, task: str) -> Tensor:
        """The outputs of `task` for a batch: [B, classes] for classification, [B] for one number per example."""
        features: Tensor = self.trunk(inputs)
        return self.heads[task](features) if task in self.heads else features


class SingleTask(nn.Module):
    """One task of a multi-task model as an ordinary module: `module(inputs)` -> outputs."""

    def __init__(self, model: nn.Module, task: str) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, inputs: Any) -> Tensor:
        """The task's outputs for a batch."""
        outputs: Tensor = self.model(inputs, self.task)
        return outputs
