"""Searches at equal cost as a report shows them: what stands in the cells is what was found."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from simulated import make_facts, make_record

from avil_ray.reports import equal_cost_table
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.equal_cost import AtCost, EqualCost
from avil_ray.reports.html import html_report
from avil_ray.reports.markdown import markdown_report
from avil_ray.reports.statistics import Estimate, PairedEstimate
from avil_ray.reports.write import TABLE, write_report

ESTIMATE = Estimate(0.9, (0.89, 0.91), 5)
RANDOM = AtCost(
    "static", "random", 3.5, 11_000, repeats=200, empty=4, select=0.91, per_seed={0: 0.9}, test=ESTIMATE,
    over_searches=Estimate(0.9, (0.898, 0.902), 196), middle=(0.85, 0.93),
    difference=PairedEstimate(0.03, (0.01, 0.05), 0.02, 5),
)  # fmt: skip
FOUND = EqualCost(
    12_960,
    True,
    (
        AtCost("static", "every configuration", 12, 115_200, within=False, select=0.95, test=ESTIMATE),
        RANDOM,
        AtCost("static", "asha", why_not="no history is stored"),
    ),
    ("static-two cannot be replayed: it has 1 trial that was stopped early.",),
)


@pytest.fixture
def told(comparison: Comparison) -> Comparison:
    return replace(comparison, equal_cost=FOUND)


def test_every_search_is_a_row_below_the_reference(told: Comparison) -> None:
    rows = equal_cost_table.rows(told)
    assert [row.reference for row in rows] == [True, False, False, False]
    assert rows[0].cells["gradient steps"] == "12,960"
    assert rows[1].cells["search"] == "every configuration, above the budget"
    assert rows[2].cells == {
        "method": "static", "search": "random", "configurations": "3.5", "gradient steps": "11,000",
        "test": "0.900 ± 0.010",
        "from search to search": "± 0.002, 90 % in [0.850, 0.930]; 4 of 200 could pay for nothing",
        "alpha-vil minus it": "+0.030 [0.010, 0.050]",
    }  # fmt: skip
    assert (rows[3].cells["search"], rows[3].cells["test"]) == ("asha", "no history is stored")


def test_sentences_name_the_budget_the_strongest_search_within_it_and_what_is_missing(told: Comparison) -> None:
    budget, strongest, remark = equal_cost_table.sentences(told)
    assert budget == "The budget is 12,960 gradient steps: what all trials of alpha-vil took."
    assert strongest.startswith("Of the searches within it, static with random is best on select; on test alpha-vil")
    assert strongest.endswith(" minus that is +0.030 ([0.010, 0.050]).")
    assert remark == FOUND.remarks[0]
    given = replace(told, equal_cost=replace(FOUND, of_reference=False, found=(), remarks=()))
    assert equal_cost_table.sentences(given) == ["The budget is 12,960 gradient steps: as the search space says."]
    assert equal_cost_table.rows(given) == []


def test_both_reports_say_it_all(told: Comparison) -> None:
    page = " ".join(unescape(html_report(told, [])).replace("\N{NO-BREAK SPACE}", " ").split())
    text = markdown_report(told)
    for expected in (*equal_cost_table.sentences(told), equal_cost_table.NOTE, "no history is stored", "At equal cost"):
        assert expected in text
        assert expected in page
    section = text.partition("## At equal cost")[2].partition("\n## ")[0]
    assert len([line for line in section.splitlines() if line.startswith("|")]) == 6
    assert text.index("## Test and cost") < text.index("## At equal cost") < text.index("## How the dev examples")


def test_without_a_table_the_sentences_stand_alone_and_unasked_there_is_no_section(comparison: Comparison) -> None:
    said = "There is no full grid to replay."
    bare = replace(comparison, equal_cost=EqualCost(None, True, remarks=(said,)))
    for report in (markdown_report(bare), html_report(bare, [])):
        assert said in report
        assert equal_cost_table.NOTE not in report
    for report in (markdown_report(comparison), html_report(comparison, [])):
        assert "At equal cost<" not in report
        assert "## At equal cost" not in report
    assert comparison.summary()["equal_cost"] is None


def test_the_strongest_is_by_select_whichever_way_is_better() -> None:
    worse, better = replace(RANDOM, search="grid", select=0.8), RANDOM
    found = replace(FOUND, found=(FOUND.found[0], worse, better))
    assert found.strongest(larger_is_better=True) is better
    assert found.strongest(larger_is_better=False) is worse
    assert EqualCost(1, True).strongest(larger_is_better=True) is None


def test_csv_has_every_number_and_is_removed_where_there_is_none(tmp_path: Path) -> None:
    records, facts = [make_record("alpha-vil"), make_record("static")], make_facts(("alpha-vil", "static"), seeds=(0,))
    write_report(tmp_path, records, facts, lambda compared: FOUND)
    rows = list(csv.DictReader(io.StringIO((tmp_path / TABLE).read_text())))
    assert [row["search"] for row in rows] == ["every configuration", "random", "asha"]
    expected = {"cost": "11000", "test": "0.9", "test_low": "0.89", "middle_high": "0.93", "difference_low": "0.01"}
    assert {name: rows[1][name] for name in expected} == expected
    assert (rows[2]["test"], rows[2]["why_not"]) == ("", "no history is stored")
    write_report(tmp_path, records, facts)
    assert not (tmp_path / TABLE).exists()
    assert compare(records, facts).equal_cost is None
