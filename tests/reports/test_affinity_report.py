"""The table fits a terminal, and the words say what the numbers say."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from simulated_affinity import TASKS, make_affinity

from avil_ray.reports.affinity import Affinity
from avil_ray.reports.affinity_report import CAVEAT, sentences, terminal_table, verdict, write_affinity
from avil_ray.reports.formats import MINUS


def printed(affinity: Affinity, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(affinity))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_holds_every_figure() -> None:
    lines = [line.split() for line in printed(make_affinity()).splitlines()]
    # 0.130 = t(0.975, 3) * 0.0816 / 2
    good = f"good {MINUS}0.500 ± 0.130 lowered 0.050 ± 0.013 0.25 ± 0.00 0.40"
    assert good.split() in lines
    assert [line[0] for line in lines if {"lowered", "raised", "unclear"} & set(line)] == ["good", "odd", "bad"]


def test_nothing_is_lost_on_a_narrow_terminal() -> None:
    text = printed(make_affinity(), 60)
    assert max(map(len, text.splitlines())) <= 60
    assert "…" not in text


def test_names_are_not_taken_for_markup() -> None:
    assert "[red]x[/red]" in printed(make_affinity(suite="[red]x[/red]"))


def test_words_follow_the_interval() -> None:
    affinity = make_affinity()
    assert {task: verdict(affinity, task) for task in affinity.auxiliaries} == {
        "bad": "raised",
        "good": "lowered",
        "odd": "unclear",
    }
    outcome, caveat = sentences(affinity)
    assert outcome == (
        "In this round good lowered the dev loss of goal; bad raised it; odd made no clear difference to it "
        "(the 95 % interval includes 0)."
    )
    assert caveat == CAVEAT
    assert "not a verdict" in caveat


def test_of_one_seed_nothing_is_claimed() -> None:
    affinity = make_affinity(1)
    assert "unclear" in printed(affinity)
    assert "±" not in printed(affinity)
    assert sentences(affinity)[0] == (
        "In this round good, odd and bad made no clear difference to the dev loss of goal (one seed gives no interval)."
    )


def test_where_the_similarity_is_not_defined_the_column_is_left_out_and_that_is_said() -> None:
    affinity = make_affinity(scores=None, inputs="Not defined here.")
    assert "similarity" in printed(make_affinity())
    assert "similarity" not in printed(affinity)
    assert "Not defined here." in sentences(affinity)


def test_a_metric_that_is_no_number_is_not_averaged() -> None:
    assert "none" in printed(make_affinity(metric_changes=np.full((4, 3), np.nan)))


def test_the_files_hold_the_same_numbers_each_time(tmp_path: Path) -> None:
    affinity = make_affinity()
    files = write_affinity(tmp_path / "new" / "folder", affinity)
    assert [file.name for file in files] == ["affinity.csv", "cosines.csv", "affinity.png"]
    pd.testing.assert_frame_equal(pd.read_csv(files[0]), affinity.frame())
    cosines = pd.read_csv(files[1], index_col="task")
    assert tuple(cosines.index) == tuple(cosines.columns) == TASKS
    assert cosines.to_numpy() == pytest.approx(affinity.cosine_matrix)
    before = [file.read_bytes() for file in files]
    write_affinity(tmp_path / "new" / "folder", affinity)
    assert [file.read_bytes() for file in files] == before
