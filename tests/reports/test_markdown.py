"""The report begins with the outcome and holds what it rests on; nothing in it is taken for markup."""

from __future__ import annotations

import re

import pytest
from simulated import failed, make_facts, make_record

from avil_ray.reports.alphas import CAVEAT
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.findings import COLUMNS
from avil_ray.reports.markdown import markdown_report


def test_the_outcome_stands_first(comparison: Comparison) -> None:
    lines = markdown_report(comparison).splitlines()
    assert lines[0] == "# digits"
    assert lines[2].startswith("**alpha-vil ties with 3, beats 2 and is undecided against 1 of 6 other methods")
    assert [line.split("**")[1].split()[0] for line in lines[4:10]] == ["Ties"] * 3 + ["Beats"] * 2 + ["Undecided"]


def test_every_section_is_there(comparison: Comparison) -> None:
    report = markdown_report(comparison, [("figures/cost.png", "Test against cost.")])
    headings = re.findall(r"^#+ .*$", report, flags=re.MULTILINE)
    assert headings == [
        "# digits", "## Test and cost", "## Figures", "## How the dev examples were spent", "## What was chosen",
        "## What failed", "## alpha and w", "### alpha-vil", "### alpha-vil-paper", "## What the columns mean",
    ]  # fmt: skip
    assert "![Test against cost.](figures/cost.png)" in report
    assert "- **crossfit" not in report
    assert "- **alpha-vil**: crossfit: each round a fresh random part" in report
    assert "searched: weights.right = 1.0, weights.left_odd = 1.0" in report
    assert "1 trial (fork-merge/c000/s4): the loss was not finite in round 3" in report
    assert f"**Caveat**: {CAVEAT}" in report
    assert "- alpha almost switched off: noise" in report
    assert all(f"- **{name}**: " in report for name in COLUMNS)
    assert "\n\n\n" not in report


def test_tables_have_one_cell_for_each_column(comparison: Comparison) -> None:
    rows = [line for line in markdown_report(comparison).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows[:9]} == {9}
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows[9:]} == {7}


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        ("a | b", r"a \| b"),
        ("<script>x</script>", r"\<script>x\</script>"),
        ("line\nnext `code` *bold*", r"line next \`code\` \*bold\*"),
        ("see [here](http://x)", r"see [here\](http://x)"),
        ("left_odd < 3 and _this_", r"left_odd < 3 and \_this\_"),
        ("&lt;b&gt;", r"\&lt;b\&gt;"),
        ("no [/mnt/data] $x_{$", r"no [/mnt/data] \$x\_{\$"),
        ("\x1b[31mred", r"\\x1b[31mred"),
    ],
)
def test_a_reason_cannot_become_markup(reason: str, written: str) -> None:
    records = [failed(make_record("equal"), reason)]
    assert f": {written}\n" in markdown_report(compare(records, make_facts(("equal",), seeds=(0,))))


def test_an_empty_sweep_still_gives_a_report() -> None:
    report = markdown_report(compare([], make_facts(())))
    assert "There is no trial yet" in report
    assert "No trial failed." in report
