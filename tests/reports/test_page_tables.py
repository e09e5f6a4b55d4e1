"""What stands in the cells of a report's tables."""

from __future__ import annotations

from simulated import make_facts, make_record

from avil_ray.reports import page_tables
from avil_ray.reports.alphas import alpha_findings
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.records import Cost


def test_every_method_stands_against_the_target_alone_and_the_recommended_one(comparison: Comparison) -> None:
    rows = page_tables.standings(comparison)
    assert [row.cells["method"] for row in rows] == [method.label for method in page_tables.ranked(comparison)]
    assert [row.cells["method"] for row in rows if row.reference] == ["static"]
    cells = {row.cells["method"]: row.cells for row in rows}
    assert set(cells["equal"]) == {"method", "test", "against target-only", "against static"}
    assert cells["target-only"]["against target-only"] == "the same"
    assert cells["fork-merge"]["against static"] == "no result"
    assert cells["static"]["against target-only"].startswith("+0.029 [")
    assert cells["static"]["against target-only"].endswith(": better")
    assert cells["target-only"]["against static"].endswith(": worse")
    assert cells["equal"]["against static"].endswith(": no difference shown")


def test_the_best_on_select_stands_first_and_what_has_no_result_last(comparison: Comparison) -> None:
    labels = [method.label for method in page_tables.ranked(comparison)]
    assert (labels[0], labels[-1]) == ("static", "fork-merge")
    records = [make_record("equal", select=0.7), make_record("static", select=0.8)]
    least = compare(records, make_facts(("static", "equal"), seeds=(0,), mode="min"))
    assert [method.label for method in page_tables.ranked(least)] == ["equal", "static"]


def test_one_seed_has_no_interval() -> None:
    records = [make_record("equal", test=0.7, select=0.9), make_record("static", test=0.8)]
    [_, second] = page_tables.standings(compare(records, make_facts(("static", "equal"), seeds=(0,))))
    assert second.cells["against equal"] == "+0.1000: too few seeds to tell"


def test_the_auxiliaries_have_what_there_is_of_them(comparison: Comparison) -> None:
    rows = {row.cells["auxiliary"]: row.cells for row in page_tables.auxiliary_rows(comparison)}
    grid, kept = "weight above 0 rather than 0 in static, on select", "kept by alpha-vil"
    assert set(rows["right"]) == {"auxiliary", "in static as chosen", grid, kept}
    assert (rows["right"]["in static as chosen"], rows["right"][kept]) == ("weight 1", "5 of 5 runs")
    assert rows["right"][grid].endswith(": helped")
    assert (rows["noise"]["in static as chosen"], rows["noise"][grid]) == ("not trained", "not varied")
    assert rows["noise"][kept] == "0 of 5 runs"
    assert page_tables.auxiliary_rows(compare([], make_facts(()))) == []


def test_alpha_has_a_row_for_each_task(comparison: Comparison) -> None:
    found = page_tables.alpha_table(alpha_findings(comparison)[0], "left")
    assert [row.cells["task"] for row in found.rows] == ["left", "right", "left_odd", "noise"]
    assert found.rows[3].cells["share"].endswith("(almost switched off)")
    assert found.rows[0].cells["rise of the dev loss without it"] == "not logged"


def test_the_table_shows_costs_of_all_trials_and_failures(comparison: Comparison) -> None:
    rows = {row.cells["method"]: row.cells for row in page_tables.rows(comparison)}
    assert rows["static"] == {
        "method": "static", "configurations": "12", "trials (failed)": "60 (0)", "test": "0.942 ± 0.014",
        "gradient steps": f"{12 * 5 * 20 * 96:,}", "reserved device time": "19.2 min", "busy": "50 %",
        "wall time": "5.8 min",
    }  # fmt: skip
    assert (rows["fork-merge"]["trials (failed)"], rows["fork-merge"]["test"]) == ("5 (1)", "none complete")
    assert [row.cells["method"] for row in page_tables.rows(comparison) if row.reference] == ["alpha-vil"]


def test_where_no_reserved_time_is_known_none_is_given_and_no_share_of_it() -> None:
    records = [make_record("equal", cost=Cost(100, 2.0, 1.0)), make_record("static")]
    [first, second] = page_tables.rows(compare(records, make_facts(("equal", "static"), seeds=(0,))))
    assert (first.cells["busy"], second.cells["busy"]) == ("n/a", "50 %")
    assert (first.cells["reserved device time"], first.cells["wall time"]) == ("n/a", "1.0 s")
