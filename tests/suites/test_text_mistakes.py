"""Broken files and wrong descriptions of them: each is one line that names the file and the row."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from text_files import (
    all_texts,
    churn_rows,
    entity_rows,
    topic_rows,
    write_csv,
    write_jsonl,
    write_parquet,
)
from text_models import save_encoder

from avil_ray.catalog import build_suite
from avil_ray.errors import UserError

ROWS = churn_rows(30)
TOPICS = topic_rows(40)
TEXT = "body,churned\n" + "".join(f"{row['body'].replace(',', '')},{row['churned']}\n" for row in ROWS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("models") / "bert", all_texts())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path / "cache"))


@dataclass(frozen=True)
class Broken:
    """A file, what differs from an ordinary description of it, and what the one line ends with."""

    name: str
    content: bytes | str | list[dict[str, Any]] | Callable[[Path], Any]
    message: str
    target: dict[str, Any] = field(default_factory=dict)
    suite: dict[str, Any] = field(default_factory=dict)
    others: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def changed(row: int, **values: Any) -> list[dict[str, Any]]:
    """Mails, with some values of one of them changed; the row counts from 0."""
    return [{**one, **(values if number == row else {})} for number, one in enumerate(ROWS)]


def lines(row: int, line: str) -> str:
    """A CSV file with another line at a row, which counts from 1, the header's."""
    there = TEXT.splitlines(keepends=True)
    return "".join([*there[: row - 1], line, *there[row:]])


def twice(folder: Path) -> None:
    parts = ["train", "dev", "select", "test"]
    rows = [{**row, "part": parts[number % 4]} for number, row in enumerate(ROWS)]
    write_csv(folder / "a.csv", [*rows, {**rows[0], "body": rows[0]["body"].upper(), "part": "test"}])


def saved(folder: Path) -> None:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(folder / "a.csv")


def endless(folder: Path) -> None:
    """A line of a gigabyte that takes no room on the disk."""
    with (folder / "a.jsonl").open("wb") as file:
        file.write(b'{"body": "')
        file.truncate(1 << 30)


COMMA = {"body": "one, two", "churned": "no"}
NUMBERS = [{**row, "churned": number} for number, row in enumerate(ROWS)]
SPLIT = {"split": "part"}

