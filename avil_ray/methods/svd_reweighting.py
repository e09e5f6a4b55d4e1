"""SVD reweighting: weights computed from the data alone, once, before training.

    theta_i = X_i^T Y_i / n_i              what a linear model would learn from task i's n_i examples, [d, columns]
    U_r     = the first r left singular vectors of [theta_1 ... theta_k]        the directions shared by the tasks
    alpha_i = ||theta_i^T U_r||            w_i = k alpha_i / (alpha_1 + ... + alpha_k)

Source: Wu, Zhang, Re, "Understanding and Improving Information Transfer in Multi-Task Learning", ICLR 2020, arXiv
2005.00944, Algorithm 2, as in the submission; its appendix and the authors' code were not available. Every task's loss
is weighted, including the target's, and the weights stay constant: neither dev examples nor the target have a special
role.

Where this differs from the paper:

- Rank: r is a hyperparameter of the paper, which gives no value. The default is the number of directions that the
  target's own labels need: one less than its number of classes, 1 for regression. With r as large as the number of
  columns, alpha_i is the norm of theta_i.
- Columns: labels in the paper are single numbers y. Here, each class becomes one column of 0 and 1, and alpha_i is then
  a Frobenius norm; for two classes (scaled), this equals the result for a single column.
- Centring: none in the paper's text. Here a task's inputs and labels are centred first (`centred`), as otherwise
  theta_i mostly reflects the class frequencies.
- Scaling: none in the paper's text. Here each input dimension is divided by its standard deviation over all tasks'
  examples, and a task's labels by theirs (the root of the columns' summed variances; `scaled`), so that the units of
  inputs and labels do not matter.
- Normalisation: the paper uses alpha_i directly. Here the mean weight is 1, so the learning rate keeps its meaning.
- Examples: in the paper the tasks share X. Here each has its own, and theta_i is divided by their number, so that a
  large task does not get a large weight.
- X is the model's inputs, flattened; for images the paper's text leaves open whether these or features are meant.

A norm has no sign: a task whose labels are the target's, inverted, is weighted like a helpful one. With its own head it
may even help, but with a shared head it harms. On the synthetic suite with a shared head, one helpful and one harmful
task, the method ends about 8 points of accuracy below the target alone, near equal weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Doc

from avil_ray.errors import UserError
from avil_ray.learning.passes import Source
from avil_ray.methods.joint import FixedWeights, Weights
from avil_ray.methods.method import Setting
from avil_ray.option_values import AtLeast
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.losses import of_classes

BLOCK = 1024
"""The number of examples whose inputs are held in float64 at a time."""

ROUNDING = 1e-12
"""A variance below this fraction of the mean square counts as zero: the values are constant."""


@dataclass(frozen=True, kw_only=True)
class SVDReweighting(FixedWeights):
    """Fixed weights from the data: how much of a task's X^T y lies in directions shared by the tasks.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.SVDReweighting(rank=1), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "Wu, Zhang, Re, ICLR 2020, arXiv 2005.00944, Algorithm 2"

    rank: Annotated[
        int | None,
        AtLeast(1),
        Doc("number of shared directions; default: the target's classes minus one (1 for regression)"),
    ] = None
    centred: Annotated[bool, Doc("subtract the means of inputs and labels first; the paper does not")] = True
    scaled: Annotated[bool, Doc("divide inputs and labels by their standard deviations first; the paper does not")] = (
        True
    )

    def start(self, setting: Setting) -> Weights:
        """The weights, from the tasks' train examples (and the target's dev examples, if used for training)."""
        sources = {name: Source(task, "train") for name, task in setting.tasks.items()}
        target = setting.tasks[setting.suite.target]
        if self.dev == "train" and target.dev is not None:
            sources[target.name] = Source(target, "train", "dev")
        moments = {name: _moments(source) for name, source in sources.items()}
        if len({len(found.inputs) for found in moments.values()}) > 1:
            sizes = ", ".join(f"{name} {len(found.inputs)}" for name, found in moments.items())
            raise UserError(f"svd-reweighting: all tasks need the same number of inputs per example, but have {sizes}")
        rank = self.rank or max(1, len(moments[target.name].labels) - 1)
        return Weights(_weights(self._thetas(moments), rank))

    def _thetas(self, moments: Mapping[str, Moments]) -> dict[str, Tensor]:
        """Task -> theta_i [d, columns]."""
        deviations = _deviations(moments) if self.scaled else torch.ones(1, dtype=torch.float64)
        thetas = {}
        for name, found in moments.items():
            theta = found.covariance if self.centred else found.products
            spread = found.label_deviation if self.scaled else 1.0
            thetas[name] = theta / deviations[:, None] / spread if spread else torch.zeros_like(theta)
            if not bool(torch.isfinite(thetas[name]).all()):
                raise UserError(f"svd-reweighting: an input of task {name!r} is not a finite number")
        return thetas


