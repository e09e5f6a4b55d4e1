"""Exports a trained text or token classifier as a folder that `transformers` can load without this library."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from avil_ray.errors import UserError, shown
from avil_ray.models.alignment import AlignedHead, AlignedModel, first_layer
from avil_ray.models.classifiers import ClassifierTrunk, Output, merge_adapters, restored
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.text import load_tokenizer, quiet_transformers
from avil_ray.models.words import encode_words

TEXTS_AT_A_TIME = 64
"""The number of texts per forward pass."""

AUTO = {"tokens": "AutoModelForTokenClassification"}
"""Output kind -> the class that loads its classifier; `WHOLE_TEXTS` for other kinds."""
WHOLE_TEXTS = "AutoModelForSequenceClassification"

Answer = dict[str, Any]
"""The prediction for an example: `prediction` (a label, labels, or a number), and each `probability/<label>`."""


@dataclass(frozen=True)
class TextExporter:
    """Saves a classifier with its tokenizer, as `save_pretrained` does; its configuration contains the labels' names.

    Parameters
    ----------
    model
        The folder or hub name of the encoder.
    output
        The output of the target's head.
    columns
        The columns of a file that make up each text: one group of columns, or two for pairs of texts.
    max_length
        Tokens of a text; longer ones are truncated.
    merge
        Whether to merge LoRA adapters into the encoder's weights. Otherwise only they are saved, as by PEFT, and the
        encoder is loaded from `model`.
    """

    reader: ClassVar[str] = "text"

    model: str
    output: Output
    columns: tuple[tuple[str, ...], ...]
    max_length: int
    merge: bool = True

    def save(self, model: nn.Module, target: str, folder: Path) -> Mapping[str, Any]:
        """See `Exporter.save`."""
        plain = classifier_of(model, target)
        classifier = restored(plain, target, self.output)
        adapters = getattr(classifier.base_model, "peft_config", None)
        if adapters is not None and not self.merge:
            if plain is not model:
                raise UserError("merge: false cannot store alignment matrices; use merge: true")
            self._save_adapters(classifier, adapters["default"], folder)
        else:
            if adapters is not None:
                merge_adapters(classifier)
            with quiet_transformers(bars=False):
                classifier.save_pretrained(folder)
        tokenizer, _ = load_tokenizer(self.model, self.max_length)
        tokenizer.model_max_length = self.max_length
        tokenizer.save_pretrained(folder)
        return {**asdict(self.output), "columns": self.columns, "max_length": self.max_length}

    def _save_adapters(self, classifier: Any, injected: Any, folder: Path) -> None:
        """Write what `PeftModel.save_pretrained` would: adapters, and the other trained layers."""
        import peft
        from safetensors.torch import save_file

        encoder = set(classifier.base_model.parameters())
        new = [name for name, layer in classifier.named_children() if encoder.isdisjoint(layer.parameters())]
        new = [name for name in new if list(classifier.get_submodule(name).parameters())]
        pooled = getattr(classifier.base_model, "pooler", None) is not None
        whole = [*new, *(["pooler"] if pooled else [])]
        settings = copy.deepcopy(injected)
        settings.task_type = peft.TaskType.TOKEN_CLS if self.output.kind == "tokens" else peft.TaskType.SEQ_CLS
        settings.base_model_name_or_path, settings.modules_to_save, settings.inference_mode = self.model, whole, True
        settings.save_pretrained(folder)
        tensors = {
            f"base_model.model.{name.replace('.default.', '.')}": tensor.clone()
            for name, tensor in classifier.state_dict().items()
            if "lora_" in name or not {*whole}.isdisjoint(name.split("."))
        }
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
        classifier.config.save_pretrained(folder)


def classifier_of(model: nn.Module, target: str) -> MultitaskModel:
    """The model, with the target's alignment matrix (if a method has added any) merged into its embeddings.

    Raises
    ------
    UserError
        A method has changed the model in a way that `transformers` cannot represent.
    """
    if isinstance(model, AlignedModel) and isinstance(model.trunk, ClassifierTrunk):
        trunk, own = copy.deepcopy(model.trunk), model.heads[target]
        assert isinstance(own, AlignedHead)
        embeddings = first_layer(trunk)
        if isinstance(embeddings, nn.Embedding):
            with torch.no_grad():
                embeddings.weight.copy_(own.alignment(embeddings.weight))
            return MultitaskModel(trunk, {target: own.head})
    if not (isinstance(model, MultitaskModel) and isinstance(model.trunk, ClassifierTrunk)):
        raise UserError(
            f"the method has made a {type(model).__name__} of the suite's model, which has no export format"
        )
    return model


def answers_of(outputs: Tensor, output: Output) -> Iterator[Answer]:
    """The predictions given by a model's outputs [B, classes] or [B]."""
    outputs = outputs.double()
    if output.kind == "regression":
        yield from ({"prediction": value} for value in outputs.tolist())
        return
    several = output.kind == "multi-label"
    for values in (outputs.sigmoid() if several else outputs.softmax(dim=-1)).tolist():
        probabilities = dict(zip(output.labels, values, strict=True))
        chosen = [label for label, value in probabilities.items() if value > 0.5]
        best = max(probabilities, key=probabilities.__getitem__)
        named = {f"probability/{label}": value for label, value in probabilities.items()}
        yield {"prediction": chosen if several else best, **named}


