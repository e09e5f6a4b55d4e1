"""Classifiers loaded by `transformers`, and which of their layers is the output layer.

It is found without a table of architectures, as the layer whose shape depends on the number of labels.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from avil_ray.errors import UserError
from avil_ray.models.text import from_transformers, load_config

log = logging.getLogger(__name__)


def load_classifier(model: str, auto: str, changes: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """A classifier in float32, and the name of its output layer.

    Layers missing in the checkpoint are initialised from PyTorch's generator; their names are logged once.

    Parameters
    ----------
    model
        A folder, or a name on the hub.
    auto
        The class in `transformers` that loads such classifiers, such as "AutoModelForSequenceClassification".
    changes
        Changes to the model's configuration.

    Raises
    ------
    UserError
        It cannot be loaded, or its architecture has no such classifier.
    """
    output = output_layer(model, auto)
    with from_transformers(model) as transformers:
        loader = getattr(transformers, auto)
        loaded, found = loader.from_pretrained(model, dtype=torch.float32, output_loading_info=True, **changes)
    new = sorted(name for name in found["missing_keys"] if not name.startswith(f"{output}."))
    if new:
        _say_new(model, tuple(dict.fromkeys(name.rpartition(".")[0] for name in new)))
    return loaded, output


@cache
def _say_new(model: str, layers: tuple[str, ...]) -> None:
    """Say it once in a process."""
    log.warning("model %s: its checkpoint has no values for %s; initialised randomly", model, ", ".join(layers))


@cache
def output_layer(model: str, auto: str) -> str:
    """The name of a classifier's output layer: the only linear layer whose shape depends on the number of labels.

    Raises
    ------
    UserError
        The model's architecture has no such classifier, or the classifier has no such layer.
    """
    config = load_config(model)
    try:
        two, three = (_without_values(auto, config, labels) for labels in (2, 3))
    except (ValueError, TypeError) as error:
        of = auto.removeprefix("AutoModelFor")
        raise UserError(f"model {model}: transformers has no {of} for model type {config.model_type}") from error
    shapes = {name: parameter.shape for name, parameter in three.named_parameters()}
    differ = [name for name, parameter in two.named_parameters() if parameter.shape != shapes[name]]
    layers = {name.rpartition(".")[0] for name in differ}
    layer = next(iter(layers), "")
    if len(layers) != 1 or not isinstance(two.get_submodule(layer), nn.Linear):
        raise UserError(f"model {model}: its classifier does not end in one linear layer; use another model")
    return layer


def _without_values(auto: str, config: Any, labels: int) -> nn.Module:
    """A classifier for `labels` labels with shapes but no values; leaves the generators unchanged."""
    import transformers

    changed = copy.deepcopy(config)
    changed.num_labels = labels
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        found: nn.Module = getattr(transformers, auto).from_config(changed)
    return found
