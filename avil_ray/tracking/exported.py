"""A trained model in MLflow's format as a traced graph: it loads without this library's code and without pickle."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from avil_ray.errors import WorkFailed
from avil_ray.tracking.store import first_line, quiet

FORMAT = "pt2"


class ByPosition(nn.Module):
    """A module that takes a mapping of tensors, as one that takes the tensors one after the other (MLflow's format)."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(
        self, first: Tensor, second: Tensor | None = None, third: Tensor | None = None, fourth: Tensor | None = None
    ) -> Tensor:
        """The module's outputs for the tensors, given in the order of `names`; MLflow cannot trace `*tensors`."""
        given = [tensor for tensor in (first, second, third, fourth) if tensor is not None]
        outputs: Tensor = self.module(dict(zip(self.names, given, strict=True)))
        return outputs


def export_model(module: nn.Module, example_input: Tensor | Mapping[str, Tensor], folder: Path) -> None:
    """Save `module` in MLflow's format into `folder`, which must not exist yet.

    The saved model is on the CPU, in evaluation mode, and takes any number of examples; integer inputs (token ids) may
    have any length too. One tensor can also be served (`mlflow models serve`); of a mapping the tensors are taken by
    position, in its order, which the model's signature names.

    Parameters
    ----------
    module
        `module(example_input)` -> outputs [B, …]. It is not changed.
    example_input
        A tensor [B, …] or a mapping of up to four, B >= 1; two examples of it are enough and used.
    folder
        Where to.

    Raises
    ------
    WorkFailed
        The module cannot be traced (its Python code depends on the data, say).
    """
    named = {"inputs": example_input} if isinstance(example_input, Tensor) else dict(example_input)
    module = copy.deepcopy(module).cpu().eval()
    if not isinstance(example_input, Tensor):
        module = ByPosition(module, tuple(named)).eval()
    tensors = {name: _two(tensor) for name, tensor in named.items()}
    try:
        with torch.no_grad():
            outputs: Tensor = module(*tensors.values())
        _save(module, tensors, outputs, folder)
    except Exception as error:  # tracing runs the user's code, and reports what it cannot follow in many ways
        raise WorkFailed(f"the model cannot be exported: {first_line(error)}") from error


def _two(tensor: Tensor) -> Tensor:
    """Two examples: with one alone, tracing would take the batch for a constant of 1."""
    tensor = tensor.detach().cpu()
    return torch.cat([tensor, tensor])[:2] if len(tensor) == 1 else tensor[:2]


def _save(module: nn.Module, tensors: Mapping[str, Tensor], outputs: Tensor, folder: Path) -> None:
    with quiet():
        import mlflow
        import mlflow.pytorch
        from mlflow.models import ModelSignature
        from mlflow.types.schema import ColSpec, Schema, TensorSpec

        one = len(tensors) == 1
        inputs: list[ColSpec | TensorSpec] = [
            TensorSpec(_dtype(tensor), _shape(tensor), None if one else name) for name, tensor in tensors.items()
        ]
        output = TensorSpec(_dtype(outputs), (-1, *outputs.shape[1:]))
        arrays = tuple(tensor.numpy() for tensor in tensors.values())
        mlflow.pytorch.save_model(
            module,
            str(folder),
            input_example=arrays[0] if one else arrays,
            signature=ModelSignature(Schema(inputs), Schema([output])),
            serialization_format=FORMAT,
            # given, as MLflow would otherwise load the model in a process of its own to see what it imports
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"mlflow=={mlflow.__version__}"],
        )


def _dtype(tensor: Tensor) -> np.dtype:
    return np.dtype(str(tensor.dtype).removeprefix("torch."))


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """-1 where a size may differ: the batch, and every other size of integers, as these are sequences of token ids."""
    free = not tensor.is_floating_point()
    return (-1, *(-1 if free else size for size in tensor.shape[1:]))