class TextPredictor(nn.Module):
    """A classifier of texts or of their words, with its tokenizer, in evaluation mode.

    Parameters
    ----------
    model, tokenizer
        As `transformers` loads them.
    output
        Its output.
    columns
        The columns of a file that make up each text; two groups for pairs of texts.
    max_length
        Tokens of a text; longer ones are truncated.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        output: Output,
        columns: Sequence[Sequence[str]],
        max_length: int,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.output = model, tokenizer, output
        self.columns, self.max_length = columns, max_length

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The outputs for token ids, as from `Result.model()`: [B, classes], [B], or [B, length, classes]."""
        outputs: Tensor = self.model(**{name: tensor for name, tensor in inputs.items() if name != "words"}).logits
        return outputs.squeeze(-1) if self.output.kind == "regression" else outputs

    def predict(self, texts: Sequence[Any], pairs: Sequence[str] | None = None) -> list[Answer]:
        """The prediction for each text.

        Parameters
        ----------
        texts
            Texts; if words have labels, lists of words or texts with spaces between words.
        pairs
            The second text of each pair, if the model was trained on pairs.

        Raises
        ------
        UserError
            Texts have the wrong form, or there are too few or too many second texts.
        """
        tokens = self.output.kind == "tokens"
        rows: list[Any] = [text.split() if tokens and isinstance(text, str) else text for text in texts]
        for number, row in enumerate(rows, start=1):
            right = all(isinstance(word, str) for word in row) if tokens else isinstance(row, str) and row.strip()
            if not right:
                raise UserError(f"text {number} must be {'a list of words' if tokens else 'text'}, not {shown(row)}")
        in_pairs = len(self.columns) > 1
        if in_pairs != (pairs is not None) or len(pairs or rows) != len(rows):
            needed = "a second text for each" if in_pairs else "texts alone, not pairs"
            raise UserError(
                f"the model takes {needed}; {len(rows)} texts and {len(pairs or ())} second texts are given"
            )
        found: list[Answer] = []
        for start in range(0, len(rows), TEXTS_AT_A_TIME):
            part = slice(start, start + TEXTS_AT_A_TIME)
            found += self._tagged(rows[part]) if tokens else self._answers(rows[part], pairs and pairs[part])
        return found

    @torch.no_grad()
    def _outputs(self, encoded: Any) -> Tensor:
        """The outputs for the texts of one pass, padded to the longest."""
        outputs: Tensor = self(self.tokenizer.pad(encoded, return_tensors="pt"))
        return outputs

    def _answers(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Iterator[Answer]:
        encoded = self.tokenizer(list(texts), pairs and list(pairs), truncation=True, max_length=self.max_length)
        return answers_of(self._outputs(encoded), self.output)

    def _tagged(self, rows: Sequence[Sequence[str]]) -> Iterator[Answer]:
        """A label for each word; the rest of a sentence that is too long is treated as another sentence."""
        found: list[list[str]] = [[] for _ in rows]
        while waiting := [row for row, words in enumerate(rows) if len(found[row]) < len(words)]:
            rest = [rows[row][len(found[row]) :] for row in waiting]
            encoded, places = encode_words(self.tokenizer, rest, self.max_length)
            classes = self._outputs(encoded).argmax(dim=-1).tolist()
            for row, numbers, there in zip(waiting, classes, places, strict=True):
                found[row] += [self.output.labels[numbers[place]] for place in there or [0]]
        return ({"prediction": tags} for tags in found)


def load_text(folder: Path, facts: Mapping[str, Any]) -> TextPredictor:
    """Load what `TextExporter` has saved; `facts` is what it returned."""
    output = Output(facts["kind"], tuple(facts["labels"]))
    with quiet_transformers(bars=False) as transformers:
        auto = getattr(transformers, AUTO.get(output.kind, WHOLE_TEXTS))
        if (folder / "adapter_config.json").exists():
            model = _with_saved_adapters(auto, folder)
        else:
            model = auto.from_pretrained(folder, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return TextPredictor(model, tokenizer, output, facts["columns"], facts["max_length"]).eval()


def _with_saved_adapters(auto: Any, folder: Path) -> Any:
    import peft
    import transformers

    base = peft.PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    config = transformers.AutoConfig.from_pretrained(folder)
    classifier = auto.from_pretrained(base, config=config, dtype=torch.float32)
    with warnings.catch_warnings():
        # peft uses an old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return peft.PeftModel.from_pretrained(classifier, str(folder))
