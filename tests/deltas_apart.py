"""A fit of alpha whose deltas never meet in one process; in a module of its own, as other processes import it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from avil_ray.methods.alpha_fit import fit_along

SIZE, COUNT, ROWS = 30, 5, 16


def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Theta [P], deltas [n, P], and least squares on dev rows: inputs [N, P] and labels [N]; all float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((SIZE,), (COUNT, SIZE), (ROWS, SIZE), (ROWS,))
    theta, deltas, inputs, labels = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return theta, 0.3 * deltas, inputs, labels


def loss_of(theta: Tensor, inputs: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """The share of these rows in the mean squared error over all, and its gradient."""
    error = inputs @ theta - labels
    return float(error @ error) / ROWS, 2 / ROWS * inputs.T @ error


def fit_in_part(rank: int, size: int, folder: Path, options: dict[str, Any]) -> None:
    """One rank of `size`: it holds every size-th delta and dev row; the step, the gradient, and n slopes are summed."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    theta, deltas, inputs, labels = problem()
    mine = slice(rank, None, size)
    deltas, inputs, labels = deltas[mine].clone(), inputs[mine], labels[mine]

    def summed(part: Tensor) -> Tensor:
        dist.all_reduce(part)
        return part

    def spread(values: Tensor) -> Tensor:
        whole = torch.zeros(COUNT, dtype=torch.float64)
        whole[mine] = values
        return summed(whole)

    def evaluate(alpha: Tensor) -> tuple[float, Tensor]:
        loss, gradient = loss_of(theta + summed(alpha[mine] @ deltas), inputs, labels)
        whole = summed(torch.cat([torch.tensor([loss], dtype=torch.float64), gradient]))
        return float(whole[0]), spread(deltas @ whole[1:])

    fit = fit_along(evaluate, spread(deltas.norm(dim=1)), precision=torch.float64, **options)
    torch.save(vars(fit), folder / f"{rank}.pt")
    dist.destroy_process_group()
