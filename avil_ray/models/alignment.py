"""Covariance alignment's adapter: a matrix for each task between its inputs and the shared trunk.

    Z_t = E_t R_t          outputs = head_t(trunk(Z_t))          R_t = I + S_t, S_t = 0 at the start

Source: Wu, Zhang, Re, "Understanding and Improving Information Transfer in Multi-Task Learning", ICLR 2020, arXiv
2005.00944, Algorithm 1 and Figure 4: R_t is placed after the embedding layer, before the shared module.

E_t are the row vectors at the start of the trunk. If inputs are vectors (a table or fixed features: the trunk begins
with a linear layer), they are the flattened inputs. If inputs are token ids, they are the token embeddings before
positions are added. The paper's text does not say how R_t is applied to images: here it mixes all flattened pixels, as
an image has no embedding before the shared part; images with more than 1,024 numbers are rejected, as the matrix would
be far larger than the trunk.

The paper's text does not give the initial R_t. Here it is the identity, so that a run starts as it would without it;
the parameter is S_t, so weight decay pulls R_t towards the identity and not towards zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn

from avil_ray.errors import UserError
from avil_ray.models.multitask import Heads, MultitaskModel
from avil_ray.models.text import TextEncoder

MOST_PIXELS = 1024
"""The maximum size of images."""


class AlignmentMatrix(nn.Module):
    """Multiplies vectors [..., width] by R = I + S; the parameter S starts at 0, which leaves the vectors unchanged.

    Parameters
    ----------
    width
        Numbers per vector.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width, width))

    def forward(self, vectors: Tensor) -> Tensor:
        """The aligned vectors, [..., width]."""
        return vectors + vectors @ self.shift


class AlignedHead(nn.Module):
    """A task's own parts: its matrix, and its head (if the tasks do not share one)."""

    def __init__(self, alignment: AlignmentMatrix, head: nn.Module) -> None:
        super().__init__()
        self.alignment = alignment
        self.head = head


class AlignedModel(nn.Module):
    """A model for several tasks with an alignment matrix for each: `head_t(trunk(R_t(inputs)))`.

    Both the matrix and the head are named `heads.<task>.…`, so only the task trains them.

    Parameters
    ----------
    model
        The model without matrices; its modules are reused.
    tasks
        Every task's name.

    Raises
    ------
    UserError
        It is not a `MultitaskModel`, or its trunk neither begins with a linear layer or an embedding nor is a trunk for
        small images (with an `input_shape`).
    """

    def __init__(self, model: nn.Module, tasks: Sequence[str]) -> None:
        super().__init__()
        if not isinstance(model, MultitaskModel):
            raise UserError(
                f"alignment: the suite's model must be an avil_ray.MultitaskModel, not {type(model).__name__}"
            )
        self.trunk = model.trunk
        width = _width(self.trunk)
        heads = {task: model.heads[task] if task in model.heads else nn.Identity() for task in tasks}
        self.heads = Heads({task: AlignedHead(AlignmentMatrix(width), head) for task, head in heads.items()})

    def forward(self, inputs: Any, task: str) -> Tensor:
        """The outputs of `task` for a batch, as from the model without matrices."""
        own = cast(AlignedHead, self.heads[task])
        outputs: Tensor = own.head(self._features(inputs, own.alignment))
        return outputs

    def _features(self, inputs: Any, alignment: AlignmentMatrix) -> Tensor:
        first = first_layer(self.trunk)
        features: Tensor
        if not isinstance(first, nn.Embedding):
            features = self.trunk(alignment(inputs.flatten(1)).reshape_as(inputs))
            return features
        # only for this pass, so that the trunk itself stays the same for every task
        hook = first.register_forward_hook(lambda module, given, vectors: alignment(vectors))
        try:
            features = self.trunk(inputs)
        finally:
            hook.remove()
        return features


def aligned_model(build: Callable[[], nn.Module], tasks: Sequence[str]) -> nn.Module:
    """The model made by `build`, with alignment matrices for the tasks; draws no random numbers for them."""
    return AlignedModel(build(), tasks)


def first_layer(trunk: nn.Module) -> nn.Module:
    """The trunk's first layer with parameters, which determines where the matrices are placed."""
    if isinstance(trunk, TextEncoder):
        encoder: Any = trunk.encoder
        embeddings: nn.Module = encoder.get_input_embeddings()
        return embeddings
    return next((one for one in trunk.modules() if list(one.parameters(recurse=False))), trunk)


def _width(trunk: nn.Module) -> int:
    """The width of the vectors that a matrix transforms."""
    first = first_layer(trunk)
    if isinstance(first, nn.Embedding):
        return first.embedding_dim
    if isinstance(first, nn.Linear):
        return first.in_features
    shape = getattr(trunk, "input_shape", None)
    if shape is None:
        raise UserError(
            f"alignment: the suite's trunk begins with {type(first).__name__}, but a task's matrix stands before a "
            "linear layer (on vectors), after an embedding (of tokens), or on images of a trunk that tells their "
            "input_shape; choose another method, or such a trunk"
        )
    if prod(shape) > MOST_PIXELS:
        raise UserError(
            f"alignment: a matrix over all {prod(shape):,} numbers of an image would be larger than most models; give "
            f"images of {MOST_PIXELS:,} numbers at most (size=18, say), or choose another method"
        )
    return prod(shape)
