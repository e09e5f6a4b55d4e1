"""Transformer classifiers for several tasks: a shared body, and the architecture's output layer for each task.

A classifier in `transformers` (such as `AutoModelForSequenceClassification`) consists of an encoder, some
architecture-specific layers (pooler, dense layer, dropout), and an output layer. Everything except the output layer is
the trunk, which the tasks share; a task's head is an output layer of the same form. So a trained task becomes an
ordinary classifier with the same predictions once its head is put back (`restored`), and `transformers` alone can load
it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from avil_ray.errors import UserError
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.pretrained_classifier import load_classifier
from avil_ray.models.text import Lora, fewer_layers, load_tokenizer, with_adapters

Peft = Literal["none", "lora", "frozen"]
"""Which part of a trunk is trained: all of it, adapters in the encoder, or nothing of the encoder."""

Kind = Literal["classes", "multi-label", "regression", "tokens"]

PROBLEMS = {
    "classes": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
"""The kinds' names in configurations of `transformers`."""

WHOLE, WORDS = "whole", "words"
"""The possible classifiers of a trunk: of whole texts or images, and of each token."""


@dataclass(frozen=True)
class Output:
    """The output of a task's head.

    Parameters
    ----------
    kind
        classes: [B, classes]; multi-label: [B, labels], one logit each; regression: [B]; tokens: [B, length, classes].
    labels
        The names of the classes or labels, in the order of the outputs; for regression, the name of the number.
    """

    kind: Kind
    labels: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each number in the output layer."""
        return (self.labels or ("value",))[:1] if self.kind == "regression" else self.labels


class NumberHead(nn.Linear):
    """An output layer with one number per example: [B, width] -> [B]."""

    def forward(self, features: Tensor) -> Tensor:
        """The numbers for a batch of features."""
        return super().forward(features).squeeze(-1)


class Classifier(nn.Module):
    """A `transformers` classifier without its output layer: a batch -> the features that the layer would receive.

    Parameters
    ----------
    model
        The whole classifier; its output layer is removed.
    output
        The name of that layer.
    """

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        layer = model.get_submodule(output)
        assert isinstance(layer, nn.Linear)
        self.output, self.width, self.bias = output, layer.in_features, layer.bias is not None
        model.set_submodule(output, nn.Identity())
        self.model = model
        self.pooled = self.pooler is not None

    @property
    def encoder(self) -> nn.Module:
        """The part stored in an encoder's checkpoint; the whole model if there is no separate module for it."""
        model: Any = self.model
        encoder: nn.Module = model.base_model
        return encoder

    def rest(self) -> list[nn.Parameter]:
        """The parameters between the encoder's states and the output layer."""
        pooled = set() if self.pooler is None else set(self.pooler.parameters())
        of_encoder = set(self.encoder.parameters()) - pooled
        return [parameter for parameter in self.model.parameters() if parameter not in of_encoder]

    @property
    def pooler(self) -> nn.Module | None:
        """The encoder's layer that pools the states of all tokens into one vector, if there is one."""
        found = getattr(self.encoder, "pooler", None)
        return found if isinstance(found, nn.Module) else None

    def share(self, other: Classifier) -> None:
        """Use the other classifier's encoder, without its pooler."""
        model: Any = self.model
        self.pooled = self.pooler is not None
        setattr(model, model.base_model_prefix, other.encoder)

    def head(self, output: Output) -> nn.Linear:
        """A new output layer, initialised as usual for the architecture."""
        kind = NumberHead if output.kind == "regression" else nn.Linear
        layer = kind(self.width, len(output.names), bias=self.bias)
        model: Any = self.model
        model._init_weights(layer)  # noqa: SLF001 (the only way to an architecture's own initialisation)
        return layer

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The features [B, width], or [B, length, width] for tokens."""
        features: Tensor = self.model(**batch).logits
        return features


class ClassifierTrunk(nn.Module):
    """The part of the classifiers that tasks share: a batch -> features.

    A batch is a tensor of images, or a mapping of integer tensors [B, length] for texts. If the mapping has a tensor
    `words`, each token has its own features, otherwise the text as a whole.

    Parameters
    ----------
    classifiers
        The classifier of whole texts or images (`whole`), the one of tokens (`words`), or both with a shared encoder.
    frozen
        Whether the encoder is frozen: it is then always in evaluation mode.
    """

    def __init__(self, classifiers: Mapping[str, Classifier], *, frozen: bool = False) -> None:
        super().__init__()
        for name, classifier in classifiers.items():
            self.add_module(name, classifier)
        self.frozen = frozen

    def of(self, output: Output) -> Classifier:
        """The classifier whose features a task's head receives."""
        found = self.get_submodule(WORDS if output.kind == "tokens" else WHOLE)
        assert isinstance(found, Classifier)
        return found

    def train(self, mode: bool = True) -> ClassifierTrunk:
        """See `nn.Module.train`."""
        super().train(mode)
        for classifier in self.children() if self.frozen else ():
            assert isinstance(classifier, Classifier)
            classifier.encoder.eval()
        return self

    def forward(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
        """The features of a batch."""
        batch = {"pixel_values": inputs} if isinstance(inputs, Tensor) else dict(inputs)
        name = WORDS if batch.pop("words", None) is not None else WHOLE
        features: Tensor = self.get_submodule(name)(batch)
        return features


def text_model(
    model: str,
    outputs: Mapping[str, Output],
    *,
    peft: Peft = "none",
    lora: Lora | None = None,
    layers: int | None = None,
) -> MultitaskModel:
    """Classifiers of texts and of their tokens with a shared encoder; new parameters come from PyTorch's generator.

    Parameters
    ----------
    model
        A folder or a name on the hub: an encoder, or a decoder (a text's features are then those of its last token,
        with padding at the end).
    outputs
        Task -> the output of its head.
    peft, lora
        Which part of the encoder is trained; `lora` configures adapters, by default the standard ones.
    layers
        Use only the encoder's first `layers` layers; None: all.

    Raises
    ------
    UserError
        The model cannot be loaded, its architecture has no such classifier, or no shared parameter would be trained.
    """
    fewer = fewer_layers(model, layers)
    of_tokens = [output.kind == "tokens" for output in outputs.values()]
    classifiers = {}
    if not all(of_tokens):
        classifiers[WHOLE] = Classifier(*load_classifier(model, "AutoModelForSequenceClassification", fewer))
    if any(of_tokens):
        classifiers[WORDS] = Classifier(*load_classifier(model, "AutoModelForTokenClassification", fewer))
    padding = load_tokenizer(model)[0].pad_token_id
    for classifier in classifiers.values():
        config: Any = classifier.model.config
        config.pad_token_id = padding  # decoders use the last token before it
    return _multitask(model, classifiers, outputs, peft, lora)


def image_model(
    model: str, outputs: Mapping[str, Output], *, peft: Peft = "none", lora: Lora | None = None
) -> MultitaskModel:
    """Classifiers of images [B, channels, height, width] with a shared encoder; otherwise as `text_model`."""
    classifiers = {WHOLE: Classifier(*load_classifier(model, "AutoModelForImageClassification", {}))}
    return _multitask(model, classifiers, outputs, peft, lora)


def _multitask(
    model: str, classifiers: Mapping[str, Classifier], outputs: Mapping[str, Output], peft: Peft, lora: Lora | None
) -> MultitaskModel:
    if len(classifiers) == len((WHOLE, WORDS)):
        _share(model, classifiers[WHOLE], classifiers[WORDS])
    first = next(iter(classifiers.values()))
    if peft == "lora":
        with_adapters(first.encoder, lora or Lora(), model)
    elif peft == "frozen":
        first.encoder.requires_grad_(False)
    rest = [parameter for classifier in classifiers.values() for parameter in classifier.rest()]
    for parameter in rest:
        parameter.requires_grad_(True)
    if peft == "frozen" and not rest:
        raise UserError(
            f"model {model}: peft: frozen leaves no shared parameters to train, as its classifier has no layer "
            "between the encoder and the output layer; give peft: lora or none"
        )
    trunk = ClassifierTrunk(classifiers, frozen=peft == "frozen")
    return MultitaskModel(trunk, {task: trunk.of(output).head(output) for task, output in outputs.items()})


def _share(model: str, whole: Classifier, words: Classifier) -> None:
    """Make the token classifier use the text classifier's encoder; `UserError` if that lacks parts of it."""
    shapes = {name: parameter.shape for name, parameter in whole.encoder.named_parameters()}
    same = all(shapes.get(name) == parameter.shape for name, parameter in words.encoder.named_parameters())
    if not same or words.encoder is words.model:
        raise UserError(
            f"model {model}: its classifiers of texts and of tokens have no common encoder; give another model, or "
            "tasks of one kind"
        )
    words.share(whole)


def restored(model: MultitaskModel, task: str, output: Output) -> Any:
    """A task's classifier as a `transformers` model in evaluation mode: a copy with the task's head put back.

    Adapters are kept (see `merge_adapters`); its configuration contains the labels' names.
    """
    trunk = model.trunk
    assert isinstance(trunk, ClassifierTrunk)
    classifier, head = copy.deepcopy(trunk.of(output)).cpu(), copy.deepcopy(model.heads[task]).cpu()
    layer = nn.Linear(classifier.width, len(output.names), bias=classifier.bias)
    layer.load_state_dict(head.state_dict())
    whole: Any = classifier.model
    whole.set_submodule(classifier.output, layer)
    if classifier.pooler is not None and not classifier.pooled:
        whole.base_model.pooler = None
    whole.config.id2label = dict(enumerate(output.names))
    whole.config.label2id = {label: number for number, label in enumerate(output.names)}
    whole.config.problem_type = PROBLEMS.get(output.kind)
    return whole.eval()


def merge_adapters(model: nn.Module) -> None:
    """Merge LoRA adapters into the weights they belong to, and remove them from the model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            model.set_submodule(name, layer.get_base_layer())
