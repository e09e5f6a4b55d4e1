"""GLUE and SuperGLUE: any task as the target, any others as auxiliaries, on any transformer encoder.

The labels of the official test splits are hidden, so the splits are drawn as follows, again for each seed:

- test: the whole official validation split (MNLI: the matched one), on which papers report results "on dev";
- select, dev and train: from the official train split, without rows whose source (a premise with several hypotheses, a
  paragraph with several questions; for SST-2, a sentence with its phrases) is in test. No source is in two of them.
- An auxiliary's train: its official train split, without rows that have a text in the target's dev, select or test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, between, whole
from avil_ray.models.multitask import MultitaskModel
from avil_ray.models.text import (
    MARKED,
    Lora,
    Pooling,
    TextEncoder,
    TextHead,
    load_config,
    load_encoder,
    settled_model,
    settled_pooling,
)
from avil_ray.randomness import numpy_generator
from avil_ray.suites.glue_data import Place, Split, load, tasks_in
from avil_ray.suites.glue_tasks import TASKS
from avil_ray.suites.held_out import Integers, cut, without
from avil_ray.suites.options import absolute, auxiliary_names, dev_labels, whole_if_given
from avil_ray.suites.tokens import TokenColumn
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

USUAL = ("rte", "mnli", "mrpc", "stsb")
"""The default target and auxiliaries, if data come from the hub."""

SELECT_SHARE, MOST_SELECT = 0.2, 1000
"""The default size of select: a fifth of the train split, at most this many."""

RATES = {"adamw": 2e-5, "sgd": 1e-3}
ADAPTER_RATES = {"adamw": 3e-4, "sgd": 1e-2}
"""The default learning rates: for all parameters, and for adapters."""


@dataclass(frozen=True, kw_only=True)
class Division:
    """The number of examples in each split; None: all, or the default."""

    target_labels: int | None
    auxiliary_labels: int | None
    dev_fraction: float
    select: int | None

    def __post_init__(self) -> None:
        for name, lowest in (("target_labels", 2), ("auxiliary_labels", 1), ("select", 2)):
            whole_if_given(f"glue: {name}", getattr(self, name), lowest)
        between("glue: dev_fraction", self.dev_fraction, 0, 1)


def glue(
    *,
    target: str | None = None,
    auxiliaries: Sequence[str] | None = None,
    data_dir: str | Path | None = None,
    model: str = "roberta-base",
    pooling: Pooling | None = None,
    max_length: int | None = None,
    target_labels: int | None = None,
    auxiliary_labels: int | None = None,
    dev_fraction: float = 0.2,
    select: int | None = None,
    batch_size: int = 16,
    precision: Literal["fp32", "bf16"] = "fp32",
    optimizer: Literal["adamw", "sgd"] = "adamw",
    learning_rate: float | None = None,
    warmup: int = 100,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    peft: Literal["none", "lora"] = "none",
    lora_rank: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.1,
) -> Suite:
    """GLUE and SuperGLUE, from the hub or a folder, on any transformer encoder; full training or LoRA.

    Parameters
    ----------
    target
        The task that counts: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte, wnli, boolq, cb, copa, multirc, wic or wsc.
        Default: rte; with data_dir, the smallest that is there.
    auxiliaries
        The tasks that may help it. Default: mnli, mrpc and stsb; with data_dir, all others that are there.
    data_dir
        A folder with a subfolder for each task, containing train and validation as parquet, jsonl or save_to_disk.
        Default: the hub.
    model
        The encoder: a folder or a name on the hub.
    pooling
        What stands for a text: cls (its first token), mean (of its tokens) or last (its last token). Default: as is
        usual for the encoder; last for a decoder, whose first token sees no other.
    max_length
        Tokens of a text or pair; of a longer pair the longer text is cut. Default: 128, or what the encoder takes.
    target_labels
        How many labelled examples the target has to learn from, train and dev together. Default: all that there are.
    auxiliary_labels
        How many each auxiliary has at most. Default: all that there are.
    dev_fraction
        The fraction of the target's labelled examples used as its dev split, above 0 and below 1.
    select
        How many examples choose the best round and configuration. Default: a fifth of the train split, 1000 at most.
    batch_size
        Examples of each task per step.
    precision
        bf16: autocast, with float32 parameters.
    optimizer
        adamw or sgd.
    learning_rate
        Default: 2e-5 for adamw and 1e-3 for sgd; with LoRA 3e-4 and 1e-2.
    warmup
        Warm-up steps, over which the learning rate rises to its value.
    weight_decay
        AdamW's, or the L2 penalty of SGD.
    clip
        Maximum 2-norm of a step's gradient.
    peft
        lora: train low-rank adapters (and heads) instead of the encoder's own parameters.
    lora_rank, lora_alpha, lora_dropout
        The adapters' rank, their scale (alpha / rank), and the fraction of their inputs dropped in training.

    Raises
    ------
    UserError
        A task is unknown, a folder or the package peft is missing, or a number is out of range.
    """
    given = dict(locals())
    check_choices(glue, given, "glue")
    folder = None if data_dir is None else absolute(data_dir)
    there = list(USUAL) if folder is None else tasks_in(folder)
    target = there[0] if target is None else target
    names = (target, *auxiliary_names("glue", target, auxiliaries, TASKS, there))
    lora = Lora(lora_rank, lora_alpha, lora_dropout) if peft == "lora" else None
    place = Place(
        None if folder is None else str(folder),
        settled_model("glue", model),
        whole_if_given("glue: max_length", max_length, 3),
    )
    division = Division(
        target_labels=target_labels, auxiliary_labels=auxiliary_labels, dev_fraction=dev_fraction, select=select
    )
    learning = Learning(
        optimizer=optimizer,
        learning_rate=(ADAPTER_RATES if lora else RATES)[optimizer] if learning_rate is None else learning_rate,
        batch_size=whole("glue: batch_size", batch_size, 1),
        weight_decay=weight_decay,
        clip=clip,
        warmup=whole("glue: warmup", warmup, 0),
        precision=precision,
        evaluation_batch=64,
    )
    return Suite(
        name="glue",
        target=target,
        task_names=names,
        tasks=partial(draw, names=names, place=place, division=division),
        model=partial(build_model, names, place.model, pooling, lora),
        learning=learning,
        options=given
        | {"target": target, "auxiliaries": list(names[1:]), "learning_rate": learning.learning_rate}
        | asdict(place),
    )


def build_model(tasks: Sequence[str], model: str, pooling: Pooling | None, lora: Lora | None) -> nn.Module:
    """A shared encoder and one linear head per task; heads of tasks with spans also see the spans."""
    encoder = load_encoder(model, lora=lora)
    trunk = TextEncoder(encoder, settled_pooling(model, encoder, pooling))
    width = load_config(model).hidden_size

    def head(task: str) -> nn.Module:
        spans = MARKED if task in ("wic", "wsc") else 0
        return TextHead(width * (1 + spans), TASKS[task].width)

    return MultitaskModel(trunk, {task: head(task) for task in tasks})


def draw(seed: int, *, names: Sequence[str], place: Place, division: Division) -> list[Task]:
    """The tasks' data for one seed, the target's first; see the module for how splits are drawn."""
    target, *auxiliaries = names
    train, test = load(target, "train", place), load(target, TASKS[target].validation, place)
    parts = _divide(seed, target, train, test, division)
    held_out = np.concatenate([train.keys[parts["dev"]], train.keys[parts["select"]], test.keys]).ravel()
    tasks = [
        Task(
            target,
            train=_examples(train, parts["train"]),
            dev=_examples(train, parts["dev"]),
            select=_examples(train, parts["select"]),
            test=_examples(test, np.arange(len(test))),
            loss=TASKS[target].loss,
            metric=TASKS[target].metric,
        )
    ]
    for name in auxiliaries:
        data = load(name, "train", place)
        rows = numpy_generator(seed, "glue", name).permutation(without(data.keys, held_out))
        if len(rows) == 0:
            raise UserError(f"glue: {name}: all of its train rows have a text that the target holds out; leave it out")
        examples = _examples(data, rows[: division.auxiliary_labels])
        tasks.append(Task(name, examples, loss=TASKS[name].loss, metric=TASKS[name].metric))
    return tasks


def _divide(seed: int, target: str, train: Split, test: Split, division: Division) -> dict[str, Integers]:
    """The rows of train, dev and select."""
    # a phrase has a source and its own text: neither may be in test
    of_train, of_test = (np.stack([data.sources, data.keys[:, 0]], axis=1) for data in (train, test))
    free, select = without(of_train, of_test), division.select
    if select is None:
        select = min(max(round(SELECT_SHARE * len(free)), 2), MOST_SELECT)
    labels = len(free) - select if division.target_labels is None else division.target_labels
    if labels < 2 or select + labels > len(free):
        raise UserError(
            f"glue: {target} has {len(free)} train examples whose source is not in test, too few for "
            f"{max(labels, 2)} target_labels beside select {select}; ask for fewer"
        )
    dev = dev_labels(labels, division.dev_fraction)
    generator = numpy_generator(seed, "glue", target)
    chosen, adapting, rest = cut(train.sources[free], (select, dev), generator)
    if len(rest) == 0:
        raise UserError(f"glue: {target}: too few sources for train, dev and select; ask for a smaller select")
    # remainders of a source are dropped, so there may be slightly fewer than requested
    return {"train": free[rest[: labels - dev]], "dev": free[adapting], "select": free[chosen]}


def _examples(data: Split, rows: Integers) -> Examples:
    return Examples(TokenColumn(data.tokens, rows), torch.from_numpy(data.labels[rows]))
