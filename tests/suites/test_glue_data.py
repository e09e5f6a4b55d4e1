import json
from pathlib import Path

import numpy as np
import pytest
from glue_files import TASKS, dataset, rows_of, save
from text_models import save_encoder

from avil_ray.errors import UserError
from avil_ray.suites import glue_tasks
from avil_ray.suites.glue_data import Place, load, tasks_in
from avil_ray.suites.held_out import text_key


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = [
        text for task in TASKS for row in rows_of(task, "train", 20) for text in row.values() if isinstance(text, str)
    ]
    return str(save_encoder(tmp_path_factory.mktemp("model") / "bert", texts))


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setenv("AVIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    datasets.disable_progress_bars()


def write(folder: Path, layout: str, task: str, rows: list[dict]) -> None:
    """A task's train split in one of the ways in which it may stand in a folder."""
    import datasets

    home, made = folder / task, dataset(rows)
    home.mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if layout == "save_to_disk":
        datasets.DatasetDict({"train": made}).save_to_disk(home)
    elif layout == "split/save_to_disk":
        made.save_to_disk(home / "train")
    elif layout in ("split.jsonl", "split.json"):
        (home / layout.replace("split", "train")).write_text(lines)
    elif layout == "task_split.jsonl":
        home.rmdir()
        (folder / f"{task}_train.jsonl").write_text(lines)
    elif layout == "parts":
        half = len(rows) // 2
        dataset(rows[:half]).to_parquet(home / "train-00000-of-00002.parquet")
        dataset(rows[half:]).to_parquet(home / "train-00001-of-00002.parquet")
    elif layout == "split.parquet":
        made.to_parquet(home / "train.parquet")
    else:
        (home / "train").mkdir()
        made.to_parquet(home / "train" / "0000.parquet")


LAYOUTS = [
    "save_to_disk",
    "split/save_to_disk",
    "split.jsonl",
    "split.json",
    "task_split.jsonl",
    "parts",
    "split.parquet",
    "split/parquet",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_may_have_any_of_the_layouts(tmp_path: Path, model: str, layout: str) -> None:
    rows = rows_of("rte", "train", 9)
    write(tmp_path / "data", layout, "rte", rows)
    assert tasks_in(tmp_path / "data") == ["rte"]
    found = load("rte", "train", Place(str(tmp_path / "data"), model, 40))
    assert found.labels.tolist() == [row["label"] for row in rows]
    assert found.labels.dtype == np.int64
    assert found.keys.tolist() == [[text_key(row["sentence1"]), text_key(row["sentence2"])] for row in rows]
    assert len(found.tokens) == len(found) == 9


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_read_as_the_hub_has_it(tmp_path: Path, model: str, task: str) -> None:
    save(tmp_path / "data", task, train=6, validation=3)
    place = Place(str(tmp_path / "data"), model, 60)
    for split, count in (("train", 6), (glue_tasks.TASKS[task].validation, 3)):
        found = load(task, split, place)
        rows = rows_of(task, "train" if split == "train" else "validation", count)
        assert np.allclose(found.labels, [row["label"] for row in rows])
        assert found.labels.dtype == (np.float32 if task == "stsb" else np.int64)
        assert found.tokens.choices == (2 if task == "copa" else 1)
        assert ("marks" in found.tokens.columns) == (task in ("wic", "wsc"))


def texts_of(found, model: str) -> list[str]:
    """What stands in the tokens, as text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = np.split(found.tokens.columns["input_ids"], found.tokens.ends[:-1])
    return [tokenizer.decode(one).replace(" ", "") for one in ids]


def test_special_encodings(tmp_path: Path, model: str) -> None:
    place = Place(str(tmp_path), model, 64)
    for task in ("copa", "multirc", "wsc", "wic", "boolq"):
        save(tmp_path, task, train=4)

    def close(text: str) -> str:
        return text.lower().replace(" ", "")

    copa = texts_of(load("copa", "train", place), model)
    asked = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}
    for number, row in enumerate(rows_of("copa", "train", 4)):
        for choice in (0, 1):
            pair = (f"{row['premise']} {asked[row['question']]}", row[f"choice{choice + 1}"])
            assert copa[2 * number + choice] == "[CLS]" + "[SEP]".join(map(close, pair)) + "[SEP]"
    multirc = texts_of(load("multirc", "train", place), model)
    for text, row in zip(multirc, rows_of("multirc", "train", 4), strict=True):
        assert text.endswith(f"[SEP]{close(row['question'])}{close(row['answer'])}[SEP]"), (
            "the paragraph is what is cut"
        )
    boolq = texts_of(load("boolq", "train", place), model)
    for text, row in zip(boolq, rows_of("boolq", "train", 4), strict=True):
        assert text == f"[CLS]{close(row['question'])}[SEP]{close(row['passage'])}[SEP]"
    for task, words in (("wsc", ("theoldteacher", "he")), ("wic", ("storm", "storm"))):
        found = load(task, "train", place)
        columns = (np.split(found.tokens.columns[name], found.tokens.ends[:-1]) for name in ("input_ids", "marks"))
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model)
        for ids, marks in zip(*columns, strict=True):
            assert tuple(tokenizer.decode(ids[marks == mark]).replace(" ", "") for mark in (1, 2)) == words


def test_labels_may_be_names_or_truth_values(tmp_path: Path, model: str) -> None:
    rows = [row | {"label": ["entailment", "not_entailment"][row["label"]]} for row in rows_of("rte", "train", 8)]
    write(tmp_path, "split.jsonl", "rte", rows)
    write(
        tmp_path, "split.jsonl", "boolq", [row | {"label": row["label"] == 1} for row in rows_of("boolq", "train", 8)]
    )
    for task in ("rte", "boolq"):
        found = load(task, "train", Place(str(tmp_path), model, 40))
        assert found.labels.tolist() == [row["label"] for row in rows_of(task, "train", 8)]


def test_phrases_are_of_the_sentence_that_they_are_a_part_of(tmp_path: Path, model: str) -> None:
    texts = [
        "a very good film",
        "good film",
        "very",
        "not at all bad",
        "at all",
        "good",
        "all bad film",
        "a very good film",
    ]
    write(tmp_path, "split.jsonl", "sst2", [{"sentence": text, "label": 1, "idx": 0} for text in texts])
    sources = load("sst2", "train", Place(str(tmp_path), model, 40)).sources
    first, second, third = text_key(texts[0]), text_key(texts[3]), text_key(texts[6])
    assert sources.tolist() == [first, first, first, second, second, first, third, first]


def changed(**values: object) -> list[dict]:
    return [row | (values if number == 2 else {}) for number, row in enumerate(rows_of("rte", "train", 4))]


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        (
            "rte",
            changed(label=-1),
            "row 3: label -1 should be 0 to 1 (entailment, not_entailment); -1 stands for a hidden label",
        ),
        ("rte", changed(label=2), "row 3: label 2 should be 0 to 1 (entailment, not_entailment)"),
        ("rte", changed(label=None), "row 3: label None should be 0 to 1 (entailment, not_entailment)"),
        ("rte", changed(sentence1=None), "row 3: sentence1 should be a text, not None"),
        ("rte", [{"sentence1": "a", "label": 0}], "unknown column 'sentence2'; did you mean 'sentence1'?"),
        ("rte", [{"sentence1": "a", "sentence2": "b"}], "unknown column 'label'; available: sentence1, sentence2"),
        ("stsb", [{"sentence1": "a", "sentence2": "b", "label": 5.5}], "row 1: label 5.5 should be 0 to 5"),
        (
            "copa",
            [rows_of("copa", "train", 1)[0] | {"question": "why"}],
            "a row differs from the hub's format (KeyError: 'why')",
        ),
        (
            "wsc",
            [rows_of("wsc", "train", 1)[0] | {"text": "Short.", "span2_index": 4}],
            "a row differs from the hub's format (ValueError: word 4 of 'Short.')",
        ),
    ],
)
def test_each_wrong_row_is_one_line(tmp_path: Path, model: str, task: str, rows: list[dict], message: str) -> None:
    write(tmp_path, "split.jsonl", task, rows)
    with pytest.raises(UserError) as caught:
        load(task, "train", Place(str(tmp_path), model, 40))
    file = tmp_path / task / "train.jsonl"
    assert str(caught.value) == f"glue: {task}: {file}{', ' if message.startswith('row') else ': '}{message}"


def test_what_is_missing_is_one_line(tmp_path: Path, model: str) -> None:
    place = Place(str(tmp_path), model, 40)
    with pytest.raises(UserError, match=r"no-such: no such folder$"):
        tasks_in(tmp_path / "no-such")
    with pytest.raises(UserError, match=r"no task's data is in it; a task is a folder .*called: cb, copa, wsc"):
        tasks_in(tmp_path)
    with pytest.raises(UserError) as caught:
        load("wsc", "train", place)
    assert str(caught.value) == (
        f"glue: wsc: {tmp_path / 'wsc' / 'train'}.parquet: no such file (nor .jsonl, nor a folder of save_to_disk), "
        "and the task's train split is needed"
    )
    write(tmp_path, "save_to_disk", "rte", rows_of("rte", "train", 3))
    with pytest.raises(UserError) as caught:
        load("rte", "validation", place)
    assert str(caught.value) == f"glue: rte: {tmp_path / 'rte'}: unknown split 'validation'; available: train"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.parquet", b"PAR1 no more", ": cannot be read as Parquet ("),
        ("train.jsonl", b'{"sentence1": "a', ", row 1: no valid JSON ("),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, model: str, name: str, content: bytes, message: str) -> None:
    (tmp_path / "rte").mkdir()
    (tmp_path / "rte" / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        load("rte", "train", Place(str(tmp_path), model, 40))
    assert str(caught.value).startswith(f"glue: rte: {tmp_path / 'rte' / name}{message}")
    assert "\n" not in str(caught.value)


def test_wsc_may_be_called_as_on_the_hub(tmp_path: Path, model: str) -> None:
    write(tmp_path, "split.jsonl", "wsc.fixed", rows_of("wsc", "train", 3))
    assert tasks_in(tmp_path) == ["wsc"]
    assert len(load("wsc", "train", Place(str(tmp_path), model, 40))) == 3


def test_a_hub_that_cannot_be_reached_is_one_line(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        load("wsc", "train", Place(None, model, 40))
    message = str(caught.value)
    assert message.startswith("glue: wsc: aps/super_glue: it cannot be loaded from the hub (")
    assert message.endswith("without internet access, pass a file or a save_to_disk folder")
    assert "\n" not in message
