"""The figures of a report, in its order."""

from __future__ import annotations

from avil_ray.reports import alphas
from avil_ray.reports.alpha_figures import alpha_curves
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.costs import cost
from avil_ray.reports.curves import select_curves, track_curves
from avil_ray.reports.drawing import LIGHT, Drawing, Theme
from avil_ray.reports.grids import heat_map
from avil_ray.reports.spending import spending
from avil_ray.reports.standings import differences, per_seed


def draw_all(comparison: Comparison, theme: Theme = LIGHT) -> list[Drawing]:
    """Every figure that the comparison has something to show in."""
    found = [draw(comparison, theme) for draw in (per_seed, differences, cost, spending, select_curves)]
    found += [track_curves(comparison, method, theme) for method in comparison.methods]
    found += [heat_map(comparison, method, theme) for method in comparison.methods]
    found += [alpha_curves(comparison, method, theme) for method in alphas.alpha_labels(comparison)]
    return [drawing for drawing in found if drawing is not None]
