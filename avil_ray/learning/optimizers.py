"""Optimizers on slices of the flat vector: their parameters, learning rates, and state as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from avil_ray.errors import UserError
from avil_ray.learning.parameters import Entry, FlatModel, ParameterSpace
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.optimizer_names import MATRICES_ONLY, by_element, make_optimizer, optimizer_class

OptimizerState = Mapping[str, npt.NDArray[Any]]
"""An optimizer's state as named arrays, so that it can be sent and stored without pickle."""


@dataclass(frozen=True)
class Piece:
    """A part of theta that an optimizer treats as one parameter.

    Attributes
    ----------
    name
        The name under which its state is stored.
    where
        Its slice of theta.
    shape
        The shape in which the optimizer sees it.
    group
        The name of its parameter group; "" if it belongs to none.
    """

    name: str
    where: slice
    shape: tuple[int, ...]
    group: str = ""


class FlatOptimizer:
    """A PyTorch optimizer over parts of a flat model; every step sets the learning rate according to the schedule.

    Parameters
    ----------
    parts
        "trunk" and "head of <task>" -> the slices of theta to train. Other heads get no gradient; leaving them out also
        keeps weight decay from changing them.
    total_steps
        The planned length of the schedule.
    state
        The state to continue from; empty for a fresh start.
    """

    def __init__(
        self,
        flat: FlatModel,
        parts: Mapping[str, slice],
        learning: Learning,
        total_steps: int | None = None,
        state: OptimizerState | None = None,
    ) -> None:
        self._learning, self._total = learning, total_steps
        self.named: dict[str, nn.Parameter] = {}
        groups: dict[str, list[nn.Parameter]] = {}
        for piece in pieces(flat.space, parts, learning):
            parameter = nn.Parameter(flat.values[piece.where].view(piece.shape))
            parameter.grad = flat.gradient[piece.where].view(piece.shape)
            self.named[piece.name] = parameter
            groups.setdefault(piece.group, []).append(parameter)
        self._optimizer = make_optimizer(learning, groups)
        self._rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        self._restore(state or {})

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The pieces as parameters whose gradients are views into the flat gradient."""
        return list(self.named.values())

    def clip(self) -> float:
        """Scale a longer gradient down to a 2-norm of `Learning.clip`; returns the norm before.

        Same as `torch.nn.utils.clip_grad_norm_`, whose bookkeeping takes twice as long as the sum for small models.
        """
        gradients = [parameter.grad for parameter in self.named.values() if parameter.grad is not None]
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
        norm = float(norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms)))
        scale = self._learning.clip / (norm + 1e-6)
        if scale < 1.0:
            for gradient in gradients:
                gradient.mul_(scale)
        return norm

    def step(self, number: int) -> None:
        """Take one step; `number` counts the track's steps from 0 across rounds."""
        share = rate_share(self._learning, number, self._total)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = share * rate
        self._optimizer.step()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The optimizer's tensors as arrays named `<piece>.<what>`; on the CPU they share memory with them."""
        return {
            f"{name}.{what}": value.detach().cpu().numpy()
            for name, parameter in self.named.items()
            for what, value in self._optimizer.state[parameter].items()
            if isinstance(value, Tensor)
        }

    def _restore(self, arrays: OptimizerState) -> None:
        for key, array in arrays.items():
            name, _, what = key.rpartition(".")
            if name in self.named:
                value, parameter = torch.from_numpy(np.array(array)), self.named[name]
                # PyTorch keeps step counts on the CPU
                self._optimizer.state[parameter][what] = value if what == "step" else value.to(parameter.device)


def pieces(space: ParameterSpace, parts: Mapping[str, slice], learning: Learning) -> list[Piece]:
    """Split the parts for an optimizer: whole if it works elementwise, otherwise parameter by parameter.

    An optimizer that depends on shapes sees tensors of two or more dimensions as matrices [first, rest].
    """
    found: list[Piece] = []
    name = optimizer_class(learning.optimizer).__name__
    for part, where in parts.items():
        if where.stop == where.start:
            continue
        entries = [entry for entry in space.entries if where.start <= entry.where.start < where.stop]
        if not by_element(name):
            found += [Piece(one.name, one.where, _matrix(one, name), group_of(one.name, learning)) for one in entries]
            continue
        runs = list(_runs(entries, learning))
        for index, (group, run) in enumerate(runs):
            label = part if len(runs) == 1 else f"{part} {index}"
            found.append(Piece(label, run, (run.stop - run.start,), group))
    return found


def _runs(entries: Iterable[Entry], learning: Learning) -> Iterable[tuple[str, slice]]:
    """Adjacent entries of the same parameter group, merged into one slice."""
    runs: list[tuple[str, slice]] = []
    for entry in entries:
        group = group_of(entry.name, learning)
        if runs and runs[-1][0] == group and runs[-1][1].stop == entry.where.start:
            runs[-1] = group, slice(runs[-1][1].start, entry.where.stop)
        else:
            runs.append((group, entry.where))
    return runs


def _matrix(entry: Entry, optimizer: str) -> tuple[int, ...]:
    if len(entry.shape) >= 2:
        return entry.shape[0], prod(entry.shape[1:])
    return (1, prod(entry.shape)) if optimizer in MATRICES_ONLY else (prod(entry.shape),)


def group_of(name: str, learning: Learning) -> str:
    """A parameter's group: the longest group name that prefixes its name; "" for none."""
    fitting = [group for group in learning.groups if name == group or name.startswith(f"{group}.")]
    return max(fitting, key=len, default="")


def check_groups(space: ParameterSpace, learning: Learning) -> None:
    """Raise `UserError` if a parameter group matches no parameter."""
    names = [entry.name for entry in space.entries if entry.where.start < space.parameters.stop]
    for group in learning.groups:
        if not any(group_of(name, learning) == group for name in names):
            roots = sorted({".".join(name.split(".")[:2]) for name in names})
            raise UserError(
                f"learning: groups.{group}: no parameter name starts with it; available: {', '.join(roots[:12])}"
            )


def rate_share(learning: Learning, step: int, total: int | None) -> float:
    """The factor on the learning rate at a step (counted from 0) of a schedule over `total` steps.

    Warm-up: (step + 1) / warmup. Then, with p the fraction of the remaining steps that is done: constant 1; linear 1 -
    p; cosine (1 + cos(pi p)) / 2.
    """
    if step < learning.warmup:
        return (step + 1) / learning.warmup
    if learning.schedule == "constant" or total is None:
        return 1.0
    progress = min(1.0, (step - learning.warmup) / max(1, total - learning.warmup))
    return 1.0 - progress if learning.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
