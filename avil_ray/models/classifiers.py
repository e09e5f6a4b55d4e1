"""Classifiers of transformers for several tasks: a shared body, and the architecture's own output layer for each task.

A classifier of `transformers` (`AutoModelForSequenceClassification`, say) is an encoder, some layers of its kind
(pooler, dense layer, dropout), and an output layer. All but the output layer is the trunk, which the tasks share; a
task's head is an output layer of the same form. So a trained task is an ordinary classifier once its head is put back
(`restored`), with the same predictions, and `transformers` alone can load it.
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
"""What of a trunk trains: all of it, adapters in the encoder, or nothing of the encoder."""

Kind = Literal["classes", "multi-label", "regression", "tokens"]

PROBLEMS = {
    "classes": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
"""What a configuration of `transformers` calls the kinds."""

WHOLE, WORDS = "whole", "words"
"""The classifiers that a trunk may have: of a whole text or image, and of each token."""


@dataclass(frozen=True)
class Output:
    """What a task's head answers.

    Parameters
    ----------
    kind
        classes: [B, classes]; multi-label: [B, labels], one logit each; regression: [B]; tokens: [B, length, classes].
    labels
        The names of the classes or labels, in the order of the outputs; of a regression the name of the number.
    """

    kind: Kind
    labels: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What each number of the output layer is called."""
        return (self.labels or ("value",))[:1] if self.kind == "regression" else self.labels


class NumberHead(nn.Linear):
    """An output layer of one number for each example: [B, width] -> [B]."""

    def forward(self, features: Tensor) -> Tensor:
        """The numbers for a batch of features."""
        return super().forward(features).squeeze(-1)


class Classifier(nn.Module):
    """A classifier of `transformers` without its output layer: a batch -> the features that the layer would get.

    Parameters
    ----------
    model
        The whole classifier; its output layer is taken out of it.
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
        """What the checkpoint of an encoder holds; the whole model where its kind keeps it in no module of its own."""
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
        """The layer in the encoder that makes one vector of the states of all tokens, where there is one."""
        found = getattr(self.encoder, "pooler", None)
        return found if isinstance(found, nn.Module) else None

    def share(self, other: Classifier) -> None:
        """Use the other classifier's encoder; its pooler is of no use here."""
        model: Any = self.model
        self.pooled = self.pooler is not None
        setattr(model, model.base_model_prefix, other.encoder)

    def head(self, output: Output) -> nn.Linear:
        """A new output layer, with initial values as is usual for the architecture."""
        kind = NumberHead if output.kind == "regression" else nn.Linear
        layer = kind(self.width, len(output.names), bias=self.bias)
        model: Any = self.model
        model._init_weights(layer)  # noqa: SLF001 (what architectures override, and the only way to their values)
        return layer

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The features [B, width], or [B, length, width] of tokens."""
        features: Tensor = self.model(**batch).logits
        return features


class ClassifierTrunk(nn.Module):
    """What several tasks share of their classifiers: a batch -> features.

    A batch is a tensor of images, or a mapping of integer tensors [B, length] for texts. With a tensor `words` in the
    mapping each token has features of its own; without it the text has.

    Parameters
    ----------
    classifiers
        The one of whole texts or images, `whole`, the one of tokens, `words`, or both, with one encoder.
    frozen
        Whether the encoder stays as it is: it is then always in evaluation mode.
    """

    def __init__(self, classifiers: Mapping[str, Classifier], *, frozen: bool = False) -> None:
        super().__init__()
        for name, classifier in classifiers.items():
            self.add_module(name, classifier)
        self.frozen = frozen

    def of(self, output: Output) -> Classifier:
        """The classifier whose features a task's head gets."""
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
    """Classifiers of texts and of their tokens that share an encoder; new values come from PyTorch's generator.

    Parameters
    ----------
    model
        A folder, or a name on the hub: an encoder, or a decoder (a text's features are then those of its last token,
        with the padding at its end).
    outputs
        Task -> what its head answers.
    peft, lora
        What of the encoder trains; `lora` says how adapters are, the usual ones where not given.
    layers
        Only the encoder's first so many layers; None: all.

    Raises
    ------
    UserError
        The model cannot be had, its kind has no such classifier, or nothing that the tasks share would train.
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
        config.pad_token_id = padding  # decoders look for the last token before it
    return _multitask(model, classifiers, outputs, peft, lora)


def image_model(
    model: str, outputs: Mapping[str, Output], *, peft: Peft = "none", lora: Lora | None = None
) -> MultitaskModel:
    """Classifiers of images [B, channels, height, width] that share an encoder; otherwise as `text_model`."""
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
    """Give the classifier of tokens the encoder of the one of texts; `UserError` where that lacks some of it."""
    shapes = {name: parameter.shape for name, parameter in whole.encoder.named_parameters()}
    same = all(shapes.get(name) == parameter.shape for name, parameter in words.encoder.named_parameters())
    if not same or words.encoder is words.model:
        raise UserError(
            f"model {model}: its classifiers of texts and of tokens have no common encoder; give another model, or "
            "tasks of one kind"
        )
    words.share(whole)


def restored(model: MultitaskModel, task: str, output: Output) -> Any:
    """A task's classifier as `transformers` knows it, in evaluation mode: a copy with the task's head put back.

    Adapters stay in it (see `merge_adapters`); its configuration has the labels by name.
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
    """Add LoRA adapters to the weights that they stand beside, and take them out of the model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            model.set_submodule(name, layer.get_base_layer())
