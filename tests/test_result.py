"""What a notebook shows of a result, and its learning curves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import avil_ray as avil


@pytest.fixture(scope="module")
def result() -> avil.Result:
    suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    return avil.train(suite, avil.AlphaVIL(), rounds=3, steps_per_round=2)


def curves_in(axes: Any) -> list[Any]:
    """The lines of an axes that are drawn by its data: not those that lead to a name."""
    return [line for line in axes.lines if line.get_transform() == axes.transData]


def test_a_plot_has_a_line_for_each_track_and_a_dot_at_the_best_round(result: avil.Result) -> None:
    [axes] = result.plot().axes
    history = result.history
    steps = history["cost/gradient_steps"].cumsum().to_numpy()
    tracks = [name for name in history if name.endswith("select/accuracy")]
    assert len(tracks) == 2, "alpha-vil has two tracks"
    points: dict[Any, list[np.ndarray]] = {}  # a fine-tuning is a line of its own, in its track's colour
    for line in curves_in(axes):
        points.setdefault(line.get_color(), []).append(line.get_xydata())
    for found, column in zip(points.values(), tracks, strict=True):
        there = history[column].notna()
        expected = np.column_stack([steps[there], history[column][there]])
        assert np.array_equal(np.concatenate(found), expected)
    [dot] = axes.collections
    x, y = dot.get_offsets()[0]
    assert x == steps[result.best_round]
    assert y == pytest.approx(result.select)


def test_a_plot_is_shown_by_a_notebook_without_pyplot(result: avil.Result) -> None:
    assert result.plot()._repr_png_().startswith(b"\x89PNG")


def test_a_notebook_shows_figures_cost_and_curves(result: avil.Result) -> None:
    shown = result._repr_html_()
    assert "AlphaVIL on synthetic, target target, seed 0" in shown
    assert f"{result.gradient_steps:,} gradient steps" in shown
    assert f"{result.test['accuracy']:.4g}" in shown
    assert "<svg" in shown


def test_names_are_text_in_a_notebook(result: avil.Result) -> None:
    other = replace(result, test={"<b>accuracy": 0.5}, rows=())
    assert "&lt;b&gt;accuracy" in other._repr_html_()
    assert "<b>accuracy" not in other._repr_html_()


def test_a_result_without_history_has_no_curves_and_says_so(result: avil.Result) -> None:
    stored = replace(result, rows=())
    assert "<svg" not in stored._repr_html_()
    with pytest.raises(avil.UserError, match="has no history, so there are no learning curves to plot"):
        stored.plot()
