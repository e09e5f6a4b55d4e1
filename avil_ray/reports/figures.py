"""The figures of a report: who is ahead, at what cost, how they learn, and what alpha did."""

from __future__ import annotations

from avil_ray.reports import alphas
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.curves import alpha_curves, select_curves
from avil_ray.reports.drawing import LIGHT, Drawing, Theme
from avil_ray.reports.standings import cost, differences


def draw_all(comparison: Comparison, theme: Theme = LIGHT) -> list[Drawing]:
    """Every figure that the comparison has something to show in."""
    found = [draw(comparison, theme) for draw in (differences, cost, select_curves)]
    found += [alpha_curves(comparison, method, theme) for method in alphas.alpha_labels(comparison)]
    return [drawing for drawing in found if drawing is not None]
