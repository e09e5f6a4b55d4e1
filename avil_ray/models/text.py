"""Trunks for text: any transformer encoder that `transformers` can load from the hub or a folder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from avil_ray.errors import UserError, at_least, whole
from avil_ray.telemetry import no_calls_home

Pooling = Literal["cls", "mean", "last"]

MARKED = 2
"""The number of marked spans in a text: a task with `marks` also gets the features of each span."""


USUAL_LENGTH = 128
"""The default maximum number of tokens in a text."""

POOLER = r"(.*\.)?pooler\..*"
"""Name patterns of modules within a pooler."""

COUNT_FROM_PADDING = ("camembert", "data2vec-text", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta")
"""Architectures that count positions from the padding id on, so that a few of their positions are unusable."""


class TextEncoder(nn.Module):
    """A transformer encoder as a trunk: a batch of token ids -> one feature vector for each text.

    A batch is a mapping of integer tensors [B, length], or [B, choices, length] if each example has several texts:
    `input_ids` and `attention_mask`, `token_type_ids` if the encoder uses them, and `marks` if spans of the text
    matter: 1 and 2 at the tokens of the two spans, 0 elsewhere. Features are [B, width] or [B, choices, width]; with
    `marks`, the means over both spans follow the text's own features, [B, 3 width].

    Parameters
    ----------
    encoder
        `transformers.AutoModel`, without a pooler.
    pooling
        How a text is represented: by the first token's vector (cls), the mean over its tokens (mean), or the last
        token's vector (last).
    """

    def __init__(self, encoder: nn.Module, pooling: Pooling = "cls") -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The features of a batch of texts."""
        batch = dict(inputs)
        shape = batch["input_ids"].shape
        if len(shape) == 3:  # choices: each is a separate text
            batch = {name: tensor.flatten(0, 1) for name, tensor in batch.items()}
        marks = batch.pop("marks", None)
        states: Tensor = self.encoder(**batch).last_hidden_state
        features = _pooled(states, batch["attention_mask"], self.pooling)
        if marks is not None:
            spans = [masked_mean(states, marks == number) for number in range(1, MARKED + 1)]
            features = torch.cat([features, *spans], dim=-1)
        return features.reshape(shape[0], shape[1], -1) if len(shape) == 3 else features


def _pooled(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector for each text [B, width], from its tokens' states [B, length, width] and mask [B, length]."""
    if pooling == "mean":
        return masked_mean(states, mask)
    if pooling == "cls":
        return states[:, 0]
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), last]


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean of states [B, length, width] over nonzero entries of the mask [B, length]; zeros if there are none."""
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class TextHead(nn.Sequential):
    """Dropout and one linear layer: features -> [B, classes]; with one output, a number per text, [B] or [B, choices].

    Choices are compared by one number each: they are the classes.
    """

    def __init__(self, width: int, outputs: int, dropout: float = 0.1) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, features: Tensor) -> Tensor:
        """The outputs for a batch of features [B, width] or [B, choices, width]."""
        dropout, linear = self
        outputs: Tensor = linear(dropout(features))
        return outputs.squeeze(-1) if outputs.shape[-1] == 1 else outputs


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters instead of full training (Hu et al. 2021, arXiv 2106.09685).

    Parameters
    ----------
    rank
        The rank of each adapter.
    alpha
        Adapters are scaled by alpha / rank.
    dropout
        The fraction of an adapter's inputs dropped in training.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            whole(f"lora_{name}", getattr(self, name), 1)
        at_least("lora_dropout", self.dropout, 0, 1)
        if find_spec("peft") is None:
            raise UserError("peft: lora needs the package peft; run: pip install 'avil-ray[text]'")


def settled_model(where: str, model: str) -> str:
    """A model's hub name unchanged, or the absolute path of its folder, as workers may run in another one.

    Raises
    ------
    UserError
        It looks like a path, but there is no folder with a model.
    """
    if not model.strip():
        raise UserError(f"{where}: model must be a folder, or a name on the hub, not {model!r}")
    path, model = Path(model).expanduser(), str(model)
    if not path.exists() and not model.startswith((".", "/", "~")) and model.count("/") <= 1:
        return model
    if not path.is_dir():
        raise UserError(f"{where}: model {model}: no such folder; give one with a config.json, or a name on the hub")
    if not (path / "config.json").is_file():
        raise UserError(f"{where}: model {model}: the folder holds no config.json; save one there with save_pretrained")
    return str(path.absolute())


def load_encoder(model: str, layers: int | None = None, lora: Lora | None = None) -> nn.Module:
    """An encoder in float32 without its pooler: the tasks' heads are the classifiers.

    Parameters
    ----------
    model
        A folder, or a name on the hub.
    layers
        Use only its first `layers` layers; None: all.
    lora
        Adapters that are trained instead of the encoder's own parameters, which are then frozen.

    Raises
    ------
    UserError
        The model cannot be loaded, is not an encoder, or has fewer layers.
    """
    fewer = fewer_layers(model, layers)
    with from_transformers(model) as transformers:
        encoder: Any = transformers.AutoModel.from_pretrained(model, dtype=torch.float32, **fewer)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder if lora is None else with_adapters(encoder, lora, model)


def fewer_layers(model: str, layers: int | None) -> dict[str, int]:
    """The changes to an encoder's configuration for its first `layers` layers only; `UserError` if it has fewer."""
    config = load_config(model)
    if layers is not None and layers > config.num_hidden_layers:
        raise UserError(f"model {model}: it has {config.num_hidden_layers} layers, but {layers} were requested")
    return {} if layers is None else {"num_hidden_layers": layers}


