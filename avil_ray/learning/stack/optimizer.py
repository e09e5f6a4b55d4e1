"""SGD, Adam and AdamW on K rows of parameters [K, P], each row with its own hyperparameters.

The steps are those of `torch.optim`, whose optimizers would use the same hyperparameters for all rows. A row's state
uses the names of `FlatOptimizer`, so a run can continue in a stack or on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avil_ray.learning.optimizers import OptimizerState, Piece, pieces, rate_share
from avil_ray.learning.parameters import ParameterSpace
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.optimizer_names import optimizer_class

KEEPS = {"SGD": ("momentum_buffer",), "Adam": ("exp_avg", "exp_avg_sq"), "AdamW": ("exp_avg", "exp_avg_sq")}
"""The supported optimizers, and their state for each parameter."""

OPTIONS = {"SGD": ("momentum", "nesterov"), "Adam": ("betas", "eps"), "AdamW": ("betas", "eps")}
"""Their supported options (`Learning.optimizer_options`)."""

BETAS, EPS = (0.9, 0.999), 1e-8
"""PyTorch's defaults."""


@dataclass(frozen=True)
class Follows:
    """How one row is optimised.

    Attributes
    ----------
    learning
        Its hyperparameters; the kind of optimizer must be the same for all rows.
    parts
        The slices of theta to train, by name, as in `FlatOptimizer`.
    first, total_steps
        The number of its next step, and the planned length of the schedule.
    state
        The state to continue from; empty for a fresh start.
    """

    learning: Learning
    parts: Mapping[str, slice]
    first: int
    total_steps: int | None
    state: OptimizerState


class StackedOptimizer:
    """One optimizer for K rows; `step` changes theta [K, P] in place."""

    def __init__(self, space: ParameterSpace, rows: Sequence[Follows], device: str | torch.device = "cpu") -> None:
        self._rows, self._size, self._device = rows, space.size, device
        self._name = optimizer_class(rows[0].learning.optimizer).__name__
        self._pieces = [pieces(space, row.parts, row.learning) for row in rows]
        self._rates = self._of_pieces("learning_rate")
        self._decay = self._of_pieces("weight_decay", masked=True)
        self._clip = self._column(lambda row: row.learning.clip)
        self._kept = {what: torch.zeros(len(rows), space.size, device=device) for what in KEEPS[self._name]}
        self._count = torch.zeros(len(rows), 1, dtype=torch.float64, device=device)
        self._restore()
        if self._name == "SGD":
            self._momentum = self._column(
                lambda row: row.learning.optimizer_options.get("momentum", row.learning.momentum)
            )
            self._nesterov = bool(rows[0].learning.optimizer_options.get("nesterov", False))
        else:
            betas = [tuple(row.learning.optimizer_options.get("betas", BETAS)) for row in rows]
            self._betas = torch.tensor(betas, dtype=torch.float64, device=device)
            self._eps = self._column(lambda row: row.learning.optimizer_options.get("eps", EPS))

    def step(self, number: int, theta: Tensor, gradient: Tensor) -> Tensor:
        """Take the `number`-th step from here (counted from 0) along `gradient` [K, P], which may be overwritten.

        Returns the norm of each row's gradient before clipping, [K].
        """
        norms: Tensor = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        gradient *= (self._clip / (norms + 1e-6)).clamp(max=1.0)
        rates = self._rates * self._column(lambda row: rate_share(row.learning, row.first + number, row.total_steps))
        if self._decay is not None:
            if self._name == "AdamW":
                theta *= 1 - rates * self._decay
            else:
                gradient += self._decay * theta
        (self._sgd if self._name == "SGD" else self._adam)(theta, gradient, rates)
        return norms.squeeze(1)

    def _sgd(self, theta: Tensor, gradient: Tensor, rates: Tensor) -> None:
        buffer = self._kept["momentum_buffer"]
        buffer *= self._momentum
        buffer += gradient
        theta -= rates * (gradient + self._momentum * buffer if self._nesterov else buffer)

    def _adam(self, theta: Tensor, gradient: Tensor, rates: Tensor) -> None:
        self._count += 1
        one, two = self._betas[:, :1], self._betas[:, 1:]
        mean, square = self._kept["exp_avg"], self._kept["exp_avg_sq"]
        mean.lerp_(gradient, (1 - one).float())
        square.mul_(two.float()).addcmul_((1 - two).float() * gradient, gradient)
        root = (1 - two**self._count).sqrt().float()
        sizes = (rates.double() / (1 - one**self._count)).float()
        theta -= sizes * (mean / ((square.sqrt() / root).add_(self._eps)))

    def state(self, row: int) -> dict[str, npt.NDArray[Any]]:
        """A row's state as arrays, as `FlatOptimizer.state` gives it."""
        found: dict[str, npt.NDArray[Any]] = {}
        if self._name == "SGD" and not float(self._momentum[row, 0]):
            return found
        for piece in self._pieces[row]:
            if self._name != "SGD":
                found[f"{piece.name}.step"] = np.array(float(self._count[row, 0]), np.float32)
            found |= {
                f"{piece.name}.{what}": values[row, piece.where].cpu().numpy().copy()
                for what, values in self._kept.items()
            }
        return found

    def _restore(self) -> None:
        for row, (follows, own) in enumerate(zip(self._rows, self._pieces, strict=True)):
            for piece in own if follows.state else ():
                for what, values in self._kept.items():
                    kept = follows.state.get(f"{piece.name}.{what}")
                    if kept is not None:
                        values[row, piece.where] = torch.from_numpy(np.array(kept)).to(self._device)
                self._count[row] = float(follows.state.get(f"{piece.name}.step", 0.0))

    def _column(self, number: Callable[[Follows], float]) -> Tensor:
        """One number per row, [K, 1]."""
        return torch.tensor([[float(number(row))] for row in self._rows], device=self._device)

    def _of_pieces(self, name: str, *, masked: bool = False) -> Any:
        """One number per piece: [K, 1] if no row has groups, otherwise [K, P].

        `masked`: 0 outside the slices that a row trains, [K, P]; None if all are 0.
        """
        numbers = [
            [self._number(row, piece, name) for piece in own] for row, own in zip(self._rows, self._pieces, strict=True)
        ]
        if masked and not any(number for own in numbers for number in own):
            return None
        if not masked and not any(row.learning.groups for row in self._rows):
            return self._column(lambda row: getattr(row.learning, name))
        found = torch.zeros(len(self._rows), self._size)
        for row, (own, values) in enumerate(zip(self._pieces, numbers, strict=True)):
            for piece, value in zip(own, values, strict=True):
                found[row, piece.where] = value
        return found.to(self._device)

    @staticmethod
    def _number(row: Follows, piece: Piece, name: str) -> float:
        return float(row.learning.groups.get(piece.group, {}).get(name, getattr(row.learning, name)))