BROKEN = {
    "no such file": Broken("b.csv", TEXT, "/a.csv: no such file; did you mean 'b.csv'?"),
    "no file at all": Broken("none.bin", b"", "/a.csv: no such file"),
    "unknown extension": Broken(
        "a.xlsx", TEXT, "/a.xlsx: unknown extension '.xlsx'; available: .csv, .tsv, .jsonl, .parquet"
    ),
    "json": Broken("a.json", "[]", ".parquet; write one object per line and call it .jsonl"),
    "a folder": Broken("a.csv", lambda folder: (folder / "a.csv").mkdir(), "/a.csv: is a folder; name a file in it"),
    "a pipe": Broken("a.csv", lambda folder: os.mkfifo(folder / "a.csv"), "/a.csv: is not a regular file"),
    "a split of a file": Broken("a.csv", TEXT, "a file has no splits; name it without :train", {"data": "a.csv:train"}),
    "an unknown split": Broken("a.csv", saved, "unknown split 'dev'; available: train", {"data": "a.csv:dev"}),
    "empty": Broken("a.csv", b"", "/a.csv: the file is empty"),
    "a mark alone": Broken("a.csv", b"\xef\xbb\xbf", "/a.csv: its first row names no columns"),
    "blank lines alone": Broken("a.csv", "\n\n\n", "/a.csv: its first row names no columns"),
    "header alone": Broken("a.csv", "body,churned\n", "/a.csv: holds a header and no rows"),
    "empty jsonl": Broken("a.jsonl", b"", "/a.jsonl: the file is empty"),
    "blank jsonl": Broken("a.jsonl", "\n\n", "/a.jsonl: holds no rows"),
    "empty parquet": Broken("a.parquet", lambda folder: _no_rows(folder / "a.parquet"), "/a.parquet: holds no rows"),
    "wrong column": Broken(
        "a.csv", ROWS, "/a.csv: unknown column 'churn'; did you mean 'churned'?", {"label": "churn"}
    ),
    "wrong text column": Broken(
        "a.jsonl", ROWS, "/a.jsonl: unknown column 'bdy'; did you mean 'body'?", {"text": "bdy"}
    ),
    "wrong column of parquet": Broken("a.parquet", ROWS, "unknown column 'bdy'; did you mean 'body'?", {"text": "bdy"}),
    "a column twice": Broken("a.csv", "body,body\na,b\n", "its header names the column 'body' twice; rename one"),
    "too many cells": Broken(
        "a.csv", lines(7, "one, two, three\n"), "/a.csv, row 7: 3 cells, but the header names 2 columns; quote cells"
    ),
    "too few cells": Broken(
        "a.csv", lines(9, "alone\n"), "/a.csv, row 9: 1 cell, but the header names 2 columns; fill"
    ),
    "an open quote": Broken("a.csv", lines(5, '"open,no\n'), "/a.csv, row 5: cannot be read as CSV: a quote is opened"),
    "a quote in a cell": Broken("a.csv", lines(6, '"a" b,no\n'), "/a.csv, row 6: cannot be read as CSV: ',' expected"),
    "old line ends": Broken("a.csv", TEXT.replace("\n", "\r"), "its lines end in carriage returns alone"),
    "another encoding": Broken(
        "a.csv", lines(4, "café,no\n").encode("latin-1"), "/a.csv, row 4: byte 0xe9 at position 4 is not UTF-8; save"
    ),
    "utf-16": Broken("a.csv", TEXT.encode("utf-16-le"), "/a.csv, row 1: holds a zero byte, so it is not UTF-8 text"),
    "shift-jis": Broken("a.jsonl", '{"body": "日本"}'.encode("shift-jis"), "/a.jsonl, row 1: byte 0x93 at position 11"),
    "a line of a gigabyte": Broken("a.jsonl", endless, "/a.jsonl, row 1: the line is longer than 16 MiB"),
    "invalid json": Broken("a.jsonl", '{"body": "a"}\n{"body": }\n', "/a.jsonl, row 2: no valid JSON (Expecting value"),
    "a json list": Broken("a.jsonl", '[{"body": "a"}]\n', "/a.jsonl, row 1: holds a list; each line must be an object"),
    "a json number": Broken("a.jsonl", '{"body": "a"}\n3\n', "/a.jsonl, row 2: holds a number; each line must be an"),
    "deep json": Broken("a.jsonl", "[" * 100_000, "/a.jsonl, row 1: no valid JSON (too large)"),
    "no parquet": Broken("a.parquet", b"PAR1 no", "/a.parquet: cannot be read as Parquet ("),
    "one class": Broken(
        "a.csv", [{**row, "churned": "no"} for row in ROWS], "/a.csv: label 'churned' is 'no' in all 30 rows; two are"
    ),
    "an empty label": Broken(
        "a.csv", changed(5, churned=""), "/a.csv, row 7: label 'churned' is empty; fill it in, or leave such rows out"
    ),
    "a NaN label": Broken(
        "a.jsonl", changed(5, churned=float("nan")), "/a.jsonl, row 6: label 'churned' is nan, which"
    ),
    "a null label": Broken(
        "a.jsonl", changed(5, churned=None), "/a.jsonl, row 6: label 'churned' is empty; fill it in"
    ),
    "many empty labels": Broken(
        "a.csv",
        [{**row, "churned": "NA"} for row in ROWS],
        "/a.csv, row 2: label 'churned' is 'NA', which stands for none (30 of 30 rows have none)",
    ),
    "a label that is an object": Broken(
        "a.jsonl", changed(3, churned={"a": 1}), "/a.jsonl, row 4: label 'churned' must be a word or a number, not {'a'"
    ),
    "mixed labels": Broken("a.csv", changed(8, churned="3"), "/a.csv, row 10: label 'churned' mixes words and numbers"),
    "mixed lists": Broken("a.jsonl", changed(2, churned=["a"]), "/a.jsonl, row 1: label 'churned' is 'no'; a list of"),
    "many whole numbers": Broken(
        "a.jsonl", NUMBERS, "has 30 different whole numbers; give kind: regression, or kind: "
    ),
    "names, not classes": Broken(
        "a.csv",
        [{**row, "churned": f"mail {number}"} for number, row in enumerate(ROWS)],
        "has 30 different values in 30 rows, too many",
    ),
    "words as numbers": Broken(
        "a.csv", ROWS, "/a.csv, row 2: label 'churned' is 'no', not a number; give kind: class", {"kind": "regression"}
    ),
    "a decimal comma": Broken(
        "a.csv",
        changed(0, churned="3,5"),
        "row 2: label 'churned' is '3,5', not a number; write 3.5, or 35 if thousands are meant",
        {"kind": "regression"},
    ),
    "an infinite number": Broken(
        "a.jsonl", [{**row, "churned": 1e300} for row in NUMBERS], "row 1: label 'churned' is", {"kind": "regression"}
    ),
    "one number": Broken(
        "a.jsonl", [{**row, "churned": 1} for row in ROWS], "is 1 in all 30 rows", {"kind": "regression"}
    ),
    "an empty text": Broken("a.csv", changed(3, body=" "), "/a.csv, row 5: text 'body' is empty; fill it in, or leave"),
    "a null text": Broken("a.jsonl", changed(3, body=None), "/a.jsonl, row 4: text 'body' is empty; fill it in, or"),
    "a text that is a number": Broken("a.jsonl", changed(3, body=7), "row 4: text 'body' must be text, not 7"),
    "a text in two splits": Broken(
        "a.csv", twice, "/a.csv, row 32: is in test, but its text is also in train (", SPLIT
    ),
    "a text in two files": Broken(
        "a.csv",
        ROWS,
        "/test.csv, row 2: is in test, but its text is also in train (",
        {"data": {"train": "a.csv", "test": "test.csv"}},
        others={"test.csv": ROWS[4:5]},
    ),
    "an unknown split of a row": Broken(
        "a.csv",
        [{**row, "part": "trian"} for row in ROWS],
        "/a.csv, row 2: column 'part': unknown split 'trian'; did you mean 'train'?",
        SPLIT,
    ),
    "a label in test alone": Broken(
        "a.csv",
        ROWS,
        "/test.csv, row 2: label 'perhaps' is in test, but in no training row",
        {"data": {"train": "a.csv", "test": "test.csv"}},
        others={"test.csv": [{**row, "churned": "perhaps"} for row in churn_rows(4, seed=9)]},
    ),
    "a huge number": Broken(
        "a.jsonl",
        [{**row, "churned": 10**400 + number} for number, row in enumerate(ROWS)],
        "/a.jsonl, row 1: label 'churned' is 1000000000",
        {"kind": "regression"},
    ),
    "half a character": Broken(
        "a.jsonl", '{"body": "\\ud83d\\ude00 \\ud83d!"}\n', "/a.jsonl, row 1: \\ud83d is half a character; write"
    ),
    "a broken link": Broken(
        "a.csv", lambda folder: (folder / "a.csv").symlink_to("b.csv"), "/a.csv: is a link to b.csv, which is not there"
    ),
    "an address": Broken("a.csv", TEXT, "a.csv: no such file", {"data": "https://example.org/a.csv"}),
    "two columns of one name": Broken(
        "a.parquet", lambda folder: _twice_named(folder / "a.parquet"), "it has two columns 'body'; rename one"
    ),
    "parquet that is not UTF-8": Broken(
        "a.parquet", lambda folder: _wrong_bytes(folder / "a.parquet"), "a.parquet: column 'body' cannot be read (Uni"
    ),
    "a list of words without a kind": Broken(
        "a.jsonl",
        entity_rows(9),
        "row 1: text 'words' is a list; give kind: tokens",
        {"text": "words", "label": "tags"},
    ),
    "a label that is a text too": Broken("a.csv", ROWS, "column 'body' is named twice", {"label": "body"}),
    "a label without a name": Broken(
        "a.jsonl", [{**row, "churned": ["a", " "]} for row in ROWS], "/a.jsonl, row 1: label 'churned' is ['a', ' ']; a"
    ),
    "an empty separator": Broken(
        "a.csv", ROWS, "target: separator must not be empty", {"kind": "multi-label", "separator": ""}
    ),
    "a value for two splits": Broken(
        "a.csv",
        ROWS,
        "target: split: 'x' cannot stand for both train and test",
        {"split": {"column": "subject", "train": ["w", "x"], "test": "x"}},
    ),
    "data that are no text": Broken(
        "a.csv", ROWS, "target: data should be a word or a mapping such as {name: value}, not 3", {"data": 3}
    ),
    "a file that is no text": Broken(
        "a.csv", ROWS, "target: data.train should be a word, not 3", {"data": {"train": 3}}
    ),
    "a column that is no text": Broken(
        "a.csv", ROWS, "target: text should be a word or a list such as [a, b], not 3", {"text": 3}
    ),
    "no model": Broken("a.csv", ROWS, "model must be a folder, or a name on the hub, not ''", {}, {"model": ""}),
    "too few rows": Broken("a.csv", ROWS[:3], "/a.csv: 0 rows are left to train on after", {}, {"test_fraction": 0.5}),
    "too many labels asked": Broken("a.csv", ROWS, "too few for 100 target_labels", {}, {"target_labels": 100}),
    "an unknown key": Broken(
        "a.csv", ROWS, "target: unknown option 'metrik'; did you mean 'metric'?", {"metrik": "f1"}
    ),
    "an unknown kind": Broken(
        "a.csv", ROWS, "target: kind should be 'classes', 'multi-label', 'regression' or", {"kind": "class"}
    ),
    "an unknown metric": Broken("a.csv", ROWS, "unknown metric 'acuracy'; did you", {"metric": "acuracy"}),
    "an unknown loss": Broken("a.csv", ROWS, "unknown loss 'mse'; available: cross_entropy", {"loss": "mse"}),
    "a metric of numbers": Broken("a.csv", ROWS, "compares numbers, but the loss is cross_entropy", {"metric": "rmse"}),
    "f1 of five classes": Broken("a.csv", TOPICS, "supports only labels 0 and 1", {"label": "topic", "metric": "f1"}),
    "a separator for one label": Broken("a.csv", ROWS, "separator is for kind: multi-label", {"separator": ";"}),
    "another separator": Broken(
        "a.csv", [{**row, "churned": "a;b"} for row in ROWS], 'give separator: ";"', {"kind": "multi-label"}
    ),
    "columns of words": Broken("a.csv", ROWS, "row 2: label 'subject' is 'about", {"label": ["subject", "churned"]}),
    "words without tags": Broken(
        "a.jsonl",
        [{**row, "tags": row["tags"][:-1]} for row in entity_rows(9)],
        "/a.jsonl, row 1: 'words' has ",
        {"text": "words", "label": "tags", "kind": "tokens"},
    ),
    "no words": Broken(
        "a.jsonl",
        [{"words": [], "tags": []}],
        "/a.jsonl, row 1: 'words' is empty; a list of words, or of a label",
        {"text": "words", "label": "tags", "kind": "tokens"},
    ),
    "no train file": Broken("a.csv", ROWS, "data has no file for train", {"data": {"test": "a.csv"}}),
    "an unknown part": Broken(
        "a.csv", ROWS, "data: unknown split 'valid'", {"data": {"train": "a.csv", "valid": "a.csv"}}
    ),
    "a name with a colon": Broken("a.csv", ROWS, "a name must be letters, digits", {"name": "a:b"}),
    "an auxiliary of the target's name": Broken(
        "a.csv",
        ROWS,
        "auxiliaries.churned: the target has that name",
        {},
        {"auxiliaries": {"churned": {"data": "a.csv", "text": "body", "label": "churned"}}},
    ),
    "an auxiliary of the target's texts": Broken(
        "a.csv",
        ROWS,
        "auxiliaries.same: the texts of all its rows are in the dev, select or test split of churned",
        {"data": {"train": "a.csv", "test": "test.csv"}},
        {"auxiliaries": {"same": {"data": "test.csv", "text": "body", "label": "churned"}}},
        others={"test.csv": churn_rows(9, seed=9)},
    ),
}


