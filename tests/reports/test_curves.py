"""Select is drawn over the gradient steps of a run, and every line is named."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from simulated import make_facts, make_record

from avil_ray.reports import drawing
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.curves import select_curves, track_curves
from avil_ray.reports.drawing import DARK, LIGHT


def drawn(axes: Axes) -> list[pd.Series]:
    """The lines over the data, not those that lead to names."""
    return [
        pd.Series(np.asarray(line.get_ydata()), index=np.asarray(line.get_xdata()))
        for line in axes.get_lines()
        if line.get_transform() == axes.transData
    ]


def names(axes: Axes) -> set[str]:
    return {text.get_text() for text in axes.texts}


def test_select_is_drawn_over_the_steps_spent_the_mean_over_seeds(comparison: Comparison) -> None:
    found = select_curves(comparison, LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    chosen = comparison.by_label["static"].chosen
    assert chosen is not None
    expected = pd.concat([record.history for record in chosen.records]).groupby("round")["select/accuracy"].mean()
    [line] = [line for line in drawn(axes) if len(line) == 20 and np.allclose(line, expected)]
    assert line.index.tolist() == [96.0 * (number + 1) for number in range(20)]
    assert {"alpha-vil", "static", "equal", "target-only"} <= names(axes)
    assert "fork-merge" not in names(axes)


TRACKS = pd.DataFrame(
    {
        "round": range(7),
        "fine_tuning": [np.nan] * 5 + [1, 1],
        "select/accuracy": [0.3, 0.5, 0.6, 0.6, 0.7, 0.8, 0.8],
        "target-only/select/accuracy": [0.2, 0.4, 0.45, 0.5, 0.5, np.nan, np.nan],
        "target-only/select/loss": 1.0,
        "with 2/select/accuracy": [np.nan, np.nan, 0.55, 0.6, np.nan, np.nan, np.nan],
        "cost/gradient_steps": 10,
    }
)


def test_the_fine_tuning_is_dotted_and_not_joined_and_other_tracks_have_a_figure_of_their_own() -> None:
    comparison = compare([make_record("alpha-vil", history=TRACKS)], make_facts(("alpha-vil",), seeds=(0,)))
    main, tracks = select_curves(comparison, LIGHT), track_curves(comparison, comparison.methods[0], LIGHT)
    assert main is not None
    assert tracks is not None
    first, second = [10, 20, 30, 40, 50], [60, 70]
    assert [line.index.tolist() for line in drawn(main.figure.axes[0])] == [first, second]
    [axes] = tracks.figure.axes
    assert [line.index.tolist() for line in drawn(axes)] == [first, second, first, [30, 40]]
    assert names(axes) == {"main", "target-only", "with 2"}
    lines = [line for line in axes.get_lines() if line.get_transform() == axes.transData]
    assert [line.get_linestyle() for line in lines] == ["-", ":", "-", "-"]
    assert len({line.get_color() for line in lines}) == 3
    assert axes.get_ylim()[0] > 0.3, "the climb from chance may leave the panel"
    assert tracks.name == "tracks-alpha-vil"


def test_a_method_with_one_track_has_no_figure_of_tracks(comparison: Comparison) -> None:
    assert track_curves(comparison, comparison.by_label["static"], LIGHT) is None
    assert track_curves(comparison, comparison.by_label["fork-merge"], LIGHT) is None


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_no_name_stands_on_another_or_leaves_the_figure(comparison: Comparison, theme: drawing.Theme) -> None:
    for found in (select_curves(comparison, theme), track_curves(comparison, comparison.by_label["alpha-vil"], theme)):
        assert found is not None
        drawing.png(found.figure)
        boxes = [text.get_window_extent() for axes in found.figure.axes for text in axes.texts]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(box.x0 >= 0 and box.x1 <= found.figure.bbox.x1 and box.y1 <= found.figure.bbox.y1 for box in boxes)


def test_one_round_is_a_dot() -> None:
    history = pd.DataFrame({"round": [0], "select/accuracy": [0.7], "cost/gradient_steps": [10]})
    comparison = compare([make_record("equal", history=history)], make_facts(("equal",), seeds=(0,)))
    found = select_curves(comparison, LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    [line] = [line for line in axes.get_lines() if line.get_transform() == axes.transData]
    assert line.get_marker() == "o"


def test_without_histories_there_is_no_figure() -> None:
    comparison = compare([make_record("alpha-vil")], make_facts(("alpha-vil",), seeds=(0,)))
    assert select_curves(comparison, LIGHT) is None


def test_rounds_without_a_select_figure_are_passed_over_but_paid_for() -> None:
    history = pd.DataFrame({"round": [0, 1, 2], "select/accuracy": [0.5, np.nan, 0.7], "cost/gradient_steps": 10})
    comparison = compare([make_record("equal", history=history)], make_facts(("equal",), seeds=(0,)))
    found = select_curves(comparison, LIGHT)
    assert found is not None
    [line] = [line for line in drawn(found.figure.axes[0]) if len(line)]
    assert line.to_dict() == {10: 0.5, 30: 0.7}
