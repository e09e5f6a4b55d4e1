"""A shared trunk and a head for each task."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping
from typing import Any

from torch import Tensor, nn

from avil_ray.tasks.heads import ESCAPE


class Heads(nn.ModuleDict):
    """A module for each task, `heads[task]`; tasks may have the names of a module's attributes (`type`, `train`).

    Parameters are named `<task>.…`, or `task:<task>.…` if the module has an attribute with the task's name.
    """

    def _key(self, task: str) -> str:
        return ESCAPE + task if task not in self._modules and hasattr(self, task) else task

    def __getitem__(self, task: str) -> nn.Module:
        return super().__getitem__(self._key(task))

    def __setitem__(self, task: str, head: nn.Module) -> None:
        super().__setitem__(self._key(task), head)

    def __delitem__(self, task: str) -> None:
        super().__delitem__(self._key(task))

    def __contains__(self, task: str) -> bool:
        return super().__contains__(self._key(task))

    def __iter__(self) -> Iterator[str]:
        return (key.removeprefix(ESCAPE) for key in self._modules)

    def keys(self) -> KeysView[str]:
        """The tasks."""
        return dict.fromkeys(self).keys()

    def items(self) -> ItemsView[str, nn.Module]:
        """Each task and its module."""
        return dict(zip(self, self.values(), strict=True)).items()


class MultitaskModel(nn.Module):
    """Hard parameter sharing: `heads[task](trunk(inputs))`.

    Either every task has a head or none has: then each gets the trunk's output directly, and a shared head is part of
    the trunk. The parameters of task t's head are named `heads.t.…`; the rest of the library distinguishes heads from
    the trunk by this, so a custom model only needs to follow that naming and this `forward`. Parameters shared by two
    heads belong to the trunk.

    Examples
    --------
    >>> import torch
    >>> model = MultitaskModel(nn.Linear(4, 8), {"churn": nn.Linear(8, 2), "topic": nn.Linear(8, 5)})
    >>> model(torch.rand(3, 4), "topic").shape
    torch.Size([3, 5])
    """

    def __init__(self, trunk: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = Heads(dict(heads))

    def forward(self, inputs: Any, task: str) -> Tensor:
        """The outputs of `task` for a batch: [B, classes] for classification, [B] for one number per example."""
        features: Tensor = self.trunk(inputs)
        return self.heads[task](features) if self.heads else features


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
