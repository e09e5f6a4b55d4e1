"""The table fits a terminal and holds every figure."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from simulated import failed, make_facts, make_record

from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.tables import terminal_table


def printed(comparison: Comparison, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(comparison))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_holds_every_figure(comparison: Comparison) -> None:
    text = printed(comparison, 120)
    static = next(line for line in text.splitlines() if line.strip().startswith("static"))
    assert static.split() == [
        "static",
        "60",
        "(0)",
        "0.942",
        "±",
        "0.014",
        "115,200",
        "19.2",
        "min",
        "50",
        "%",
        "5.8",
        "min",
    ]
    assert "none complete" in text
    assert "5 (1)" in text
    assert "digits: Train left with static: weights.right = 1, weights.left_odd = 1." in text


@pytest.mark.parametrize("width", [60, 80])
def test_nothing_is_lost_on_a_narrow_terminal(comparison: Comparison, width: int) -> None:
    text = printed(comparison, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for figure in ("115,200", "12,960"):
        assert figure in text


@pytest.mark.parametrize("label", ["[red]x[/red]", "[/mnt/data]", ":smile:", "$x_{$"])
def test_labels_are_not_taken_for_markup(label: str) -> None:
    records = [make_record(label), failed(make_record("alpha-vil"), "no")]
    assert label in printed(compare(records, make_facts((label,), seeds=(0,))), 120)


def test_a_label_steers_no_terminal() -> None:
    text = printed(compare([make_record("\x1b[2Jx")], make_facts(("\x1b[2Jx",), seeds=(0,))), 120)
    assert r"\x1b[2Jx" in text
    assert "\x1b" not in text