def _no_rows(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"body": pa.array([], pa.string()), "churned": pa.array([], pa.string())}), path)


def _twice_named(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["body", "body", "churned"]), path)


def _wrong_bytes(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9", b"a"]).buffers())
    pq.write_table(pa.table({"body": texts, "churned": ["yes", "no"]}), path)


def write(path: Path, content: Any) -> None:
    if callable(content):
        content(path.parent)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, newline="")
    else:
        {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}[path.suffix](path, content)


def failure(broken: Broken, model: Path) -> str:
    """What is said of a broken file when the suite is made of it and its data are drawn."""
    for name, content in {broken.name: broken.content, **broken.others}.items():
        write(Path(name).absolute(), content)
    data = "a.csv" if broken.name in ("b.csv", "none.bin") else broken.name
    target = {"data": data, "text": "body", "label": "churned", **broken.target}
    with pytest.raises(UserError) as caught:
        drawn({"name": "text", "model": str(model), "target": target, **broken.suite})
    return str(caught.value)


def drawn(specification: dict[str, Any]) -> None:
    """Draw every task of a suite."""
    for _ in build_suite(specification).draw(0).values():
        pass


@pytest.mark.parametrize("case", BROKEN)
def test_a_mistake_is_one_line_with_file_and_row(case: str, model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = failure(BROKEN[case], model)
    assert BROKEN[case].message in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be read by root")
def test_a_file_that_may_not_be_read(model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def closed(folder: Path) -> None:
        (folder / "a.csv").write_text(TEXT)
        (folder / "a.csv").chmod(0)

    assert "a.csv: cannot be read (Permission denied)" in failure(Broken("a.csv", closed, ""), model)
