"""Alpha and w are drawn as the histories have them, and nothing is drawn where there is nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from simulated import TASKS, make_facts, make_record
from test_curves import drawn, names

from avil_ray.reports import drawing
from avil_ray.reports.alpha_figures import alpha_curves
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.drawing import DARK, LIGHT


def test_alpha_and_w_are_drawn_for_every_task_and_seed_in_the_rounds_that_fit_alpha(comparison: Comparison) -> None:
    method = comparison.by_label["alpha-vil"]
    found = alpha_curves(comparison, method, LIGHT)
    assert found is not None
    above, below = found.figure.axes
    assert method.chosen is not None
    for axes, kind in ((above, "alpha"), (below, "weight")):
        lines = [line for line in drawn(axes) if len(line) == 20]
        assert len(lines) == len(TASKS) * (5 + 1)
        assert max(line.index[-1] for line in lines) == 19
        for task in TASKS:
            expected = pd.concat([record.history for record in method.chosen.records]).groupby("round")[
                f"{kind}/{task}"
            ]
            assert any(np.allclose(line, expected.mean().dropna()) for line in lines)
        assert set(TASKS) <= names(axes)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_no_name_stands_on_another_or_leaves_the_figure(comparison: Comparison, theme: drawing.Theme) -> None:
    found = alpha_curves(comparison, comparison.by_label["alpha-vil-paper"], theme)
    assert found is not None
    drawing.png(found.figure)
    boxes = [text.get_window_extent() for axes in found.figure.axes for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(box.x0 >= 0 and box.x1 <= found.figure.bbox.x1 and box.y1 <= found.figure.bbox.y1 for box in boxes)


@pytest.mark.parametrize("weights", [{}, {f"weight/{task}": [1.0] for task in TASKS}])
def test_one_round_is_a_dot_and_weights_that_never_change_have_no_panel(weights: dict[str, list[float]]) -> None:
    history = pd.DataFrame({"round": [7], **{f"alpha/{task}": [0.25] for task in TASKS}, **weights})
    comparison = compare([make_record("alpha-vil", history=history)], make_facts(("alpha-vil",), seeds=(0,)))
    found = alpha_curves(comparison, comparison.methods[0], LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    lines = [line for line in axes.get_lines() if line.get_transform() == axes.transData]
    assert {line.get_marker() for line in lines} == {"o"}
    low, high = axes.get_xlim()
    assert 6 < low < 7 < high < 8, "the axis begins where alpha is fitted"


def test_without_histories_there_is_no_figure() -> None:
    comparison = compare([make_record("alpha-vil")], make_facts(("alpha-vil",), seeds=(0,)))
    assert alpha_curves(comparison, comparison.methods[0], LIGHT) is None


def test_labels_that_cannot_name_a_file_still_name_two() -> None:
    history = pd.DataFrame({"round": [0], **{f"alpha/{task}": [0.25] for task in TASKS}})
    labels = ("my avil", "my/avil", "my-avil")
    records = [make_record(label, method="alpha-vil", history=history) for label in labels]
    comparison = compare(records, make_facts(labels, seeds=(0,)))
    found = [alpha_curves(comparison, method, LIGHT) for method in comparison.methods]
    assert [one.name for one in found if one] == ["alpha-my-avil-0", "alpha-my-avil-1", "alpha-my-avil"]
