"""Made-up rows in exactly the hub's schema of GLUE and SuperGLUE, and folders of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WORDS = ("the", "old", "new", "cat", "dog", "river", "city", "storm", "sees", "likes", "found", "near", "green", "not")

Row = dict[str, Any]


def rows_of(task: str, split: str, count: int) -> list[Row]:
    """So many different rows of a split."""
    generator = np.random.default_rng([ord(letter) for letter in f"{task} {split}"])

    def sentence(length: int = 7) -> str:
        return " ".join(generator.choice(WORDS, length)) + f" number {generator.integers(10**6)}."

    return [_ROWS[task](number, sentence, generator) for number in range(count)]


def _pair(first: str, second: str, classes: int = 2) -> Callable[..., Row]:
    def row(number: int, sentence: Callable[..., str], generator: np.random.Generator) -> Row:
        label = int(generator.integers(classes)) if classes else round(float(generator.uniform(0, 5)), 3)
        return {first: sentence(), second: sentence(), "label": label, "idx": number}

    return row


def _alone(number: int, sentence: Callable[..., str], generator: np.random.Generator) -> Row:
    return {"sentence": sentence(), "label": int(generator.integers(2)), "idx": number}


def _copa(number: int, sentence: Callable[..., str], generator: np.random.Generator) -> Row:
    asked = ["cause", "effect"][number % 2]
    texts = {"premise": sentence(), "choice1": sentence(3), "choice2": sentence(3), "question": asked}
    return texts | {"idx": number, "label": int(generator.integers(2))}


def _multirc(number: int, sentence: Callable[..., str], generator: np.random.Generator) -> Row:
    paragraph = f"Paragraph {number // 3} says: the old cat sees the green river near the city. " * 3
    index = {"paragraph": number // 3, "question": number // 3, "answer": number}
    texts = {"paragraph": paragraph, "question": f"Who sees river {number // 3}?", "answer": sentence(2)}
    return texts | {"idx": index, "label": int(generator.integers(2))}


def _wic(number: int, sentence: Callable[..., str], generator: np.random.Generator) -> Row:
    first, second = f"{sentence(3)} The storm left.", f"A storm {sentence(4)}"
    where = {"start1": first.index("storm"), "start2": 2}
    texts = {"word": "storm", "sentence1": first, "sentence2": second} | where
    ends = {"end1": where["start1"] + 5, "end2": 7}
    return texts | ends | {"idx": number, "label": int(generator.integers(2))}


def _wsc(number: int, sentence: Callable[..., str], generator: np.random.Generator) -> Row:
    text = f"The old teacher found  the dog near city {generator.integers(10**6)} because he likes it."
    spans = {"span1_index": 0, "span2_index": 10, "span1_text": "The old teacher", "span2_text": "he"}
    return {"text": text} | spans | {"idx": number, "label": int(generator.integers(2))}


_ROWS: dict[str, Callable[..., Row]] = {
    "cola": _alone,
    "sst2": _alone,
    "mrpc": _pair("sentence1", "sentence2"),
    "qqp": _pair("question1", "question2"),
    "stsb": _pair("sentence1", "sentence2", classes=0),
    "mnli": _pair("premise", "hypothesis", classes=3),
    "qnli": _pair("question", "sentence"),
    "rte": _pair("sentence1", "sentence2"),
    "wnli": _pair("sentence1", "sentence2"),
    "boolq": _pair("question", "passage"),
    "cb": _pair("premise", "hypothesis", classes=3),
    "copa": _copa,
    "multirc": _multirc,
    "wic": _wic,
    "wsc": _wsc,
}


def dataset(rows: list[Row]) -> Any:
    """Rows as a `datasets.Dataset`."""
    import datasets

    return datasets.Dataset.from_list(rows)


def save(folder: Path, task: str, train: int = 40, validation: int = 12) -> None:
    """A task's train and validation splits as parquet files, called as on the hub."""
    (folder / task).mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("validation_matched" if task == "mnli" else "validation", validation)):
        made = dataset(rows_of(task, "train" if split == "train" else "validation", count))
        made.to_parquet(folder / task / f"{split}-00000-of-00001.parquet")


TASKS = tuple(_ROWS)
