"""The figure of alpha, and of w where the method learns it, in the rounds that fit alpha."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from avil_ray.reports import alphas, drawing, labelling
from avil_ray.reports.comparison import Comparison, MethodSummary
from avil_ray.reports.curves import file_name, line
from avil_ray.reports.drawing import Drawing, Style, Theme
from avil_ray.reports.labelling import End

_TaskSeries: TypeAlias = "dict[str, list[pd.Series[float]]]"


def alpha_curves(comparison: Comparison, method: MethodSummary, theme: Theme) -> Drawing | None:
    """Alpha and w of each task in the rounds that fit alpha, for one label; None where it has no alpha."""
    tasks, target = comparison.facts.tasks, comparison.facts.target
    records = method.chosen.records if method.chosen else ()
    kinds = {kind: _task_series([record.history for record in records], kind, tasks) for kind in ("alpha", "weight")}
    if not kinds["alpha"]:
        return None
    if not _varies(kinds["weight"]):
        del kinds["weight"]
    looks = drawing.styles([task for task in tasks if task != target], theme) | {target: Style(theme.ink, "-")}
    right = labelling.widest(tasks, labelling.wrap) + 0.42
    height = max(1.9, 0.3 + 0.19 * labelling.line_count(tasks))
    seeds = "bold: mean over seeds, thin: each seed; " if len(records) > 1 else ""
    subtitle = f"{seeds}in the colour of this text: the target"
    shown = " and weight w" if "weight" in kinds else ""
    figure, panels = drawing.sheet(
        f"alpha{shown} of {method.label}", subtitle, [height] * len(kinds), theme, left=0.72, right=right
    )
    ends = [_task_lines(axes, series, looks, target) for axes, series in zip(panels, kinds.values(), strict=True)]
    rounds = [float(number) for series in kinds["alpha"].values() for one in series for number in one.index]
    for axes, kind, lines in zip(panels, kinds, ends, strict=True):
        drawing.axis_names(
            axes, "round" if axes is panels[-1] else None, "alpha" if kind == "alpha" else "weight w", theme
        )
        _finish(axes, lines, min(rounds), max(rounds))
    caption = f"alpha{shown} of {method.label} in the rounds that fit alpha. No measure of a task's importance."
    return Drawing(f"alpha-{file_name(method.label, comparison)}", caption, figure)


def _varies(series: _TaskSeries) -> bool:
    """Whether there is anything to see: weights that are all the same for ever are not drawn."""
    return len({float(value) for seeds in series.values() for one in seeds for value in one}) > 1


def _task_series(histories: Sequence[pd.DataFrame], kind: str, tasks: Sequence[str]) -> _TaskSeries:
    """For each task one series over the rounds that fit alpha for each seed that has any; other tasks are left out."""
    found: _TaskSeries = {}
    for history in histories:
        for column in (f"{kind}/{task}" for task in tasks if f"{kind}/{task}" in history):
            series = alphas.fitted_rounds(history).set_index("round")[column].dropna()
            if len(series):
                found.setdefault(column.removeprefix(f"{kind}/"), []).append(series)
    return {task: found[task] for task in tasks if task in found}


def _task_lines(axes: Axes, tasks: _TaskSeries, looks: Mapping[str, Style], target: str) -> list[End]:
    """Draw each task's lines, the mean and each seed's; where the mean line ends."""
    ends = []
    faint = 0.28 if len(tasks) <= 6 else 0.14
    for task, seeds in tasks.items():
        for series in seeds if len(seeds) > 1 else []:
            line(axes, series.index.to_series(), series, Style(looks[task].colour, "-"), 0.7, alpha=faint)
        mean = pd.concat(seeds, axis=1).mean(axis=1).sort_index()
        line(axes, mean.index.to_series(), mean, looks[task], 2.6 if task == target else 2.0)
        ends.append(End(task, float(mean.index[-1]), float(mean.iloc[-1]), looks[task].colour))
    return ends


def _finish(axes: Axes, lines: Sequence[End], first: float, last: float) -> None:
    """Fix the limits, then name the lines at their ends."""
    room = 0.02 * (last - first) or 0.5
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.set_xlim(first - room, last + room)
    axes.set_ylim(*axes.get_ylim())
    labelling.name_ends(axes, lines)
