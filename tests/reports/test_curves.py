"""The curves are the means of the histories, and every line is named."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from simulated import TASKS, make_facts, make_record

from avil_ray.reports import drawing
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.curves import alpha_curves, select_curves
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


def test_select_is_the_mean_over_seeds_of_the_chosen_configuration(comparison: Comparison) -> None:
    found = select_curves(comparison, LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    chosen = comparison.by_label["static"].chosen
    assert chosen is not None
    expected = pd.concat([record.history for record in chosen.records]).groupby("round")["select/accuracy"].mean()
    assert any(len(line) == 20 and np.allclose(line, expected) for line in drawn(axes))
    assert {"alpha-vil", "static", "equal", "target-only"} <= names(axes)
    assert "fork-merge" not in names(axes)


def test_the_final_fine_tuning_is_dotted(comparison: Comparison) -> None:
    found = select_curves(comparison, LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    dotted = [
        line for line in axes.get_lines() if line.get_linestyle() == ":" and line.get_transform() == axes.transData
    ]
    assert [np.asarray(line.get_xdata()).tolist() for line in dotted] == [list(range(20, 27))]


def test_the_fine_tuning_is_not_joined_to_the_main_track_and_other_tracks_stand_apart() -> None:
    nan = np.nan
    history = pd.DataFrame(
        {
            "round": range(7),
            "fine_tuning": [nan] * 5 + [1, 1],
            "select/accuracy": [0.3, 0.5, 0.6, 0.6, 0.7, 0.8, 0.8],
            "target-only/select/accuracy": [0.2, 0.4, 0.45, 0.5, 0.5, nan, nan],
            "target-only/select/loss": 1.0,
            "with 2/select/accuracy": [nan, nan, 0.55, 0.6, nan, nan, nan],
        }
    )
    comparison = compare([make_record("alpha-vil", history=history)], make_facts(("alpha-vil",), seeds=(0,)))
    found = select_curves(comparison, LIGHT)
    assert found is not None
    [axes] = found.figure.axes
    assert [line.index.tolist() for line in drawn(axes)] == [[0, 1, 2, 3, 4], [5, 6], [0, 1, 2, 3, 4], [2, 3]]
    main, tuned, *others = [line for line in axes.get_lines() if line.get_transform() == axes.transData]
    assert (main.get_linestyle(), tuned.get_linestyle()) == ("-", ":")
    assert all(line.get_linewidth() < main.get_linewidth() / 2 for line in others)
    assert axes.get_ylim()[0] > 0.3, "the climb from chance may leave the panel"
    assert "thin: other tracks" in " ".join(text.get_text() for text in axes.texts)


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
    both = [select_curves(comparison, theme), alpha_curves(comparison, comparison.by_label["alpha-vil-paper"], theme)]
    for found in both:
        assert found is not None
        drawing.png(found.figure)
        texts = [text for axes in found.figure.axes for text in axes.texts]
        boxes = [text.get_window_extent() for text in texts]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(box.x0 >= 0 and box.x1 <= 1200 and box.y1 <= found.figure.bbox.y1 for box in boxes)


def test_one_round_is_a_dot() -> None:
    history = pd.DataFrame({"round": [0], "select/accuracy": [0.7], **{f"alpha/{task}": [0.25] for task in TASKS}})
    comparison = compare([make_record("alpha-vil", history=history)], make_facts(("alpha-vil",), seeds=(0,)))
    for found in (select_curves(comparison, LIGHT), alpha_curves(comparison, comparison.methods[0], LIGHT)):
        assert found is not None
        assert len(found.figure.axes) == 1  # no panel for w, as there is none
        [axes] = found.figure.axes
        markers = [
            line.get_marker()
            for line in axes.get_lines()
            if line.get_transform() == axes.transData and len(line.get_xdata()) == 1
        ]  # type: ignore[arg-type]
        assert markers
        assert set(markers) == {"o"}


def test_without_histories_there_is_no_figure() -> None:
    comparison = compare([make_record("alpha-vil")], make_facts(("alpha-vil",), seeds=(0,)))
    assert select_curves(comparison, LIGHT) is None
    assert alpha_curves(comparison, comparison.methods[0], LIGHT) is None


def test_rounds_without_a_select_figure_are_passed_over() -> None:
    history = pd.DataFrame({"round": [0, 1, 2], "select/accuracy": [0.5, np.nan, 0.7]})
    comparison = compare([make_record("equal", history=history)], make_facts(("equal",), seeds=(0,)))
    found = select_curves(comparison, LIGHT)
    assert found is not None
    [line] = [line for line in drawn(found.figure.axes[0]) if len(line)]
    assert line.to_dict() == {0: 0.5, 2: 0.7}


def test_labels_that_cannot_name_a_file_still_name_two() -> None:
    history = pd.DataFrame({"round": [0], **{f"alpha/{task}": [0.25] for task in TASKS}})
    labels = ("my avil", "my/avil", "my-avil")
    records = [make_record(label, method="alpha-vil", history=history) for label in labels]
    comparison = compare(records, make_facts(labels, seeds=(0,)))
    found = [alpha_curves(comparison, method, LIGHT) for method in comparison.methods]
    assert [one.name for one in found if one] == ["alpha-my-avil-0", "alpha-my-avil-1", "alpha-my-avil"]
