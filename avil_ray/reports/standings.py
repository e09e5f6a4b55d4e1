"""Two figures of where the methods stand: the differences on test, and test against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation

from avil_ray.reports import drawing, findings, labelling
from avil_ray.reports.comparison import Comparison, MethodSummary
from avil_ray.reports.drawing import DOTS_PER_INCH, POINT, Drawing, Style, Theme
from avil_ray.reports.labelling import Point, shorten
from avil_ray.reports.statistics import BestOf


def differences(comparison: Comparison, theme: Theme) -> Drawing | None:
    """The reference minus each other method on test, with intervals; None where no pair has a result."""
    shown = [(one.b, one.estimate) for one in comparison.differences if one.estimate is not None]
    if not shown or comparison.reference is None:
        return None
    colours = drawing.styles([method.label for method in comparison.methods], theme)
    figure, [axes] = drawing.new_figure(1.75 + 0.36 * len(shown), 1, theme)
    low, high = _around_zero([end for _, one in shown for end in one.interval or (one.difference,)])
    axes.set_xlim(low, high)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.axvspan(0, high if comparison.facts.mode == "max" else low, color=theme.grid, alpha=0.55, linewidth=0)
    axes.axvline(0, color=theme.muted, linewidth=1)
    for row, (label, one) in enumerate(shown):
        if one.interval:
            axes.plot(one.interval, [row, row], color=colours[label].colour, linewidth=2.4, solid_capstyle="round")
        _dot(axes, one.difference, row, colours[label], theme)
    axes.set_yticks(range(len(shown)), [shorten(label) for label, _ in shown], parse_math=False)
    for tick, (label, _) in zip(axes.get_yticklabels(), shown, strict=True):
        tick.set(color=colours[label].colour, fontweight="bold")
    axes.grid(False, axis="y")
    metric, reference = findings.metric_name(comparison), comparison.reference.label
    subtitle = f"{_spread(comparison)}; shaded: {shorten(reference)} is better"
    drawing.title(axes, f"{shorten(reference)} against each other method", subtitle, theme)
    drawing.axis_names(axes, f"difference in test {metric}, {shorten(reference)} minus the other", None, theme)
    drawing.margins(figure, left=labelling.widest([label for label, _ in shown]) + 0.3, right=0.25)
    intervals = "" if len(comparison.facts.seeds) == 1 else ", with 95 % intervals"
    caption = f"Test {metric} of {reference} minus that of each other method, paired by seed{intervals}."
    return Drawing("differences", caption, figure)


def cost(comparison: Comparison, theme: Theme) -> Drawing | None:
    """Test against the gradient steps of all trials; None where no method has a result that cost anything."""
    shown = [method for method in comparison.methods if method.test and method.cost.gradient_steps > 0]
    if not shown:
        return None
    colours = drawing.styles([method.label for method in comparison.methods], theme)
    searches = {one.label: one.best_of(comparison.facts.mode) for one in shown if len(one.configurations) > 1}
    figure, [axes] = drawing.new_figure(4.9, 1, theme)
    metric = findings.metric_name(comparison)
    drawing.axis_names(axes, "gradient steps of all trials of the method", f"test {metric}", theme)
    subtitle = f"{_spread(comparison)}; {findings.better(comparison)}"
    subtitle += "; dashed: expected of k = 1, 2, … configurations" if searches else ""
    drawing.title(axes, "Test against cost", subtitle, theme)
    drawing.margins(figure, left=0.85, right=0.3)
    reached = [best for search in searches.values() for best in search]
    _cost_limits(axes, shown, reached)
    for label, search in searches.items():
        steps, tests = [best.cost for best in search], [best.test for best in search]
        axes.plot(steps, tests, color=colours[label].colour, linewidth=1.6, alpha=0.85, linestyle=(0, (4, 1.5)))
        axes.plot(steps[:-1], tests[:-1], "o", color=colours[label].colour, markersize=3, alpha=0.85)
    _cost_points(axes, shown, colours, theme, [box for search in searches.values() for box in _along(axes, search)])
    intervals = "" if len(comparison.facts.seeds) == 1 else " (mean and 95 % interval over seeds)"
    caption = f"Test {metric}{intervals} against the gradient steps of all trials of a method."
    caption += " Points of nearly the same cost stand side by side." if len(shown) > 1 else ""
    if searches:
        caption += " Dashed: what a search of only k of the configurations is expected to reach, k = 1 on the left."
    return Drawing("cost", caption, figure)


def _cost_limits(axes: Axes, shown: Sequence[MethodSummary], reached: Sequence[BestOf]) -> None:
    """Limits that hold every point, interval and curve; on the x axis logarithmic, with round numbers at any range."""
    steps = [best.cost for best in reached] + [float(method.cost.gradient_steps) for method in shown]
    tests = [best.test for best in reached]
    tests += [end for method in shown if method.test for end in method.test.interval or (method.test.mean,)]
    drawing.pad(axes, min(tests), max(tests))
    low, high = min(steps) / 1.5, max(steps) * 1.8
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    marks = (1, 2, 5) if high / low < 200 else (1, 3) if high / low < 3000 else (1,)
    axes.xaxis.set_major_locator(FixedLocator([mark * 10.0**decade for decade in decades for mark in marks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_short_number))


def _cost_points(
    axes: Axes, shown: Sequence[MethodSummary], colours: Mapping[str, Style], theme: Theme, obstacles: list[Bbox]
) -> None:
    """A named point with its interval for each method; points of nearly equal cost are moved apart sideways."""
    places = [drawing.pixels(axes, method.cost.gradient_steps, method.test.mean) for method in shown if method.test]
    # 8 points apart, but 48 at most in all: a point must stay near its cost
    moved = labelling.spread([x for x, _ in places], POINT * min(8, 48 / len(shown)))
    points = []
    for method, (x, y), beside in zip(shown, places, moved, strict=True):
        assert method.test is not None
        look, steps, mean = colours[method.label], method.cost.gradient_steps, method.test.mean
        aside = axes.transData + ScaledTranslation((beside - x) / DOTS_PER_INCH, 0, axes.figure.dpi_scale_trans)
        ends = method.test.interval or (mean, mean)
        axes.plot([steps, steps], ends, color=look.colour, linewidth=2, solid_capstyle="round", transform=aside)
        _dot(axes, steps, mean, look, theme, transform=aside)
        low, high = (drawing.pixels(axes, steps, end)[1] for end in ends)
        points.append(Point(method.label, beside, y, low, high, look.colour))
        obstacles += [_around(beside, y, 5 * POINT), Bbox([[beside - 2, low], [beside + 2, high]])]
    labelling.name_points(axes, points, obstacles)


def _along(axes: Axes, search: Sequence[BestOf]) -> list[Bbox]:
    """Boxes that cover a curve, a few to each of its pieces, in pixels."""
    places = np.array([drawing.pixels(axes, best.cost, best.test) for best in search])
    finer = np.linspace(0, len(places) - 1, 8 * len(places))
    x, y = (np.interp(finer, np.arange(len(places)), column) for column in places.T)
    return [_around(across, up, 3 * POINT) for across, up in zip(x.tolist(), y.tolist(), strict=True)]


def _dot(axes: Axes, x: float, y: float, look: Style, theme: Theme, **where: object) -> None:
    axes.scatter([x], [y], s=64, color=look.colour, edgecolors=theme.paper, linewidths=1, zorder=3, **where)  # type: ignore[arg-type]


def _around(x: float, y: float, reach: float) -> Bbox:
    return Bbox([[x - reach, y - reach], [x + reach, y + reach]])


def _short_number(value: float, _position: int | None) -> str:
    for divisor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= divisor:
            return f"{value / divisor:g}{unit}"
    return f"{value:g}"


def _around_zero(values: Sequence[float]) -> tuple[float, float]:
    """Limits that hold the values and zero, with some room on both sides."""
    low, high = min(*values, 0.0), max(*values, 0.0)
    room = (high - low) * 0.15 or 1.0
    return low - room, high + room


def _spread(comparison: Comparison) -> str:
    seeds = len(comparison.facts.seeds)
    return "one seed, so no interval" if seeds == 1 else f"mean and 95 % interval over {seeds} seeds"
