"""The figure of test against cost: gradient steps, and reserved device time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation

from avil_ray.reports import drawing, findings, labelling
from avil_ray.reports.choosing import MethodSummary, Paid
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.drawing import DOTS_PER_INCH, POINT, Drawing, Style, Theme
from avil_ray.reports.labelling import Point
from avil_ray.reports.statistics import BestOf

NAMED: dict[Paid, str] = {
    "gradient_steps": "gradient steps",
    "reserved_device_seconds": "reserved device time, seconds",
}


def cost(comparison: Comparison, theme: Theme) -> Drawing | None:
    """Test against gradient steps, and against reserved device time; None where no result cost anything."""
    shown = [method for method in comparison.methods if method.test]
    kinds: list[Paid] = [paid for paid in NAMED if any(getattr(one.cost, paid) > 0 for one in shown)]
    if not kinds:
        return None
    colours, mode = drawing.styles([method.label for method in comparison.methods], theme), comparison.facts.mode
    metric = findings.metric_name(comparison)
    searches = {one.label: one for one in shown if len(one.configurations) > 1}
    subtitle = f"{findings.spread(comparison)}; {findings.better(comparison)}"
    subtitle += "; dashed: expected of a search of k = 1, 2, … configurations" if searches else ""
    height = 2.3 + 0.1 * labelling.line_count([one.label for one in shown])
    figure, panels = drawing.sheet(
        "Test against the cost of all trials", subtitle, [height] * len(kinds), theme, left=0.72, right=0.2, gap=0.6
    )
    for axes, paid in zip(panels, kinds, strict=True):
        drawing.axis_names(axes, NAMED[paid], f"test {metric}", theme)
        there = [one for one in shown if getattr(one.cost, paid) > 0]
        curves = {label: one.best_of(mode, paid) for label, one in searches.items() if one in there}
        _cost_limits(axes, there, paid, [best for search in curves.values() for best in search])
        for label, search in curves.items():
            paid_for, tests = [best.cost for best in search], [best.test for best in search]
            axes.plot(paid_for, tests, color=colours[label].colour, linewidth=1.6, alpha=0.85, linestyle=(0, (4, 1.5)))
            axes.plot(paid_for[:-1], tests[:-1], "o", color=colours[label].colour, markersize=3, alpha=0.85)
        taken = [box for search in curves.values() for box in _along(axes, search)]
        _cost_points(axes, there, paid, colours, theme, taken)
    caption = (
        f"Test {metric} against what all trials of a method cost. Points of nearly the same cost are drawn side by "
    )
    caption += "side."
    if searches:
        caption += " Dashed: what a search of only k of the configurations is expected to reach, k = 1 on the left."
    return Drawing("cost", caption, figure)


def _cost_limits(axes: Axes, shown: Sequence[MethodSummary], paid: Paid, reached: Sequence[BestOf]) -> None:
    """Limits that hold every point, interval and curve; on the x axis logarithmic, with round numbers at any range."""
    spent = [best.cost for best in reached] + [float(getattr(method.cost, paid)) for method in shown]
    tests = [best.test for best in reached] + [method.test.mean for method in shown if method.test]
    ends = [end for method in shown if method.test for end in method.test.interval or ()]
    axes.set_ylim(*drawing.limits(tests, ends))
    low, high = min(spent) / 1.5, max(spent) * 1.8
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    marks = (1, 2, 5) if high / low < 100 else (1, 3) if high / low < 3000 else (1,)
    axes.xaxis.set_major_locator(FixedLocator([mark * 10.0**decade for decade in decades for mark in marks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(drawing.short_number))


def _cost_points(
    axes: Axes, shown: Sequence[MethodSummary], paid: Paid, colours: Mapping[str, Style], theme: Theme,
    obstacles: list[Bbox],
) -> None:  # fmt: skip
    """A named point with its interval for each method; points of nearly equal cost are moved apart sideways."""
    places = [drawing.pixels(axes, getattr(one.cost, paid), one.test.mean) for one in shown if one.test]
    # 8 points apart, but 48 at most in all: a point must stay near its cost
    moved = labelling.spread([x for x, _ in places], POINT * min(8, 48 / len(shown)))
    points = []
    for method, (x, y), beside in zip(shown, places, moved, strict=True):
        assert method.test is not None
        look, spent, mean = colours[method.label], getattr(method.cost, paid), method.test.mean
        aside = axes.transData + ScaledTranslation((beside - x) / DOTS_PER_INCH, 0, axes.figure.dpi_scale_trans)
        ends = method.test.interval or (mean, mean)
        axes.plot([spent, spent], ends, color=look.colour, linewidth=2, solid_capstyle="round", transform=aside)
        drawing.dot(axes, spent, mean, look, theme, transform=aside)
        low, high = (drawing.pixels(axes, spent, end)[1] for end in ends)
        points.append(Point(method.label, beside, y, low, high, look.colour))
        obstacles += [_around(beside, y, 5 * POINT), Bbox([[beside - 2, low], [beside + 2, high]])]
    labelling.name_points(axes, points, obstacles)


def _along(axes: Axes, search: Sequence[BestOf]) -> list[Bbox]:
    """Boxes that cover a curve, a few to each of its pieces, in pixels."""
    places = np.array([drawing.pixels(axes, best.cost, best.test) for best in search])
    finer = np.linspace(0, len(places) - 1, 8 * len(places))
    x, y = (np.interp(finer, np.arange(len(places)), column) for column in places.T)
    return [_around(across, up, 3 * POINT) for across, up in zip(x.tolist(), y.tolist(), strict=True)]


def _around(x: float, y: float, reach: float) -> Bbox:
    return Bbox([[x - reach, y - reach], [x + reach, y + reach]])
