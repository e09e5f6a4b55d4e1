"""The figures show the comparison's own numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from simulated import failed, make_facts, make_record

from avil_ray.reports import drawing, page_tables
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.drawing import DARK, LIGHT
from avil_ray.reports.standings import differences, per_seed


def panels(comparison: Comparison) -> list[Axes]:
    found = differences(comparison, LIGHT)
    assert found is not None
    return found.figure.axes


def dots(axes: Axes) -> list[tuple[float, float]]:
    marks = [one for one in axes.collections if isinstance(one, PathCollection)]
    return [(float(x), float(y)) for one in marks for x, y in np.asarray(one.get_offsets())]


def test_every_difference_from_both_baselines_is_drawn_with_its_interval(comparison: Comparison) -> None:
    order = [method.label for method in page_tables.ranked(comparison) if method.test]
    for axes, found in zip(panels(comparison), (comparison.against_alone, comparison.against_best), strict=True):
        estimates = {order.index(one.a): one.estimate for one in found if one.estimate}
        assert dots(axes) == [(estimates[row].difference, row) for row in sorted(estimates)]
        lines = [line for line in axes.get_lines() if len(set(np.asarray(line.get_xdata()).tolist())) == 2]
        intervals = [tuple(np.asarray(line.get_xdata()).tolist()) for line in lines]
        assert intervals == [estimates[row].interval for row in sorted(estimates)]


def test_where_the_target_alone_is_the_best_there_is_one_panel() -> None:
    records = [make_record("equal", seed, test=0.5 + seed / 9) for seed in (0, 1)]
    assert len(panels(compare([*records, make_record("static")], make_facts(("equal", "static"), seeds=(0,))))) == 1


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_better_side_is_shaded(mode: str) -> None:
    records = [make_record(label, seed, test=0.5 + seed / 9) for label in ("alpha-vil", "equal") for seed in (0, 1)]
    [axes] = panels(compare(records, make_facts(("alpha-vil", "equal"), seeds=(0, 1), mode=mode)))
    [shade] = axes.patches
    middle = float(np.mean(shade.get_extents().transformed(axes.transData.inverted()).intervalx))
    assert (middle > 0) == (mode == "max")


def test_every_seed_is_a_dot_and_its_line_runs_through_all_methods(comparison: Comparison) -> None:
    found = per_seed(comparison, LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    shown = [method for method in page_tables.ranked(comparison) if method.chosen]
    per = [method.chosen.per_seed for method in shown if method.chosen]
    assert dots(axes) == [(value, row) for row, values in enumerate(per) for value in values.values()]
    lines = [np.asarray(line.get_xdata()).tolist() for line in axes.get_lines()]
    assert [line for line in lines if len(line) == len(shown)] == [[one[seed] for one in per] for seed in range(5)]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_no_name_stands_on_another_or_leaves_the_figure(comparison: Comparison, theme: drawing.Theme) -> None:
    for found in (differences(comparison, theme), per_seed(comparison, theme)):
        assert found is not None
        drawing.png(found.figure)
        boxes = [text.get_window_extent() for axes in found.figure.axes for text in [*axes.texts, axes.xaxis.label]]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
        assert all(box.x1 <= found.figure.bbox.x1 and box.y1 <= found.figure.bbox.y1 for box in boxes)


def test_a_long_name_takes_more_lines_and_every_row_more_room() -> None:
    long = "a-label-of-many-words_and-nowhere-to-break-it-abcdefghijklmnopqrs"
    heights = []
    for label in ("short", long):
        records = [make_record(name, seed) for name in (label, "equal") for seed in (0, 1)]
        found = per_seed(compare(records, make_facts((label, "equal"), seeds=(0, 1))), LIGHT)
        assert found is not None
        heights.append(found.figure.get_size_inches()[1])
        said = "".join(text.get_text() for text in found.figure.axes[0].texts).replace("\n", "")
        assert label in said
    assert heights[1] > heights[0]


def test_without_results_there_is_no_figure() -> None:
    comparison = compare([failed(make_record("alpha-vil"), "no")], make_facts(("alpha-vil", "equal"), seeds=(0,)))
    assert differences(comparison, LIGHT) is None
    assert per_seed(comparison, LIGHT) is None


def test_one_seed_is_drawn_without_an_interval_and_has_no_figure_of_seeds() -> None:
    records = [make_record("alpha-vil", test=0.9), make_record("equal", test=0.8)]
    comparison = compare(records, make_facts(("alpha-vil", "equal"), seeds=(0,)))
    [axes] = panels(comparison)
    assert dots(axes) == [(pytest.approx(-0.1), 1)]
    assert per_seed(comparison, LIGHT) is None
