"""GLUE and SuperGLUE data, from the hub or from a folder with the same structure, as token ids and labels.

In a folder, a task's split is the first of these that exists (`rte` and `train` are examples; MNLI's validation split
is `validation_matched`, WSC may also be called `wsc.fixed`):

    rte/            saved with DatasetDict.save_to_disk
    rte/train/      saved with Dataset.save_to_disk, or holding .parquet files
    rte/train.parquet, rte/train.jsonl, rte/train.json, and rte/train-*.parquet as on the hub
    rte_train.parquet, rte_train.jsonl, rte_train.json
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError
from avil_ray.suites.files.hub import read_hub, read_parquet, read_saved
from avil_ray.suites.files.json_lines import read_json_lines
from avil_ray.suites.files.table import Table, stacked
from avil_ray.suites.glue_tasks import TASKS, GlueTask
from avil_ray.suites.held_out import Integers, text_keys
from avil_ray.suites.tokens import Tokens, tokenise

ENDINGS = (".parquet", ".jsonl", ".json")


@dataclass(frozen=True)
class Split:
    """One tokenised split of a task.

    Parameters
    ----------
    tokens
        N examples.
    labels
        [N]: int64 classes, or float32 numbers.
    sources
        [N], equal for examples from the same source (a premise with several hypotheses, a paragraph with questions).
    keys
        [N, texts], equal for equal texts, also across tasks.
    """

    tokens: Tokens
    labels: npt.NDArray[Any]
    sources: Integers
    keys: Integers

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Place:
    """The origin of data and tokenizer; None: the hub."""

    data_dir: str | None
    model: str
    max_length: int | None


@lru_cache(maxsize=64)
def load(name: str, split: str, place: Place) -> Split:
    """One split of a task, read and tokenised once per process (and tokenised once at all: see `tokenise`).

    Raises
    ------
    UserError
        The hub, a file, a column or a label is missing or wrong.
    """
    task = TASKS[name]
    try:
        table = _read(name, split, place)
        labels = _labels(table, task)
        _check_texts(table, task)
    except UserError as error:
        raise UserError(f"glue: {name}: {error}") from None
    try:
        texts = task.encode(table.columns)
    except (TypeError, ValueError, KeyError) as error:
        what = f"a row differs from the hub's format ({type(error).__name__}: {error})"
        raise UserError(f"glue: {name}: {table.sources[0]}: {what}") from error
    keys = np.stack([text_keys(table.column(column)) for column in task.texts], axis=1)
    sources = _sentences(table.column(task.texts[0]), keys[:, 0]) if task.phrases else keys[:, 0]
    return Split(tokenise(texts, place.model, place.max_length), labels, sources, keys)


def _labels(table: Table, task: GlueTask) -> npt.NDArray[Any]:
    """Labels as classes or numbers; also accepts names and booleans."""
    known = {name: number for number, name in enumerate(task.classes)}
    lowest, highest = (0, len(task.classes) - 1) if task.classes else (0, 5)
    labels = []
    for row, label in enumerate(table.column("label")):
        number = known.get(label) if isinstance(label, str) else label
        if not isinstance(number, int | float) or not lowest <= number <= highest or (known and number != int(number)):
            names = f" ({', '.join(known)})" if known else ""
            hidden = "; -1 stands for a hidden label" if label == -1 else ""
            raise table.wrong(row, f"label {label!r} should be {lowest} to {highest}{names}{hidden}")
        labels.append(number)
    return np.array(labels, dtype=np.int64 if known else np.float32)


def _check_texts(table: Table, task: GlueTask) -> None:
    for column in task.texts:
        for row, text in enumerate(table.column(column)):
            if not isinstance(text, str):
                raise table.wrong(row, f"{column} should be a text, not {text!r}")


def _sentences(texts: Sequence[str], keys: Integers) -> Integers:
    """For phrases, [N]: the key of the longest sentence containing the phrase, or its own if there is none."""
    numbers: dict[tuple[str, ...], list[int]] = {}
    for row, text in enumerate(texts):
        numbers.setdefault(tuple(text.split()), []).append(row)
    sources = np.zeros_like(keys)
    for words in sorted(numbers, key=len, reverse=True):
        if words not in numbers:
            continue
        spans = ((start, end) for start in range(len(words)) for end in range(start + 1, len(words) + 1))
        source = keys[numbers[words][0]]
        for start, end in spans:
            sources[numbers.pop(words[start:end], [])] = source
    return sources


def tasks_in(folder: Path) -> list[str]:
    """The tasks with data in a folder, the smallest first.

    Raises
    ------
    UserError
        There is no such folder, or it contains no task's data.
    """
    if not folder.is_dir():
        raise UserError(f"glue: data_dir {folder}: no such folder")
    found = {path.name.split(".")[0] for path in folder.iterdir()}
    names = [name for name in TASKS if name in found or f"{name}_train" in found]
    if not names:
        raise UserError(
            f"glue: data_dir {folder}: no task's data is in it; a task is a folder with train and validation files, "
            f"called: {', '.join(TASKS)}"
        )
    return names


def _read(name: str, split: str, place: Place) -> Table:
    """The columns of a task's split, from the hub or from a folder."""
    task = TASKS[name]
    configuration = task.configuration or name
    if place.data_dir is None:
        return read_hub(task.hub, split, task.columns, configuration)
    folder = Path(place.data_dir)
    found = next(filter(None, (_find(folder, one, split) for one in (name, configuration))), [])
    if not found:
        raise UserError(
            f"{folder / name / split}.parquet: no such file (nor .jsonl, nor a folder of save_to_disk), and the task's "
            f"{split} split is needed"
        )
    if found[0].is_dir():
        return read_saved(found[0], split if (found[0] / "dataset_dict.json").is_file() else None, task.columns)
    read = read_parquet if found[0].suffix == ".parquet" else read_json_lines
    return stacked([read(file, task.columns) for file in found])


def _find(folder: Path, task: str, split: str) -> list[Path]:
    """The folder of save_to_disk, or the files, with a split's data; empty if there are none."""
    home = folder / task
    if (home / "dataset_dict.json").is_file():
        return [home]
    if (home / split / "state.json").is_file():
        return [home / split]
    for start in (home / split, folder / f"{task}_{split}"):
        for ending in ENDINGS:
            if start.with_name(start.name + ending).is_file():
                return [start.with_name(start.name + ending)]
    return sorted([*home.glob(f"{split}-*.parquet"), *home.glob(f"{split}/*.parquet")])
