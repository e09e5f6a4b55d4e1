"""GLUE and SuperGLUE as files: from the hub, or from a folder that looks like it; then as token ids and labels.

In a folder, a task's split is the first of these that is there (`rte` and `train` stand for any; MNLI's validation
split is `validation_matched`, WSC may also be called `wsc.fixed`):

    rte/            saved with DatasetDict.save_to_disk
    rte/train/      saved with Dataset.save_to_disk, or holding .parquet files
    rte/train.parquet, rte/train.jsonl, rte/train.json, and rte/train-*.parquet as on the hub
    rte_train.parquet, rte_train.jsonl, rte_train.json
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError
from avil_ray.models.text import quiet_hub
from avil_ray.suites.glue_tasks import TASKS, GlueTask
from avil_ray.suites.held_out import Integers, text_keys
from avil_ray.suites.tokens import Tokens, tokenise

ENDINGS = (".parquet", ".jsonl", ".json")


@dataclass(frozen=True)
class Table:
    """One split of one task, tokenised.

    Parameters
    ----------
    tokens
        N examples.
    labels
        [N]: int64 classes, or float32 numbers.
    sources
        [N]: equal for examples from the same source (a premise with several hypotheses, a paragraph with questions).
    keys
        [N, texts]: equal for equal texts, in other tasks too.
    """

    tokens: Tokens
    labels: npt.NDArray[Any]
    sources: Integers
    keys: Integers

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Place:
    """Where data and tokenizer come from; None: the hub."""

    data_dir: str | None
    model: str
    max_length: int | None


@lru_cache(maxsize=64)
def table(name: str, split: str, place: Place) -> Table:
    """One split of a task, read and tokenised once per process (and tokenised once at all: see `tokenise`).

    Raises
    ------
    UserError
        The hub, a file, a column or a label is missing or wrong.
    """
    task, data_dir = TASKS[name], None if place.data_dir is None else Path(place.data_dir)
    where, dataset = _from_hub(name, task, split) if data_dir is None else _from_folder(data_dir, name, split)
    missing = [column for column in task.columns if column not in dataset.column_names]
    if missing:
        raise UserError(f"{where}: no column {missing[0]!r}; there are: {', '.join(dataset.column_names)}")
    if len(dataset) == 0:
        raise UserError(f"{where}: it has no rows")
    columns = {column: list(dataset[column]) for column in task.columns}
    labels = _labels(where, task, columns.pop("label"))
    _check_columns(where, task, columns)
    try:
        texts = task.encode(columns)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{where}: a row is not as on the hub ({type(error).__name__}: {error})") from error
    keys = np.stack([text_keys(columns[column]) for column in task.texts], axis=1)
    sources = _sentences(columns[task.texts[0]], keys[:, 0]) if task.phrases else keys[:, 0]
    return Table(tokenise(texts, place.model, place.max_length), labels, sources, keys)


def _labels(where: str, task: GlueTask, given: Sequence[Any]) -> npt.NDArray[Any]:
    """Labels as classes or numbers; names and truth values are understood."""
    known = {name: number for number, name in enumerate(task.classes)}
    lowest, highest = (0, len(task.classes) - 1) if task.classes else (0, 5)
    labels = []
    for row, label in enumerate(given):
        number = known.get(label) if isinstance(label, str) else label
        if not isinstance(number, int | float) or not lowest <= number <= highest or (known and number != int(number)):
            names = f" ({', '.join(known)})" if known else ""
            hidden = "; -1 stands for a hidden label" if label == -1 else ""
            raise UserError(f"{where}: row {row}: label {label!r} should be {lowest} to {highest}{names}{hidden}")
        labels.append(number)
    return np.array(labels, dtype=np.int64 if known else np.float32)


def _check_columns(where: str, task: GlueTask, columns: Mapping[str, Sequence[Any]]) -> None:
    for column in task.texts:
        row = next((row for row, text in enumerate(columns[column]) if not isinstance(text, str)), None)
        if row is not None:
            raise UserError(f"{where}: row {row}: {column} should be a text, not {columns[column][row]!r}")


def _sentences(texts: Sequence[str], keys: Integers) -> Integers:
    """For phrases, [N]: the key of the longest sentence that the phrase is a part of, its own where it is none."""
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
    """The tasks that a folder has data of, the smallest first.

    Raises
    ------
    UserError
        There is no such folder, or no task's data in it.
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


def _from_hub(name: str, task: GlueTask, split: str) -> tuple[str, Any]:
    configuration = task.configuration or name
    where = f"glue: {name}: {task.hub} ({configuration}, {split})"
    with _quiet() as datasets:
        try:
            return where, datasets.load_dataset(task.hub, configuration, split=split)
        except Exception as error:
            raise UserError(
                f"{where}: it cannot be had from the hub ({_line(error)}); where there is no internet, give "
                "data_dir=FOLDER"
            ) from error


def _from_folder(folder: Path, name: str, split: str) -> tuple[str, Any]:
    for task in dict.fromkeys((name, TASKS[name].configuration or name)):
        found = _find(folder, task, split)
        if found:
            break
    else:
        raise UserError(
            f"glue: {name}: {folder / name / split}.parquet: no such file (nor .jsonl, nor a folder of save_to_disk), "
            f"and the task's {split} split is needed"
        )
    where = f"glue: {name}: {found[0]}"
    with _quiet(bars=False) as datasets:
        try:
            if found[0].is_dir():
                loaded = datasets.load_from_disk(str(found[0]))
            elif found[0].suffix == ".parquet":
                loaded = datasets.Dataset.from_parquet([str(path) for path in found])
            else:
                loaded = datasets.Dataset.from_json(str(found[0]))
        except Exception as error:
            raise UserError(f"{where}: it cannot be read ({_line(error)})") from error
    if not isinstance(loaded, dict):
        return where, loaded
    if split not in loaded:
        raise UserError(f"{where}: no split {split!r}; there are: {', '.join(loaded)}")
    return where, loaded[split]


def _find(folder: Path, task: str, split: str) -> list[Path]:
    """The folder of save_to_disk, or the files, that hold a split; empty where there are none."""
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


@contextmanager
def _quiet(bars: bool = True) -> Iterator[Any]:
    """The library `datasets`, with or without progress bars."""
    with quiet_hub():
        import datasets

        shown = not datasets.are_progress_bars_disabled()
        if not bars:
            datasets.disable_progress_bars()
        try:
            yield datasets
        finally:
            if shown:
                datasets.enable_progress_bars()


def _line(error: Exception) -> str:
    """An error and what caused it, in one line: readers wrap the cause in an error that says nothing."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text if len(text) < 200 else text[:197] + '...'}"