@dataclass(frozen=True)
class Moments:
    """The means over a task's `count` examples from which theta_i is computed, in float64.

    Attributes
    ----------
    inputs, squares
        The means of each input dimension and of its square, [d].
    labels, label_squares
        The same for the label columns, [columns].
    products
        The mean of input times label, [d, columns].
    """

    count: int
    inputs: Tensor
    squares: Tensor
    labels: Tensor
    label_squares: Tensor
    products: Tensor

    @property
    def covariance(self) -> Tensor:
        """The covariance of inputs and labels, [d, columns]."""
        return self.products - torch.outer(self.inputs, self.labels)

    @property
    def label_deviation(self) -> float:
        """The root of the summed variances of the label columns; 0 if labels are constant."""
        variance, square = (self.label_squares - self.labels**2).sum(), self.label_squares.sum()
        return float(variance.sqrt()) if variance > ROUNDING * square else 0.0


def _labels(source: Source) -> Tensor:
    """The labels [N], one per example, all in memory."""
    data = source.data
    if isinstance(data, Examples) and isinstance(data.labels, Tensor) and data.labels.ndim == 1:
        return data.labels
    hint = "needs avil_ray.Examples with one label each, as the weights come from all examples at once"
    raise UserError(f"svd-reweighting: task {source.task.name!r} {hint}")


def _moments(source: Source) -> Moments:
    values = _labels(source)  # [N, columns]: a column for each class, or the number itself
    columns = (F.one_hot(values) if of_classes(source.task.loss) else values[:, None]).double()
    sums: list[Tensor] = []
    for rows, inputs in _blocks(source):
        labels = columns[rows]
        parts = [inputs.sum(0), (inputs**2).sum(0), inputs.T @ labels]
        sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
    inputs, squares, products = (total / len(source) for total in sums)
    return Moments(len(source), inputs, squares, columns.mean(0), (columns**2).mean(0), products)


def _blocks(source: Source) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and their flattened inputs [block, d]; in blocks, as images may be read lazily."""
    for rows in torch.arange(len(source)).split(BLOCK):
        inputs = source.batch(rows).inputs
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            hint, name = "train on fixed features instead (of texts: features: frozen)", source.task.name
            raise UserError(
                f"svd-reweighting: the inputs of task {name!r} are token ids or other whole numbers, but X^T y "
                f"needs numbers that can be multiplied; {hint}"
            )
        yield rows, inputs.flatten(1).double()


def _deviations(moments: Mapping[str, Moments]) -> Tensor:
    """The standard deviation of each input dimension over all tasks' examples [d]; 1 for constant ones."""
    counts = torch.tensor([float(found.count) for found in moments.values()], dtype=torch.float64)
    shares = counts / counts.sum()
    mean = shares @ torch.stack([found.inputs for found in moments.values()])
    square = shares @ torch.stack([found.squares for found in moments.values()])
    variance = square - mean**2
    return torch.where(variance > ROUNDING * square, variance, 1.0).sqrt()


def _weights(thetas: Mapping[str, Tensor], rank: int) -> dict[str, float]:
    """w_i, with mean 1; the signs of singular vectors do not matter."""
    vectors, _, _ = torch.linalg.svd(torch.cat(list(thetas.values()), dim=1), full_matrices=False)
    shared = vectors[:, :rank]
    alphas = {name: float((theta.T @ shared).norm()) for name, theta in thetas.items()}
    total = sum(alphas.values())
    if not total > 0:
        raise UserError("svd-reweighting: no task's labels vary with its inputs, so all weights are 0; use equal")
    return {name: len(alphas) * alpha / total for name, alpha in alphas.items()}
