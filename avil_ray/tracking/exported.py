"""Trained models in MLflow's format, which load without this library's code and without pickle.

A classifier of texts is a pipeline of `transformers`, strings in and labels out; any other model is a traced graph.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from avil_ray.errors import WorkFailed
from avil_ray.tracking.store import first_line, quiet

FORMAT = "pt2"


@dataclass(frozen=True)
class Packed:
    """What a run gets of a trained model.

    Parameters
    ----------
    model
        A folder in MLflow's format; None where the model cannot be brought into it.
    files
        What the run keeps beside it: named weights, and what they are.
    trouble
        Why there is no model.
    """

    model: Path | None
    files: tuple[Path, ...] = ()
    trouble: str = ""


def pack_model(
    module: nn.Module, example_input: Tensor | Mapping[str, Tensor], folder: Path, files: Sequence[Path] = ()
) -> Packed:
    """The module in MLflow's format, as `folder / "model"`; one that cannot be exported is no reason to fail."""
    try:
        export_model(module, example_input, folder / "model")
    except WorkFailed as error:
        return Packed(None, tuple(files), str(error))
    return Packed(folder / "model", tuple(files))


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


def export_pipeline(classifier: Path, of_words: bool, pairs: bool, folder: Path) -> None:
    """Save a classifier of texts in MLflow's format into `folder`, which must not exist yet.

    `mlflow.pyfunc.load_model(folder).predict(["a text"])` gives a label and its score for each text; the tags of all
    its tokens, `O` among them, where words have labels. Pairs are given as `{"text": …, "text_pair": …}`.

    Parameters
    ----------
    classifier
        A folder as `save_pretrained` writes it, with its tokenizer.
    of_words
        Whether it labels words.
    pairs
        Whether it reads pairs of texts.
    """
    task = "token-classification" if of_words else "text-classification"
    with quiet():
        import mlflow
        import mlflow.transformers
        import transformers
        from huggingface_hub import ModelCard
        from mlflow.models import ModelSignature
        from mlflow.types.schema import ColSpec, Schema, TensorSpec

        make: Any = transformers.pipeline
        pipeline = make(task, model=str(classifier), tokenizer=str(classifier), device="cpu")
        several = pipeline.model.config.problem_type == "multi_label_classification"
        columns: list[ColSpec | TensorSpec] = (
            [ColSpec("string", "text"), ColSpec("string", "text_pair")] if pairs else [ColSpec("string")]
        )
        outputs: list[ColSpec | TensorSpec] = (
            [ColSpec("string")] if of_words else [ColSpec("string", "label"), ColSpec("double", "score")]
        )
        settings: dict[str, Any] = {"ignore_labels": []} if of_words else {"truncation": True}
        if several:
            settings["top_k"] = None
        mlflow.transformers.save_model(
            pipeline,
            str(folder),
            task=task,
            signature=ModelSignature(Schema(columns), None if several else Schema(outputs)),
            input_example=[{"text": "A first text.", "text_pair": "A second text."}] if pairs else ["A text."],
            model_config=settings,
            # given, as MLflow would otherwise ask the hub for one, and load the model to see what it imports
            model_card=ModelCard("---\nlibrary_name: transformers\n---\n"),
            pip_requirements=[
                f"{name}=={version.split('+')[0]}"
                for name, version in (
                    ("torch", torch.__version__),
                    ("transformers", transformers.__version__),
                    ("mlflow", mlflow.__version__),
                )
            ],
        )


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
