from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from text_files import (
    all_texts,
    churn_rows,
    entity_rows,
    issue_suite,
    star_rows,
    topic_rows,
    write_csv,
    write_jsonl,
)
from text_models import save_encoder

import avil_ray as avil
from avil_ray.catalog import build_suite
from avil_ray.checking import facts_of, lines_of
from avil_ray.spaces.preview import preview
from avil_ray.spaces.search_space import problems, read_search_space
from avil_ray.suites.held_out import text_keys
from avil_ray.tasks.checks import SPLITS

JAPANESE = [
    {"本文": f"{thing}は{word}です。番号{number}", "評価": "良い" if word in ("最高", "素敵") else "悪い"}
    for number in range(8)
    for thing in ("商品", "配送", "店員")
    for word in ("最高", "素敵", "最悪", "残念")
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    texts = [*all_texts(), *(row["本文"] for row in JAPANESE)]
    return {kind: save_encoder(folder / kind, texts, kind) for kind in ("bert", "roberta", "gpt2")}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(model: Path, target: dict[str, Any], **more: Any) -> avil.Suite:
    return build_suite({"name": "text", "model": str(model), "target": target, **more})


def churn(folder: Path, **more: Any) -> dict[str, Any]:
    rows = write_csv(folder / "churn.csv", churn_rows(120))
    return {"data": str(rows), "text": ["subject", "body"], "label": "churned", **more}


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("peft", ["none", "lora", "frozen"])
def test_four_files_train_on_any_encoder(models, tmp_path, kind, peft):
    if (kind, peft) == ("gpt2", "frozen"):
        pytest.skip("nothing that tasks share would train")
    specification = issue_suite(tmp_path, models[kind], max_length=40, peft=peft)
    if kind == "gpt2":
        del specification["auxiliaries"]["entities"]
    suite = build_suite(specification)
    assert suite.task_names[:3] == ("churned", "topic", "stars")
    result = avil.train(suite, avil.Equal(), rounds=1, steps_per_round=2, seed=0)
    assert set(result.test) == {"f1", "loss"}


def test_files_teach_what_is_in_them(models, tmp_path):
    specification = issue_suite(tmp_path, models["bert"], max_length=40)
    specification["auxiliaries"] = {"topic": specification["auxiliaries"]["topic"]}
    suite = build_suite(specification).learned_with({"learning_rate": 0.005})
    result = avil.train(suite, avil.Equal(), rounds=6, steps_per_round=30, seed=0)
    assert result.test["f1"] > 0.8


def test_words_teach_their_tags(models, tmp_path):
    write_jsonl(tmp_path / "entities.jsonl", entity_rows(200))
    target = {"data": str(tmp_path / "entities.jsonl"), "text": "words", "label": "tags", "kind": "tokens"}
    suite = make(models["roberta"], target, auxiliaries={"churn": churn(tmp_path)}, max_length=40)
    result = avil.train(suite.learned_with({"learning_rate": 0.01}), avil.Equal(), rounds=4, steps_per_round=20, seed=0)
    assert result.test["accuracy"] > 0.95


def test_a_label_stands_at_the_first_token_of_its_word(models, tmp_path):
    rows = [{"words": ["the", "undelivered", "parcel"], "tags": ["O", "A", "B"]}, {"words": ["no"], "tags": ["O"]}] * 5
    rows = [
        {**row, "words": [*row["words"], str(number)], "tags": [*row["tags"], "O"]} for number, row in enumerate(rows)
    ]
    write_jsonl(tmp_path / "a.jsonl", rows)
    target = {"data": str(tmp_path / "a.jsonl"), "text": "words", "label": "tags", "kind": "tokens"}
    train = make(models["bert"], target, max_length=40).draw(0)["tags"].source("train")
    inputs, tags = train.batch(torch.arange(len(train)))
    assert inputs["input_ids"].shape == tags.shape == inputs["words"].shape
    counts = (tags != -100).sum(dim=1).tolist()
    assert set(counts) <= {4, 2}
    assert torch.equal(tags != -100, inputs["words"] > 0)
    assert (tags[:, 0] == -100).all()
    longest = tags[counts.index(4)] if 4 in counts else None
    if longest is not None:
        assert longest[longest != -100].tolist() == [2, 0, 1, 2]


def test_words_beyond_the_length_have_no_labels(models, tmp_path):
    rows = [{"words": ["order"] * 30, "tags": ["A", "B"] * 15}, {"words": ["parcel"] * 2, "tags": ["A", "B"]}] * 10
    rows = [{**row, "words": [str(number), *row["words"][1:]]} for number, row in enumerate(rows)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    target = {"data": str(tmp_path / "a.jsonl"), "text": "words", "label": "tags", "kind": "tokens"}
    suite = make(models["bert"], target, max_length=10)
    train = suite.draw(0)["tags"].source("train")
    inputs, tags = train.batch(torch.arange(len(train)))
    assert tags.shape[1] == inputs["input_ids"].shape[1] == 10
    assert any("10 of 20 texts (50.0 %) are cut" in line for line in suite.details(0))


def test_japanese_texts(models, tmp_path):
    data = write_jsonl(tmp_path / "日本語.jsonl", JAPANESE)
    suite = make(models["bert"], {"data": str(data), "text": "本文", "label": "評価"}, max_length=40)
    assert suite.target == "評価"
    result = avil.train(suite.learned_with({"learning_rate": 0.01}), avil.Equal(), rounds=4, steps_per_round=20, seed=0)
    assert result.test["accuracy"] > 0.9


def test_pairs_of_texts_are_told_apart(models, tmp_path):
    rows = [{**row, "order": row["subject"]} for row in churn_rows(60)]
    data = str(write_csv(tmp_path / "a.csv", rows))
    target = {"data": data, "text": "body", "pair": ["subject", "order"], "label": "churned"}
    suite = make(models["bert"], target, max_length=40)
    inputs, _ = suite.draw(0)["churned"].train.batch(torch.arange(4))
    assert set(inputs["token_type_ids"].unique().tolist()) == {0, 1}
    assert suite.exporter.columns == (("body",), ("subject", "order"))


@pytest.mark.parametrize(
    ("label", "more", "kind", "loss"),
    [
        ("churned", {}, "classes", "cross_entropy"),
        ("score", {}, "regression", "mean_squared_error"),
        ("score", {"loss": "mean_absolute_error"}, "regression", "mean_absolute_error"),
        ("tags", {"kind": "multi-label"}, "multi-label", "binary_cross_entropy"),
        (["spam", "urgent"], {}, "multi-label", "binary_cross_entropy"),
    ],
)
def test_every_kind_of_label_trains(models, tmp_path, label, more, kind, loss):
    rows = churn_rows(60)
    rows = [
        {
            **row,
            "score": number / 7,
            "tags": ["a|b", "a", "b|c", ""][number % 4],
            "spam": number % 2,
            "urgent": number % 3 % 2,
        }
        for number, row in enumerate(rows)
    ]
    data = str(write_csv(tmp_path / "a.csv", rows))
    suite = make(models["bert"], {"data": data, "text": "body", "label": label, **more}, max_length=40)
    assert suite.exporter.output.kind == kind
    assert suite.draw(0)[suite.target].loss == loss
    assert avil.train(suite, avil.AlphaVIL(), rounds=1, steps_per_round=1, seed=0).best_round is not None


def test_no_text_of_the_target_is_in_two_splits_or_in_an_auxiliarys_rows_if_held_out(models, tmp_path, caplog):
    rows = churn_rows(80)
    rows += [{**row, "body": row["body"].upper()} for row in rows[:40]]
    data = str(write_csv(tmp_path / "a.csv", rows))
    same = write_jsonl(
        tmp_path / "same.jsonl", [{"body": f"{row['body']}!", "kind": "ab"[n % 2]} for n, row in enumerate(rows)]
    )
    target = {"data": data, "text": "body", "label": "churned", "name": "goal"}
    auxiliaries = {"same": {"data": str(same), "text": "body", "label": "kind"}}
    suite = make(models["bert"], target, auxiliaries=auxiliaries, max_length=40)
    with caplog.at_level(logging.WARNING):
        tasks = suite.draw(0)
        inputs = {split: ids(getattr(tasks["goal"], split)) for split in SPLITS}
        there = ids(tasks["same"].train)
    sets = [set(map(tuple, rows)) for rows in inputs.values()]
    assert sum(map(len, sets)) == len(set().union(*sets)) == 80
    dropped = 120 - len(there)
    assert dropped > 0
    assert (
        f"text: same: {dropped} of 120 rows are dropped, as their texts are in dev, select or test of goal"
        in caplog.text
    )
    assert any(f"{dropped} of 120 rows are dropped" in line for line in suite.details(0))


def ids(examples: Any) -> list[list[int]]:
    """The token ids of a split, without what differs between a text and the same with a full stop."""
    inputs, _ = examples.batch(torch.arange(len(examples)))
    return [[number for number in row if number > 4] for row in inputs["input_ids"].tolist()]


def test_labels_have_one_order_whatever_the_seed_and_split(models, tmp_path):
    target = {"data": str(write_jsonl(tmp_path / "a.jsonl", topic_rows(90))), "text": "body", "label": "topic"}
    suite = make(models["bert"], target, max_length=40)
    assert suite.exporter.output.labels == ("billing", "delivery", "login", "praise", "returns")


def test_splits_by_file_and_by_column(models, tmp_path):
    rows = churn_rows(90)
    train, test = write_csv(tmp_path / "a.csv", rows[:60]), write_jsonl(tmp_path / "b.jsonl", rows[60:])
    target = {"data": {"train": str(train), "test": str(test)}, "text": "body", "label": "churned"}
    tasks = make(models["bert"], target, max_length=40).draw(0)["churned"]
    assert [len(getattr(tasks, split)) for split in SPLITS] == [28, 14, 18, 30]
    for number, row in enumerate(rows):
        row["part"] = ["learn", "learn", "validation", "held out"][number % 4]
    data = str(write_csv(tmp_path / "c.csv", rows))
    split = {"column": "part", "train": "learn", "select": ["validation"], "test": ["held out"]}
    suite = make(models["bert"], {"data": data, "text": "body", "label": "churned", "split": split}, max_length=40)
    assert [len(getattr(suite.draw(0)["churned"], part)) for part in SPLITS] == [31, 15, 22, 22]
    assert "    train 31, dev 15, select 22, test 22; dev by share and seed" in suite.details(0)


def test_sizes_may_be_limited(models, tmp_path):
    other = {"data": str(write_jsonl(tmp_path / "a.jsonl", topic_rows(90))), "text": "body", "label": "topic"}
    suite = make(
        models["bert"],
        churn(tmp_path),
        auxiliaries={"topic": other},
        target_labels=30,
        auxiliary_labels=40,
        dev_fraction=0.5,
    )
    tasks = suite.draw(0)
    assert [len(getattr(tasks["churned"], split)) for split in SPLITS] == [15, 15, 24, 24]
    assert len(tasks["topic"].train) == 40


def test_a_key_may_be_dotted(models, tmp_path):
    options = {"name": "text", "model": str(models["bert"]), "target": churn(tmp_path), "target.metric": "mcc"}
    assert build_suite(options).draw(0)["churned"].metric == "mcc"


def test_texts_are_tokenised_once(models, tmp_path, cache, monkeypatch):
    suite = make(models["bert"], churn(tmp_path), max_length=40)
    first = suite.draw(0)["churned"].train.batch(torch.arange(3))[0]
    files = {file: file.stat().st_mtime_ns for file in (cache / "tokens").iterdir()}
    assert len(files) == 1
    from avil_ray.suites import text_tasks, tokens

    text_tasks._tokens.cache_clear()
    monkeypatch.setattr(tokens, "_tokenised", None)
    again = suite.draw(0)["churned"].train.batch(torch.arange(3))[0]
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_changed_file_is_another_run(models, tmp_path):
    before = make(models["bert"], churn(tmp_path))
    assert make(models["bert"], churn(tmp_path)).options == before.options
    write_csv(tmp_path / "churn.csv", churn_rows(119))
    after = make(models["bert"], {"data": str(tmp_path / "churn.csv"), "text": ["subject", "body"], "label": "churned"})
    assert after.options["contents"] != before.options["contents"]


def test_check_says_what_was_found(models, tmp_path):
    lines = list(lines_of(facts_of(build_suite(issue_suite(tmp_path, models["bert"], max_length=16)))))
    said = "\n".join(lines)
    for part in (
        f"  churned: 120 rows of {tmp_path / 'churn.csv'}",
        "head of 2 classes: no 68.3 %, yes 31.7 %; taken for classes, as labels are words",
        "f1 is that of 'yes'",
        "train 48, dev 24, select 24, test 24; dev, select, test by share and seed",
        "head of a number: from 1 to 5, mean 3.263, deviation 1.421",
        "head of 3 classes of each word: O 66.2 %",
        "are cut",
        "no row's text is in dev, select or test of churned",
    ):
        assert part in said, said


def space_file(folder: Path, suite: dict[str, Any]) -> Path:
    """A search space of a suite."""
    import yaml

    document = {"name": "mails", "suite": suite, "rounds": 1, "steps_per_round": 2, "seeds": [0]}
    path = folder / "mails.yaml"
    path.write_text(yaml.safe_dump({**document, "methods": [{"method": "equal"}]}, allow_unicode=True))
    return path


def test_a_search_space_is_checked_with_its_files(models, tmp_path):
    suite = issue_suite(tmp_path, models["bert"], max_length=40)
    path = space_file(tmp_path, suite)
    assert problems(path) == []
    lines = preview(read_search_space(path), {"CPU": 4.0}).lines()
    assert f"  topic: 80 rows of {tmp_path / 'topics.jsonl'}" in lines
    assert any("train 48, dev 24, select 24, test 24" in line for line in lines)
    assert problems(path, [("suite.target.label", "churn")]) == [
        f"mails.yaml: suite.target: {tmp_path / 'churn.csv'}: unknown column 'churn'; did you mean 'churned'?"
    ]
    assert problems(path, [("suite.auxiliaries.topic.txt", "body")]) == [
        "mails.yaml: suite.auxiliaries.topic: unknown option 'txt'; did you mean 'text'?"
    ]


@pytest.mark.parametrize("peft", ["none", "lora"])
def test_a_saved_model_predicts_as_the_result_does(models, tmp_path, peft):
    suite = build_suite(issue_suite(tmp_path, models["bert"], max_length=40, peft=peft))
    result = avil.train(suite, avil.Equal(), rounds=1, steps_per_round=2, seed=0)
    result.save(tmp_path / "out")
    rows = churn_rows(120)
    answers = avil.load(tmp_path / "out").predict([f"{row['subject']}\n{row['body']}" for row in rows[:5]])
    tokens = suite.draw(0)["churned"]
    texts = np.array(text_keys(f"{row['subject']}\n{row['body']}" for row in rows[:5]))
    assert len(set(texts.tolist())) == 5
    assert [set(answer) for answer in answers] == [{"prediction", "probability/no", "probability/yes"}] * 5
    column = tokens.train.inputs
    inputs = type(column)(column.tokens, np.arange(5))[torch.arange(5)]
    with torch.no_grad():
        expected = result.model()(inputs).softmax(dim=1)[:, 1]
    assert torch.allclose(torch.tensor([answer["probability/yes"] for answer in answers]).float(), expected, atol=1e-5)


def test_stars_of_whole_numbers_are_classes_and_it_is_said(models, tmp_path):
    data = str(write_csv(tmp_path / "a.csv", star_rows(60)))
    suite = make(models["bert"], {"data": data, "text": "review", "label": "stars"}, max_length=40)
    assert suite.exporter.output.labels == ("1", "2", "3", "4", "5")
    assert any("taken for classes, as labels are 5 different whole numbers" in line for line in suite.details(0))


START = """
import sys, time
start = time.perf_counter()
from avil_ray.catalog import build_suite
target = {"data": sys.argv[1], "text": "body", "label": "topic"}
suite = build_suite({"name": "text", "model": sys.argv[2], "target": target, "max_length": 64})
task = suite.draw(0)["topic"]
print(len(task.train), len(task.test), time.perf_counter() - start)
"""


@pytest.mark.slow
def test_two_hundred_thousand_rows_are_tokenised_once_and_start_in_seconds(models, tmp_path, cache):
    data = str(write_jsonl(tmp_path / "topics.jsonl", topic_rows(200_000)))
    command = [sys.executable, "-c", START, data, str(models["bert"])]
    seconds, files = [], []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        train, test, took = done.stdout.split()
        assert (int(train), int(test)) == (187_000, 10_000)
        seconds.append(float(took))
        files.append({file: file.stat().st_mtime_ns for file in (cache / "tokens").iterdir()})
    assert len(files[0]) == 1
    assert files[1] == files[0]
    assert seconds[1] < 30  # five seconds or so, where nothing else uses the cores


def test_numbers_of_an_unwieldy_size_are_told(models, tmp_path):
    rows = [{"body": f"mail {number}", "price": 1000.5 * number} for number in range(40)]
    data = str(write_csv(tmp_path / "a.csv", rows))
    suite = make(models["bert"], {"data": data, "text": "body", "label": "price"}, max_length=40)
    assert any("learned faster in units in which they spread by about 1" in line for line in suite.details(0))


@pytest.mark.parametrize("more", [{}, {"peft": "frozen"}, {"peft": "lora", "layers": 1}])
def test_adapters_alone_are_of_lora_and_of_the_whole_encoder(models, tmp_path, more):
    with pytest.raises(avil.UserError, match="text: merge: false saves adapters alone, for the whole encoder"):
        make(models["bert"], churn(tmp_path), merge=False, **more)
    make(models["bert"], churn(tmp_path), merge=False, peft="lora")
