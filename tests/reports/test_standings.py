"""The figures show the comparison's own numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from simulated import failed, make_facts, make_record

from avil_ray.reports import drawing
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.drawing import DARK, LIGHT, Drawing
from avil_ray.reports.standings import cost, differences


def dots(found: Drawing | None) -> list[tuple[float, float]]:
    assert found is not None
    [axes] = found.figure.axes
    return [tuple(one.get_offsets()[0]) for one in axes.collections if isinstance(one, PathCollection)]  # type: ignore[index]


def lines(found: Drawing | None) -> list[tuple[list[Any], list[Any]]]:
    assert found is not None
    [axes] = found.figure.axes
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]  # type: ignore[arg-type]


def test_every_difference_is_drawn_with_its_interval(comparison: Comparison) -> None:
    estimates = [one.estimate for one in comparison.differences if one.estimate]
    found = differences(comparison, LIGHT)
    assert dots(found) == [(estimate.difference, row) for row, estimate in enumerate(estimates)]
    intervals = [x for x, y in lines(found) if y[0] == y[1] and len(set(x)) == 2]
    assert intervals == [list(estimate.interval or ()) for estimate in estimates]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_better_side_is_shaded(mode: str) -> None:
    records = [make_record(label, seed, test=0.5 + seed / 9) for label in ("alpha-vil", "equal") for seed in (0, 1)]
    found = differences(compare(records, make_facts(("alpha-vil", "equal"), seeds=(0, 1), mode=mode)), LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    [shade] = axes.patches
    middle = float(np.mean(shade.get_extents().transformed(axes.transData.inverted()).intervalx))
    assert (middle > 0) == (mode == "max")


def test_every_method_with_a_result_is_drawn_at_its_whole_cost(comparison: Comparison) -> None:
    shown = [method for method in comparison.methods if method.test]
    assert "fork-merge" not in [method.label for method in shown]
    places = dots(cost(comparison, LIGHT))
    assert places == [(method.cost.gradient_steps, method.test.mean) for method in shown if method.test]


def test_a_search_is_drawn_from_one_configuration_to_all(comparison: Comparison) -> None:
    static = comparison.by_label["static"]
    expected = static.best_of("max")
    [(x, y)] = [(x, y) for x, y in lines(cost(comparison, LIGHT)) if len(x) == 12]
    assert x == [best.cost for best in expected]
    assert y == [best.test for best in expected]
    assert (x[-1], y[-1]) == (static.cost.gradient_steps, pytest.approx(static.test.mean if static.test else None))


def shown_ticks(axes: Axes) -> list[Text]:
    """The tick labels within the limits: Matplotlib keeps some outside, which it does not draw."""
    x = [text for text in axes.get_xticklabels() if axes.viewLim.containsx(text.get_position()[0])]
    return x + [text for text in axes.get_yticklabels() if axes.viewLim.containsy(text.get_position()[1])]


def test_no_name_stands_on_another_or_leaves_the_figure(comparison: Comparison) -> None:
    for draw, theme in itertools.product((cost, differences), (LIGHT, DARK)):
        found = draw(comparison, theme)
        assert found is not None
        drawing.png(found.figure)
        [axes] = found.figure.axes
        texts = [*axes.texts, *shown_ticks(axes), axes.xaxis.label, axes.yaxis.label]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1200 and box.y1 <= found.figure.bbox.y1 for box in boxes)


def test_points_of_one_cost_stand_side_by_side() -> None:
    labels = ("alpha-vil", "equal", "static")
    records = [make_record(label, test=0.8) for label in labels]
    found = cost(compare(records, make_facts(labels, seeds=(0,))), LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    drawing.png(found.figure)
    marks = [one for one in axes.collections if isinstance(one, PathCollection)]
    across = sorted(
        float(one.get_transforms()[0][0, 2] + one.get_offset_transform().transform([(100, 0.8)])[0][0]) for one in marks
    )
    assert all(b - a > 7 * drawing.POINT for a, b in itertools.pairwise(across))


def test_without_results_there_is_no_figure() -> None:
    comparison = compare([failed(make_record("alpha-vil"), "no")], make_facts(("alpha-vil", "equal"), seeds=(0,)))
    assert cost(comparison, LIGHT) is None
    assert differences(comparison, LIGHT) is None


def test_one_seed_is_drawn_without_an_interval() -> None:
    records = [make_record("alpha-vil", test=0.9), make_record("equal", test=0.8)]
    comparison = compare(records, make_facts(("alpha-vil", "equal"), seeds=(0,)))
    found = differences(comparison, LIGHT)
    assert found is not None
    assert "interval" not in found.caption
    assert dots(found) == [(pytest.approx(0.1), 0)]
