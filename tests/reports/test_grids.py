"""The heat map of a search shows what select said of it."""

from __future__ import annotations

import pytest
from matplotlib.patches import Rectangle
from simulated import failed, make_facts, make_record

from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.drawing import LIGHT
from avil_ray.reports.grids import grid, heat_map
from avil_ray.reports.records import TrialRecord


def searched(options: list[dict[str, object]], selects: list[float]) -> list[TrialRecord]:
    return [
        make_record("static", configuration=index, options=given, select=select)
        for index, (given, select) in enumerate(zip(options, selects, strict=True))
    ]


def test_a_cell_has_the_best_over_the_options_that_are_not_shown() -> None:
    values = [{"a": a, "b": b, "c": c} for a in (0.5, 0, 1) for b in ("x", "y", "z") for c in (1, 2)]
    selects = [index / 100 for index in range(len(values))]
    found = grid(compare(searched(values, selects), make_facts(("static",), seeds=(0,))).methods[0], "max")
    assert found is not None
    assert (found.across, found.down, found.columns, found.rows) == ("a", "b", [0, 0.5, 1], ["x", "y", "z"])
    assert found.others
    assert found.cells[0, 1] == pytest.approx(0.01)  # a = 0.5, b = x: the better of 0.00 and 0.01
    assert found.cells[2, 2] == pytest.approx(0.17)
    assert found.chosen == (2, 2)
    least = grid(compare(searched(values, selects), make_facts(("static",), seeds=(0,), mode="min")).methods[0], "min")
    assert least is not None
    assert least.cells[0, 1] == 0.0
    assert least.chosen == (0, 1)


def test_one_option_is_a_single_row_and_a_failed_configuration_an_empty_cell() -> None:
    records = searched([{"rate": rate} for rate in (0.1, 0.01, 0.001)], [0.5, 0.7, 0.6])
    records[0] = failed(records[0], "it diverged")
    comparison = compare(records, make_facts(("static",), seeds=(0,)))
    found = grid(comparison.methods[0], "max")
    assert found is not None
    assert (found.down, found.columns, found.cells) == (None, [0.001, 0.01], {(0, 0): 0.6, (0, 1): 0.7})


def test_the_figure_has_every_number_and_frames_the_chosen_one(comparison: Comparison) -> None:
    found = heat_map(comparison, comparison.by_label["static"], LIGHT)
    assert found is not None
    assert found.name == "grid-static"
    [axes] = found.figure.axes
    assert len(axes.texts) == 12
    frame = [patch for patch in axes.patches if isinstance(patch, Rectangle) and not patch.get_fill()]
    assert [patch.get_xy() for patch in frame] == [(3, 2)]  # weights.right = 1, the last of four; left_odd = 1
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.25", "0.5", "1"]
    [bold] = [text for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold.get_position() == (3.5, 2.5)


def test_what_was_not_searched_or_drawn_at_random_has_no_figure(comparison: Comparison) -> None:
    assert heat_map(comparison, comparison.by_label["equal"], LIGHT) is None
    assert heat_map(comparison, comparison.by_label["fork-merge"], LIGHT) is None
    drawn = searched([{"rate": index / 17} for index in range(13)], [0.5] * 13)
    assert grid(compare(drawn, make_facts(("static",), seeds=(0,))).methods[0], "max") is None
