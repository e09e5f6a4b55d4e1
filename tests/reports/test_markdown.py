"""The report begins with the outcome and holds what it rests on; nothing in it is taken for markup."""

from __future__ import annotations

import re

import pytest
from simulated import failed, make_facts, make_record

from avil_ray.reports.alphas import CAVEAT
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.findings import COLUMNS
from avil_ray.reports.markdown import markdown_report


def test_the_answers_stand_first(comparison: Comparison) -> None:
    lines = markdown_report(comparison).splitlines()
    assert lines[0] == "# digits"
    assert lines[2] == "**Train left with static: weights.right = 1, weights.left_odd = 1.**"
    assert lines[6].startswith(
        "- **Do auxiliary tasks help left?** Yes. static, which is best on select, is 0.029 higher"
    )
    assert lines[8].startswith("- **What should I train with?** static with ")
    assert lines[11].startswith("  avil-ray run multimnist --method static --target left")


def test_every_section_is_there(comparison: Comparison) -> None:
    report = markdown_report(comparison, [("figures/cost.png", "Test against cost.")])
    headings = re.findall(r"^#+ .*$", report, flags=re.MULTILINE)
    assert headings == [
        "# digits", "## Every method on test", "## The auxiliary tasks",
        "## alpha-vil against the others, at whole and at equal cost", "## Test and cost", "## Figures",
        "## How the dev examples were used", "## What was chosen", "## What failed", "## alpha and w",
        "### alpha-vil", "### alpha-vil-paper", "## Where the figures come from", "## What the columns mean",
    ]  # fmt: skip
    assert "![Test against cost.](figures/cost.png)" in report
    assert "- **alpha-vil**: crossfit: each round, a fresh random part" in report
    assert "searched: weights.right = 1, weights.left_odd = 1" in report
    assert "1 trial (fork-merge/c000/s4): the loss was not finite in round 3" in report
    assert f"**Caveat**: {CAVEAT}" in report
    assert "- alpha almost switched off: noise" in report
    assert "- **MLflow**: <http://127.0.0.1:5000/#/experiments/1/runs/f00>" in report
    assert all(f"- **{name}**: " in report for name in COLUMNS)
    assert "\n\n\n" not in report


def test_tables_have_one_cell_for_each_column(comparison: Comparison) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", markdown_report(comparison), flags=re.MULTILINE)
    widths = [{len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()} for table in tables]
    assert widths == [{5}, {5}, {9}, {7}, {7}]


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
