"""What a trial tells the scheduler; the rest of a trial is tested with the sweep."""

from __future__ import annotations

import math

import pytest

from avil_ray.sweeps.trial import best_so_far


@pytest.mark.parametrize(
    ("metric", "figures", "best"),
    [
        ("accuracy", [0.7, 0.9, 0.1], 0.9),
        ("mean_squared_error", [0.7, 0.9, 0.3, 2.0], 0.3),
        ("accuracy", [math.nan, 0.4, math.inf], 0.4),
    ],
)
def test_a_scheduler_is_told_the_best_of_the_rounds_so_far(metric: str, figures: list[float], best: float) -> None:
    assert best_so_far([{f"select/{metric}": figure} for figure in figures], metric) == best


def test_without_a_finite_figure_it_is_told_none() -> None:
    assert math.isnan(best_so_far([{"select/auc": math.nan}], "auc"))
