import os
from pathlib import Path

import numpy as np
import pytest
from text_files import write_csv, write_jsonl, write_parquet

from avil_ray.errors import UserError
from avil_ray.suites.files.reading import Source, find_source
from avil_ray.suites.files.table import Table, stacked

ROWS = [{"text": "The café is open.", "label": "a"}, {"text": "猫が好きです。", "label": "b"}]
COLUMNS = ("text", "label")


def read(path: Path | str) -> Table:
    return find_source(str(path)).read(COLUMNS)


def values(table: Table) -> list[dict[str, str]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*(table.column(name) for name in COLUMNS), strict=True)]


def write_tsv(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in (rows[0], *(row.values() for row in rows))))


def save(path: Path, rows: list[dict[str, str]]) -> None:
    import datasets

    datasets.Dataset.from_list(rows).save_to_disk(path)


@pytest.mark.parametrize(
    ("name", "write", "first"),
    [
        ("a.csv", write_csv, 2),
        ("a.CSV", write_csv, 2),
        ("a.tsv", write_tsv, 2),
        ("a.jsonl", write_jsonl, 1),
        ("a.parquet", write_parquet, 1),
        ("folder", save, 1),
    ],
)
def test_every_form_is_the_same_table(tmp_path, name, write, first):
    write(tmp_path / name, ROWS)
    table = read(tmp_path / name)
    assert values(table) == ROWS
    assert [table.place(row) for row in range(2)] == [f"{tmp_path / name}, row {first + row}" for row in range(2)]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert values(read(write_csv(tmp_path / "a.csv", ROWS, encoding="utf-8-sig"))) == ROWS


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_may_have_other_separators(tmp_path, separator):
    (tmp_path / "a.csv").write_text(f'text{separator}label\n"one, two"{separator}b\n')
    assert values(read(tmp_path / "a.csv")) == [{"text": "one, two", "label": "b"}]


def test_rows_are_numbered_as_an_editor_numbers_lines(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\n"one\ntwo",a\n\nthree,b\n')
    table = read(tmp_path / "a.csv")
    assert table.column("text") == ["one\ntwo", "three"]
    assert table.numbers.tolist() == [2, 5]
    (tmp_path / "a.jsonl").write_text('\n{"text": "one", "label": "a"}\n\n{"text": "two"}\n')
    table = read(tmp_path / "a.jsonl")
    assert table.column("label") == ["a", None]
    assert table.numbers.tolist() == [2, 4]


def test_windows_line_ends_are_line_ends(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\r\none,a\r\n")
    assert values(read(tmp_path / "a.csv")) == [{"text": "one", "label": "a"}]


def test_a_cell_may_be_longer_than_pythons_limit(tmp_path):
    long = "word " * 40_000
    assert read(write_csv(tmp_path / "a.csv", [{"text": long, "label": "a"}])).column("text") == [long]


@pytest.mark.parametrize("form", ["a.parquet", "folder"])
def test_classes_of_datasets_have_their_names(tmp_path, form):
    import datasets

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
            "tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B"])),
        }
    )
    rows = {"text": ["one", "two", "three"], "label": [1, 0, -1], "tags": [[0, 1], [], [1]]}
    made = datasets.Dataset.from_dict(rows, features=features)
    made.to_parquet(tmp_path / form) if form.endswith("parquet") else made.save_to_disk(tmp_path / form)
    table = find_source(str(tmp_path / form)).read(["label", "tags"])
    assert table.column("label") == ["good", "bad", None]
    assert table.column("tags") == [["O", "B"], [], ["B"]]


def test_a_split_of_a_saved_dataset_is_named_behind_a_colon(tmp_path, caplog):
    import datasets

    parts = {"train": datasets.Dataset.from_list(ROWS[:1]), "test": datasets.Dataset.from_list(ROWS[1:])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    assert values(read(tmp_path / "saved")) == ROWS[:1]
    assert "saved: only its split train is read; it also has test" in caplog.text
    table = read(f"{tmp_path / 'saved'}:test")
    assert values(table) == ROWS[1:]
    assert table.place(0) == f"{tmp_path / 'saved'}:test, row 1"
    with pytest.raises(UserError, match="unknown split 'tests'; did you mean 'test'"):
        read(f"{tmp_path / 'saved'}:tests")


def test_a_colon_may_be_in_a_files_name(tmp_path):
    write_csv(tmp_path / "a:b.csv", ROWS)
    assert values(read(tmp_path / "a:b.csv")) == ROWS


def test_a_name_that_is_no_path_is_one_on_the_hub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_source("owner/name") == Source("owner/name", None, on_hub=True)
    assert find_source("owner/name:validation") == Source("owner/name", "validation", on_hub=True)
    (tmp_path / "owner").mkdir()
    with pytest.raises(UserError, match="no such file"):
        find_source("owner/name")


def test_what_is_on_the_hub_is_read_by_datasets(monkeypatch):
    import datasets

    asked = []

    def load_dataset(name, *others):
        asked.append(name)
        return {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:1])}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert values(read("owner/named:test")) == ROWS[:1]
    assert values(read("owner/named")) == ROWS
    assert set(asked) == {"owner/named"}


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    write_csv(tmp_path / "a.csv", ROWS)
    monkeypatch.chdir(tmp_path)
    source = find_source("a.csv")
    monkeypatch.chdir("/")
    assert values(source.read(COLUMNS)) == ROWS


def test_a_file_that_changed_is_read_again(tmp_path):
    file = write_csv(tmp_path / "a.csv", ROWS)
    first = read(file)
    assert read(file) is first
    write_csv(file, ROWS[:1])
    os.utime(file, ns=(1, 1))
    assert values(read(file)) == ROWS[:1]


def test_stacked_rows_know_their_files(tmp_path):
    one, two = write_csv(tmp_path / "a.csv", ROWS), write_jsonl(tmp_path / "b.jsonl", ROWS)
    table = stacked([read(one), read(two)])
    assert values(table) == ROWS * 2
    assert [table.place(row) for row in (1, 2)] == [f"{one}, row 3", f"{two}, row 1"]
    assert table.take(np.array([3, 0])).place(0) == f"{two}, row 2"


@pytest.mark.parametrize("name", ["", " ", 3, None, "a\nb", ["a"]])
def test_what_names_no_file_is_refused(name):
    with pytest.raises(UserError, match="data must name a file"):
        find_source(name)


def test_a_name_that_is_too_long_is_one_line():
    with pytest.raises(UserError, match=r"cannot be read \(File name too long\)"):
        find_source("a" * 5000 + ".csv")
