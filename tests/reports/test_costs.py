"""Every method stands at its whole cost, in gradient steps and in reserved device time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from simulated import failed, make_facts, make_record

from avil_ray.reports import drawing
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.costs import cost
from avil_ray.reports.drawing import DARK, LIGHT
from avil_ray.reports.records import Cost

PAID = ("gradient_steps", "reserved_device_seconds")


def panels(comparison: Comparison, theme: drawing.Theme = LIGHT) -> list[Axes]:
    found = cost(comparison, theme)
    assert found is not None
    return found.figure.axes


def dots(axes: Axes) -> list[tuple[float, float]]:
    return [tuple(one.get_offsets()[0]) for one in axes.collections if isinstance(one, PathCollection)]  # type: ignore[index]


def test_every_method_with_a_result_is_drawn_at_its_whole_cost(comparison: Comparison) -> None:
    shown = [method for method in comparison.methods if method.test]
    assert "fork-merge" not in [method.label for method in shown]
    for axes, paid in zip(panels(comparison), PAID, strict=True):
        assert dots(axes) == [(getattr(method.cost, paid), method.test.mean) for method in shown if method.test]


def test_a_search_is_drawn_from_one_configuration_to_all(comparison: Comparison) -> None:
    static = comparison.by_label["static"]
    for axes, paid in zip(panels(comparison), PAID, strict=True):
        expected = static.best_of("max", paid)  # type: ignore[arg-type]
        [line] = [line for line in axes.get_lines() if len(np.asarray(line.get_xdata())) == 12]
        assert np.asarray(line.get_xdata()).tolist() == [best.cost for best in expected]
        assert np.asarray(line.get_ydata()).tolist() == [best.test for best in expected]
        assert expected[-1].cost == pytest.approx(getattr(static.cost, paid))


def test_where_no_time_was_reserved_there_is_no_panel_for_it() -> None:
    records = [make_record("equal", cost=Cost(100, 1.0, 1.0, 0.0))]
    assert len(panels(compare(records, make_facts(("equal",), seeds=(0,))))) == 1


def shown_ticks(axes: Axes) -> list[Text]:
    """The tick labels within the limits: Matplotlib keeps some outside, which it does not draw."""
    x = [text for text in axes.get_xticklabels() if axes.viewLim.containsx(text.get_position()[0])]
    return x + [text for text in axes.get_yticklabels() if axes.viewLim.containsy(text.get_position()[1])]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_no_name_stands_on_another_or_leaves_the_figure(comparison: Comparison, theme: drawing.Theme) -> None:
    found = cost(comparison, theme)
    assert found is not None
    drawing.png(found.figure)
    for axes in found.figure.axes:
        texts = [*axes.texts, *shown_ticks(axes), axes.xaxis.label, axes.yaxis.label]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
        assert all(box.x1 <= found.figure.bbox.x1 and box.y1 <= found.figure.bbox.y1 for box in boxes)


def test_points_of_one_cost_stand_side_by_side() -> None:
    labels = ("alpha-vil", "equal", "static")
    found = cost(compare([make_record(label, test=0.8) for label in labels], make_facts(labels, seeds=(0,))), LIGHT)
    assert found is not None
    drawing.png(found.figure)
    for axes in found.figure.axes:
        marks = [one for one in axes.collections if isinstance(one, PathCollection)]
        assert len(marks) == 3
        across = sorted(
            float(one.get_offset_transform().transform(one.get_offsets())[0][0] + shift(one)) for one in marks
        )
        assert all(b - a > 7 * drawing.POINT for a, b in itertools.pairwise(across))


def shift(mark: PathCollection) -> float:
    """How far the transform of the mark moves it sideways, in pixels."""
    return float(mark.get_transforms()[0][0, 2])


def test_without_results_there_is_no_figure() -> None:
    comparison = compare([failed(make_record("alpha-vil"), "no")], make_facts(("alpha-vil", "equal"), seeds=(0,)))
    assert cost(comparison, LIGHT) is None
