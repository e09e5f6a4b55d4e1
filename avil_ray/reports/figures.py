"""The figures of a report: who is ahead, at what cost, how they learn, and what alpha did."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation

from avil_ray.reports import alphas, drawing, findings
from avil_ray.reports.comparison import Comparison, MethodSummary
from avil_ray.reports.drawing import LIGHT, Style, Theme

WIDTH = 8.0


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its file without the ending, and a caption that also serves those who cannot see it."""

    name: str
    caption: str
    figure: Figure


def draw_all(comparison: Comparison, theme: Theme = LIGHT) -> list[Drawing]:
    """Every figure that the comparison has something to show in."""
    found = [draw(comparison, theme) for draw in (differences, cost, select_curves)]
    found += [alpha_curves(comparison, method, theme) for method in alphas.alpha_labels(comparison)]
    return [drawing for drawing in found if drawing is not None]


def differences(comparison: Comparison, theme: Theme = LIGHT) -> Drawing | None:
    """The reference minus each other method on test, with intervals; None where no pair has a result."""
    shown = [(one, one.estimate) for one in comparison.differences if one.estimate is not None]
    if not shown:
        return None
    colours = drawing.styles([method.label for method in comparison.methods], theme)
    figure, [axes] = drawing.new_figure(WIDTH, 1.75 + 0.36 * len(shown), 1, theme)
    low, high = _around_zero([end for _, one in shown for end in one.interval or (one.difference,)])
    axes.set_xlim(low, high)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.axvspan(0, high if comparison.facts.mode == "max" else low, color=theme.grid, alpha=0.55, linewidth=0)
    axes.axvline(0, color=theme.muted, linewidth=1)
    for row, (one, estimate) in enumerate(shown):
        colour = colours[one.b].colour
        if estimate.interval:
            axes.plot(estimate.interval, [row, row], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot([estimate.difference], [row], "o", color=colour, markersize=8, markeredgecolor=theme.paper)
    axes.set_yticks(range(len(shown)), [drawing.shorten(one.b) for one, _ in shown], parse_math=False)
    for tick, (one, _) in zip(axes.get_yticklabels(), shown, strict=True):
        tick.set(color=colours[one.b].colour, fontweight="bold")
    axes.grid(False, axis="y")
    reference = shown[0][0].a
    drawing.title(axes, f"{drawing.shorten(reference)} against each other method", _how(comparison, "shaded"), theme)
    name = f"difference in test {findings.metric_name(comparison)}, {drawing.shorten(reference)} minus the other"
    drawing.axis_names(axes, name, None, theme)
    width = drawing.label_width([one.b for one, _ in shown])
    _margins(figure, left=width + 0.3, right=0.25)
    caption = f"Test {findings.metric_name(comparison)} of {reference} minus that of each other method, paired by seed, with 95 % intervals."
    return Drawing("differences", caption, figure)


def cost(comparison: Comparison, theme: Theme = LIGHT) -> Drawing | None:
    """Test against the gradient steps of all trials; None where no method has a result that cost anything."""
    shown = [method for method in comparison.methods if method.test and method.cost.gradient_steps > 0]
    if not shown:
        return None
    colours = drawing.styles([method.label for method in comparison.methods], theme)
    figure, [axes] = drawing.new_figure(WIDTH, 4.9, 1, theme)
    curves = {method.label: method.best_of(comparison.facts.mode) for method in shown if len(method.configurations) > 1}
    steps = [best.cost for curve in curves.values() for best in curve] + [method.cost.gradient_steps for method in shown]
    _cost_axis(axes, min(steps), max(steps))
    tests = [end for method in shown if method.test for end in method.test.interval or (method.test.mean,)]
    tests += [best.test for curve in curves.values() for best in curve]
    _pad_y(axes, min(tests), max(tests))
    drawing.axis_names(axes, "gradient steps of all trials of the method", f"test {findings.metric_name(comparison)}", theme)
    _margins(figure, left=0.85, right=0.3)
    for label, curve in curves.items():
        steps, reached = [best.cost for best in curve], [best.test for best in curve]
        axes.plot(steps, reached, color=colours[label].colour, linewidth=1.6, alpha=0.85, linestyle=(0, (4, 1.5)))
        axes.plot(steps[:-1], reached[:-1], "o", color=colours[label].colour, markersize=3, alpha=0.85)
    _cost_points(axes, shown, colours, theme, [(best.cost, best.test) for curve in curves.values() for best in curve])
    subtitle = _how(comparison, "up" if comparison.facts.mode == "max" else "down")
    subtitle += "; dashed: k of the configurations, k = 1, 2, …" if curves else ""
    drawing.title(axes, "Test against cost", subtitle, theme)
    caption = (
        f"Test {findings.metric_name(comparison)} (mean and 95 % interval over seeds) against the gradient steps of all trials of a "
        "method. Points of nearly the same cost stand side by side."
    )
    if curves:
        caption += " Dashed: what a search of only k of the configurations is expected to reach, k = 1, 2, … from left to right."
    return Drawing("cost", caption, figure)


def select_curves(comparison: Comparison, theme: Theme = LIGHT) -> Drawing | None:
    """The metric on select after each round, for the chosen configuration of each method; None without histories."""
    column = f"select/{comparison.facts.metric}"
    curves = {}
    for method in comparison.methods:
        records = method.chosen.records if method.chosen else ()
        parts = [record.history for record in records if column in record.history]
        if parts:
            curves[method.label] = pd.concat(parts).groupby("round")[[column, "phase"]].mean()
    if not curves:
        return None
    colours = drawing.styles([method.label for method in comparison.methods], theme)
    figure, [axes] = drawing.new_figure(WIDTH, max(4.4, 1.5 + 0.21 * len(curves)), 1, theme)
    ends = []
    for label, curve in curves.items():
        main, finish = curve[curve["phase"] == 0], curve[curve["phase"] > 0]
        look = colours[label]
        single = {"marker": "o", "markersize": 5} if len(curve) == 1 else {}
        axes.plot(main.index, main[column], color=look.colour, linewidth=2, linestyle=look.line, **single)
        if len(finish):
            tail = pd.concat([main.tail(1), finish])
            axes.plot(tail.index, tail[column], color=look.colour, linewidth=1.4, linestyle=(0, (1.2, 1.2)))
        ends.append((label, float(curve.index[-1]), float(curve[column].iloc[-1]), look.colour))
    subtitle = f"mean over seeds of the chosen configuration ({findings.better(comparison)}); dotted: final fine-tuning"
    drawing.title(axes, "How they learn", subtitle, theme)
    drawing.axis_names(axes, "round", f"{findings.metric_name(comparison)} on select", theme)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _pad_y(axes, *_late_range([curve[column] for curve in curves.values()]))
    _finish_lines(figure, [axes], [ends], theme)
    caption = f"{findings.metric_name(comparison).capitalize()} on select after each round: mean over seeds of each method's chosen configuration."
    return Drawing("select", caption, figure)


def alpha_curves(comparison: Comparison, method: MethodSummary, theme: Theme = LIGHT) -> Drawing | None:
    """Alpha and w of each task in each round of the main phase, for one label; None where it has no alpha."""
    tasks, target = comparison.facts.tasks, comparison.facts.target
    records = method.chosen.records if method.chosen else ()
    parts = [alphas.main_phase(record.history) for record in records if not record.history.empty]
    shown = [kind for kind in ("alpha", "weight") if any(_seen(part, kind, tasks) for part in parts)]
    if "alpha" not in shown:
        return None
    colours = drawing.styles([task for task in tasks if task != target], theme) | {target: Style(theme.ink, "-")}
    height = max(2.6, 0.6 + 0.2 * len(tasks))
    figure, panels = drawing.new_figure(WIDTH, 1.4 + height * len(shown), len(shown), theme)
    ends = [_task_lines(axes, parts, kind, tasks, colours, target) for axes, kind in zip(panels, shown, strict=True)]
    even = 1 / len(tasks)
    panels[0].axhline(even, color=theme.muted, linewidth=0.9, linestyle=(0, (5, 3)))
    for axes, kind in zip(panels, shown, strict=True):
        drawing.axis_names(axes, "round" if axes is panels[-1] else None, "alpha" if kind == "alpha" else "weight w", theme)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    subtitle = f"bold: mean over seeds, thin: each seed; black: the target; dashed: an even share, 1/{len(tasks)}"
    subtitle = subtitle.replace("black", "white") if theme is not LIGHT else subtitle
    drawing.title(panels[0], f"{drawing.shorten(method.label)}: alpha and w in each round", subtitle, theme)
    _finish_lines(figure, panels, ends, theme)
    name = f"alpha-{re.sub(r'[^A-Za-z0-9_.-]+', '-', method.label)}"
    caption = f"alpha and w of {method.label} in each round before the final fine-tuning. They are no measure of importance."
    return Drawing(name, caption, figure)


def _task_lines(
    axes: Axes, parts: Sequence[pd.DataFrame], kind: str, tasks: Sequence[str], colours: dict[str, Style], target: str
) -> list[tuple[str, float, float, str]]:
    """Draw each task's lines; where its mean line ends, with its name and colour."""
    ends = []
    faint = 0.28 if len(tasks) <= 6 else 0.14
    for task in tasks:
        column, look = f"{kind}/{task}", colours[task]
        series = [part.set_index("round")[column].dropna() for part in parts if column in part]
        series = [one for one in series if len(one)]
        if not series:
            continue
        for one in series if len(series) > 1 else []:
            axes.plot(one.index, one, color=look.colour, linewidth=0.7, alpha=faint)
        mean = pd.concat(series, axis=1).mean(axis=1).sort_index()
        single = {"marker": "o", "markersize": 5} if len(mean) == 1 else {}
        width = 2.6 if task == target else 2.0
        axes.plot(mean.index, mean, color=look.colour, linewidth=width, linestyle=look.line, **single)
        ends.append((task, float(mean.index[-1]), float(mean.iloc[-1]), look.colour))
    return ends


def _finish_lines(
    figure: Figure, panels: Sequence[Axes], ends: Sequence[Sequence[tuple[str, float, float, str]]], theme: Theme
) -> None:
    """Fix margins and limits, then name the lines at their ends."""
    width = drawing.label_width([name for lines in ends for name, *_ in lines])
    _margins(figure, left=0.8, right=width + 0.5)
    first = min(float(line.get_xdata()[0]) for line in panels[0].get_lines() if line.get_transform() == panels[0].transData)  # type: ignore[index]
    last = max(x for lines in ends for _, x, _, _ in lines)
    room = 0.5 if last == first else 0.01 * (last - first)
    panels[0].set_xlim(first - room, last + room)
    for axes, lines in zip(panels, ends, strict=True):
        axes.set_ylim(*axes.get_ylim())
        drawing.label_line_ends(axes, lines, theme)


def _cost_points(
    axes: Axes, shown: Sequence[MethodSummary], colours: dict[str, Style], theme: Theme, curve: Sequence[tuple[float, float]]
) -> None:
    """A point with its interval for each method; points of nearly equal cost are moved apart sideways."""
    figure = axes.figure
    scale = figure.dpi / 72
    pixels = {method.label: float(axes.transData.transform((method.cost.gradient_steps, 1))[0]) for method in shown}
    aside = _aside(pixels, 11 * scale)
    points, obstacles = [], [_around(*map(float, axes.transData.transform(place)), 3 * scale, 3 * scale) for place in curve]
    for method in shown:
        assert method.test is not None
        colour, shift = colours[method.label].colour, aside[method.label]
        place = axes.transData + ScaledTranslation(shift / figure.dpi, 0, figure.dpi_scale_trans)
        steps, mean = method.cost.gradient_steps, method.test.mean
        low, high = method.test.interval or (mean, mean)
        axes.plot([steps, steps], [low, high], color=colour, linewidth=2, solid_capstyle="round", transform=place)
        axes.plot([steps], [mean], "o", color=colour, markersize=8, markeredgecolor=theme.paper, transform=place)
        x, y = map(float, axes.transData.transform((steps, mean)))
        bottom, top = (float(axes.transData.transform((steps, end))[1]) for end in (low, high))
        points.append(drawing.Point(method.label, x + shift, y, bottom, top, colour))
        obstacles += [_around(x + shift, y, 5 * scale, 5 * scale), Bbox([[x + shift - 2, bottom], [x + shift + 2, top]])]
    drawing.label_points(axes, points, obstacles)


def _aside(pixels: dict[str, float], gap: float) -> dict[str, float]:
    """How far to the side each point goes so that those nearer than `gap` stand apart; most stay where they are."""
    labels = list(pixels)
    moved = drawing.spread([pixels[label] for label in labels], gap, -np.inf, np.inf)
    return {label: place - pixels[label] for label, place in zip(labels, moved, strict=True)}


def _around(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox([[x - width, y - height], [x + width, y + height]])


def _cost_axis(axes: Axes, least: float, most: float) -> None:
    """A logarithmic axis with round numbers on it, however short its range."""
    axes.set_xscale("log")
    low, high = least / 1.5, most * 1.8
    axes.set_xlim(low, high)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if high / low < 200 else (1, 3) if high / low < 3000 else (1,)
    axes.xaxis.set_major_locator(FixedLocator([step * 10.0**decade for decade in decades for step in steps]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_short_number))


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


def _pad_y(axes: Axes, low: float, high: float) -> None:
    room = (high - low) * 0.12 or abs(high) * 0.05 or 0.05
    axes.set_ylim(low - room, high + room)


def _late_range(curves: Sequence[pd.Series[float]]) -> tuple[float, float]:
    """The range of the curves after their first fifth: the climb from chance would leave the rest no room."""
    late = pd.concat([curve.iloc[len(curve) // 5 :] for curve in curves])
    return float(late.min()), float(late.max())


def _how(comparison: Comparison, where: str) -> str:
    """The line under a title: seeds, interval, and where the better side is."""
    label = comparison.reference.label if comparison.reference else ""
    sides = {"shaded": f"shaded: {drawing.shorten(label)} is better", "up": "higher is better", "down": "lower is better"}
    seeds = len(comparison.facts.seeds)
    spread = "one seed, so no interval" if seeds == 1 else f"mean and 95 % interval over {seeds} seeds"
    return f"{spread}; {sides[where]}"


def _margins(figure: Figure, left: float, right: float) -> None:
    """Margins in inches: a title's worth above, an axis' worth below."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, top=1 - 0.72 / height, bottom=0.58 / height, hspace=0.12
    )


def _seen(history: pd.DataFrame, kind: str, tasks: Sequence[str]) -> bool:
    return any(f"{kind}/{task}" in history and history[f"{kind}/{task}"].notna().any() for task in tasks)
