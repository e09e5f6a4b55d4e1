"""`avil-ray predict`: from files to files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from test_cli import call
from text_files import all_texts, churn_rows, entity_rows, star_rows, topic_rows, write_csv, write_jsonl, write_parquet
from text_models import save_encoder

import avil_ray as avil
from avil_ray.catalog import build_suite
from avil_ray.errors import UserError
from avil_ray.predicting import predict

TARGETS: dict[str, dict[str, Any]] = {
    "classes": {"data": "churn.csv", "text": "subject", "pair": "body", "label": "churned"},
    "joined": {"data": "churn.csv", "text": ["subject", "body"], "label": "churned"},
    "multi-label": {"data": "topics.jsonl", "text": "body", "label": "topics", "kind": "multi-label"},
    "regression": {"data": "reviews.parquet", "text": "review", "label": "stars", "kind": "regression"},
    "tokens": {"data": "entities.jsonl", "text": "words", "label": "tags", "kind": "tokens"},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind, and a model that was trained on each."""
    folder = tmp_path_factory.mktemp("files")
    encoder = save_encoder(folder / "encoder", all_texts())
    write_csv(folder / "churn.csv", churn_rows(60))
    topics = [
        {"body": row["body"], "topics": sorted({row["topic"], "all"[: 3 * (n % 2)]} - {""})}
        for n, row in enumerate(topic_rows(60))
    ]
    write_jsonl(folder / "topics.jsonl", topics)
    write_parquet(folder / "reviews.parquet", star_rows(60))
    write_jsonl(folder / "entities.jsonl", entity_rows(60))
    for name, target in TARGETS.items():
        described = {**target, "data": str(folder / target["data"]), "name": "target"}
        suite = build_suite({"name": "text", "model": str(encoder), "target": described})
        avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=2).save(folder / name)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["classes", "joined"])
def test_classes_are_named_with_their_probabilities(files: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / "predictions.csv"
    assert call("predict", str(files / name), str(files / "churn.csv"), "--output", str(output)) == 0
    rows = rows_of(output)
    assert len(rows) == 60
    for row in rows:
        assert list(row) == ["prediction", "probability/no", "probability/yes"]
        shares = {label: float(row[f"probability/{label}"]) for label in ("no", "yes")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == max(shares, key=shares.__getitem__)
    model: Any = avil.load(files / name)
    texts = [(row["subject"], row["body"]) for row in churn_rows(60)]
    joined = ["\n".join(parts) for parts in texts]
    answers = model.predict(*zip(*texts, strict=True)) if name == "classes" else model.predict(joined)
    assert [answer["prediction"] for answer in answers] == [row["prediction"] for row in rows]


def test_several_labels_stand_in_one_cell(files: Path, tmp_path: Path) -> None:
    assert predict(files / "multi-label", str(files / "topics.jsonl"), tmp_path / "out.csv") is None
    for row in rows_of(tmp_path / "out.csv"):
        labels = [name.removeprefix("probability/") for name in row if name != "prediction"]
        assert labels == ["all", "billing", "delivery", "login", "praise", "returns"]
        chosen = [label for label in labels if float(row[f"probability/{label}"]) > 0.5]
        assert row["prediction"] == "|".join(chosen)


def test_a_regression_gives_numbers_and_words_their_tags(files: Path, tmp_path: Path) -> None:
    numbers = predict(files / "regression", str(files / "reviews.parquet"), None)
    assert numbers is not None
    header, *values = numbers.splitlines()
    assert header == "prediction"
    assert len([float(value) for value in values]) == 60
    assert predict(files / "tokens", str(files / "entities.jsonl"), tmp_path / "out.jsonl") is None
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [len(row["prediction"]) for row in rows] == [len(row["words"]) for row in entity_rows(60)]
    assert {tag for row in rows for tag in row["prediction"]} <= {"O", "THING", "JUDGEMENT"}


def test_labels_need_not_be_in_the_file(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_csv(tmp_path / "new.csv", [{"body": "it was broken", "subject": "about my order", "other": "1"}])
    assert call("predict", str(files / "classes"), str(file)) == 0
    assert capsys.readouterr().out.startswith("prediction,probability/no,probability/yes\n")


def test_mistakes_are_one_line_and_status_2(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = write_csv(tmp_path / "new.csv", [{"bodi": "it was broken", "subject": "about my order"}])
    empty = write_csv(tmp_path / "empty.csv", [{"body": "x", "subject": "y"}, {"body": "", "subject": "y"}])
    for arguments, message in (
        ([files / "classes", wrong], "new.csv: unknown column 'body'; did you mean 'bodi'?"),
        ([files / "classes", empty], "empty.csv, row 3: text 'body' is empty"),
        ([files / "classes", tmp_path / "none.csv"], "none.csv: no such file"),
        ([tmp_path, wrong], "holds no exported model (no avil.json)"),
        ([files / "classes", files / "churn.csv", "--output", "out.xlsx"], "out.xlsx: the file must end in .csv"),
        (
            [files / "classes", files / "churn.csv", "--output", "none/out.csv"],
            "--output none/out.csv: there is no fold",
        ),
    ):
        assert call("predict", *map(str, arguments)) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_a_model_that_reads_no_files_says_how_it_is_used(tmp_path: Path) -> None:
    suite = avil.suites.synthetic(train=50, target_labels=30, select=20, test=20)
    avil.train(suite, avil.TargetOnly(), rounds=1, steps_per_round=1).save(tmp_path / "out")
    with pytest.raises(UserError, match=r"this model does not read files; use it from Python with avil_ray\.load"):
        predict(tmp_path / "out", "new.csv", None)
