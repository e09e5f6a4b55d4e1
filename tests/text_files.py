"""Small files of texts that can be learned from: what customers wrote, and whether they left."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TOPICS = ("billing", "delivery", "login", "praise", "returns")
THINGS = ("order", "invoice", "package", "account", "parcel", "refund", "courier", "password", "price", "shop")
GOOD, BAD = ("happy", "great", "thanks", "lovely"), ("angry", "late", "broken", "never")

Row = dict[str, Any]


def churn_rows(count: int, seed: int = 0) -> list[Row]:
    """Mails of customers: a subject, a body, and whether the customer left."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        left = bool(generator.random() < 0.4)
        words = generator.choice(BAD if left else GOOD, 2)
        things = generator.choice(THINGS, 2)
        body = f"the {things[0]} number {number} was {words[0]}, and the {things[1]} is {words[1]}"
        rows.append({"subject": f"about my {things[0]}", "body": body, "churned": "yes" if left else "no"})
    return rows


def topic_rows(count: int, seed: int = 1) -> list[Row]:
    """Other mails, and what they are about."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        topic = int(generator.integers(len(TOPICS)))
        words = " ".join(generator.choice([*GOOD, *BAD], 3))
        rows.append(
            {"body": f"{THINGS[2 * topic]} and {THINGS[2 * topic + 1]} {number}: {words}", "topic": TOPICS[topic]}
        )
    return rows


def star_rows(count: int, seed: int = 2) -> list[Row]:
    """Reviews, and how many stars they gave."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        good = int(generator.integers(5))
        words = [*generator.choice(GOOD, good), *generator.choice(BAD, 4 - good)]
        rows.append({"review": f"review {number}: {' '.join(words)}", "stars": float(1 + good)})
    return rows


def entity_rows(count: int, seed: int = 3) -> list[Row]:
    """Sentences as words, and for each whether it is a thing, a judgement or neither."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        thing, word = generator.choice(THINGS), generator.choice([*GOOD, *BAD])
        words, tags = ["the", thing, "was", word], ["O", "THING", "O", "JUDGEMENT"]
        extra = int(generator.integers(3))
        rows.append({"words": [*words, *["indeed"] * extra, str(number)], "tags": [*tags, *["O"] * (extra + 1)]})
    return rows


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


def write_parquet(path: Path, rows: list[Row]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def all_texts() -> list[str]:
    """Enough text for a tokenizer of all of these."""
    mails = [f"{row['subject']} {row['body']}" for row in churn_rows(60)]
    return [*mails, *(row["body"] for row in topic_rows(60)), *(row["review"] for row in star_rows(60))] * 3


def issue_suite(folder: Path, model: str | Path, **more: Any) -> dict[str, Any]:
    """The suite of the four files, as YAML says it; the files are written into the folder."""
    write_csv(folder / "churn.csv", churn_rows(120))
    write_jsonl(folder / "topics.jsonl", topic_rows(80))
    write_parquet(folder / "reviews.parquet", star_rows(80))
    write_jsonl(folder / "entities.jsonl", entity_rows(60))
    target = {"data": str(folder / "churn.csv"), "text": ["subject", "body"], "label": "churned", "metric": "f1"}
    auxiliaries = {
        "topic": {"data": str(folder / "topics.jsonl"), "text": "body", "label": "topic"},
        "stars": {"data": str(folder / "reviews.parquet"), "text": "review", "label": "stars", "kind": "regression"},
        "entities": {"data": str(folder / "entities.jsonl"), "text": "words", "label": "tags", "kind": "tokens"},
    }
    return {"name": "text", "model": str(model), "target": target, "auxiliaries": auxiliaries, **more}