def with_adapters(encoder: Any, lora: Lora, model: str) -> nn.Module:
    """The encoder with adapters, which are the only trained parameters; a pooler gets none.

    Raises
    ------
    UserError
        Its architecture does not support them.
    """
    import peft

    settings: Any = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
    if getattr(encoder, "pooler", None) is not None:
        settings["exclude_modules"] = POOLER
    with warnings.catch_warnings():
        # peft detects by itself that GPT-2's layers are stored transposed
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        # a pooler without suitable layers, such as Swin's, does not matter
        warnings.filterwarnings("ignore", "You have passed exclude_modules", UserWarning)
        try:  # peft knows the usual place of adapters for most encoders: queries and values
            return peft.inject_adapter_in_model(peft.LoraConfig(**settings), encoder)
        except ValueError:
            every = peft.LoraConfig(target_modules="all-linear", **settings)
        try:
            return peft.inject_adapter_in_model(every, encoder)
        except ValueError as error:
            raise UserError(f"model {model}: it cannot have LoRA adapters: {_line(error)}") from error


@cache
def load_config(model: str) -> Any:
    """An encoder's configuration; `UserError` if it cannot be loaded or is not an encoder's."""
    with from_transformers(model) as transformers:
        config = transformers.AutoConfig.from_pretrained(model)
    if config.is_encoder_decoder:
        raise UserError(f"model {model}: {config.model_type} has a decoder; use an encoder-only model")
    return config


def load_tokenizer(model: str, max_length: int | None = None) -> tuple[Any, int]:
    """An encoder's tokenizer, and the maximum number of tokens: by default 128 or the encoder's limit.

    Raises
    ------
    UserError
        It cannot be loaded, or the encoder does not support texts of `max_length` tokens.
    """
    config = load_config(model)
    names = [path.name for path in Path(model).iterdir()] if Path(model).is_dir() else ["tokenizer.json"]
    if not any(name == "tokenizer.json" or name.startswith("vocab") or name.endswith(".model") for name in names):
        # transformers would create one with an empty vocabulary
        raise UserError(f"model {model}: the folder holds no tokenizer; save one there with save_pretrained")
    with from_transformers(model) as transformers:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    if not tokenizer.is_fast:
        raise UserError(f"model {model}: its tokenizer has no tokenizer.json; save it again with a recent transformers")
    if tokenizer.pad_token is None:  # of many decoders; what ends a text is then what fills it up
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    longest = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or USUAL_LENGTH)
    if config.model_type in COUNT_FROM_PADDING:
        longest = min(longest, config.max_position_embeddings - config.pad_token_id - 1)
    if max_length is not None and max_length > longest:
        raise UserError(f"max_length must be at most {longest} for model {model}, not {max_length}")
    return tokenizer, max_length or min(USUAL_LENGTH, longest)


def settled_pooling(model: str, encoder: nn.Module, pooling: Pooling | None = None) -> Pooling:
    """How an encoder's texts are pooled: as requested, otherwise as usual for its architecture.

    The default is what its configuration says, otherwise the first token; the last token for causal encoders.

    Raises
    ------
    UserError
        The first token is requested, but it sees no other.
    """
    causal = pooling in ("cls", None) and is_causal(encoder)
    if causal and pooling == "cls":
        raise UserError(
            f"model {model}: pooling cls uses a text's first token, but in a decoder it attends to no "
            "other; use pooling last or mean, or an encoder"
        )
    if pooling is not None:
        return pooling
    if causal:
        return "last"
    return "mean" if getattr(load_config(model), "classifier_pooling", "cls") == "mean" else "cls"


@torch.no_grad()
def is_causal(encoder: nn.Module) -> bool:
    """Whether attention is causal: the first token's state then does not depend on what follows.

    It is tested, as configurations do not tell: GPT-2's has `is_decoder` false, and BERT can be made a decoder.
    """
    training = encoder.training
    ids = torch.tensor([[1, 2, 3, 4], [1, 4, 2, 3]], device=next(encoder.parameters()).device)
    states = encoder.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    encoder.train(training)
    return bool(torch.allclose(states[0, 0], states[1, 0], rtol=1e-5, atol=1e-6))


@contextmanager
def quiet_hub() -> Iterator[None]:
    """A context in which Hugging Face's libraries call only the hub, and do not log failed connections."""
    no_calls_home()
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)


@contextmanager
def quiet_transformers(bars: bool = True) -> Iterator[Any]:
    """The library without its warnings, with or without progress bars."""
    with quiet_hub():
        import transformers
        from transformers.utils import logging as its_logging

        level, shown = its_logging.get_verbosity(), its_logging.is_progress_bar_enabled()
        its_logging.set_verbosity_error()  # it would report weights of layers and poolers left out on purpose
        if not bars:
            its_logging.disable_progress_bar()
        try:
            yield transformers
        finally:
            its_logging.set_verbosity(level)
            if shown:
                its_logging.enable_progress_bar()


@contextmanager
def from_transformers(model: str) -> Iterator[Any]:
    """The library without output; loading failures become one clear line."""
    with quiet_transformers(bars=not Path(model).is_dir()) as transformers:
        try:
            yield transformers
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            hint = "" if Path(model).is_dir() else "; without internet access, pass a folder: model=PATH"
            raise UserError(f"model {model}: it cannot be loaded ({_line(error)}){hint}") from error


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) < 200 else text[:197] + '...'}"
