"""Figures of what happens round by round: select for every method, alpha and w for every one that fits alpha."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from avil_ray.reports import alphas, drawing, findings, labelling
from avil_ray.reports.comparison import Comparison, MethodSummary
from avil_ray.reports.drawing import Drawing, Style, Theme
from avil_ray.reports.labelling import End, shorten

_TaskSeries: TypeAlias = "dict[str, list[pd.Series[float]]]"


def select_curves(comparison: Comparison, theme: Theme) -> Drawing | None:
    """The metric on select after each round, for the chosen configuration of each method; None without histories."""
    curves = {method.label: _select_curve(comparison, method) for method in comparison.methods}
    curves = {label: curve for label, curve in curves.items() if len(curve)}
    if not curves:
        return None
    looks = drawing.styles([method.label for method in comparison.methods], theme)
    figure, [axes] = drawing.new_figure(max(4.4, 1.5 + 0.21 * len(curves)), 1, theme)
    reference = comparison.reference.label if comparison.reference else ""
    ends: list[End] = []
    late: list[pd.Series[float]] = []
    for label, curve in curves.items():
        front, colour = label == reference, looks[label].colour
        tuned = curve["fine_tuning"] > 0
        _line(axes, curve["select"][~tuned], looks[label], 2.8 if front else 1.8, zorder=3 if front else 2)
        _line(axes, curve["select"][tuned], Style(colour, ":"), 1.8)  # not joined: it starts at the best round
        others = [curve[name].dropna() for name in curve if name not in ("select", "fine_tuning")]
        for other in others:
            _line(axes, other, Style(colour, "-"), 0.9, zorder=4)
        # the climb from chance would leave the rest no room: the first fifth of the rounds may leave the panel
        late += [one[curve.index[len(curve) // 5] :] for one in (curve["select"], *others)]
        ends.append(End(label, float(curve.index[-1]), float(curve["select"].iloc[-1]), colour))
    lines = "; dotted: fine-tuning" if any(curve["fine_tuning"].any() for curve in curves.values()) else ""
    lines += "; thin: other tracks" if any(len(curve.columns) > 2 for curve in curves.values()) else ""
    drawing.title(axes, "How they learn", f"mean over seeds; {findings.better(comparison)}{lines}", theme)
    metric = findings.metric_name(comparison)
    drawing.axis_names(axes, "round", f"{metric} on select", theme)
    seen = pd.concat(late)
    drawing.pad(axes, float(seen.min()), float(seen.max()))
    _finish(figure, [axes], [ends], min(float(curve.index[0]) for curve in curves.values()))
    caption = f"{metric.capitalize()} on select after each round: each method's chosen configuration, mean over seeds"
    caption += f"{lines.replace('other tracks', 'tracks beside its main one')}."
    return Drawing("select", caption, figure)


def alpha_curves(comparison: Comparison, method: MethodSummary, theme: Theme) -> Drawing | None:
    """Alpha and w of each task in the rounds that fit alpha, for one label; None where it has no alpha."""
    tasks, target = comparison.facts.tasks, comparison.facts.target
    records = method.chosen.records if method.chosen else ()
    kinds = {kind: _task_series([record.history for record in records], kind, tasks) for kind in ("alpha", "weight")}
    kinds = {kind: series for kind, series in kinds.items() if series}
    if "alpha" not in kinds:
        return None
    looks = drawing.styles([task for task in tasks if task != target], theme) | {target: Style(theme.ink, "-")}
    height = max(2.6, 0.6 + 0.2 * len(tasks))
    figure, panels = drawing.new_figure(1.4 + height * len(kinds), len(kinds), theme)
    ends = [_task_lines(axes, series, looks, target) for axes, series in zip(panels, kinds.values(), strict=True)]
    panels[0].axhline(1 / len(tasks), color=theme.muted, linewidth=0.9, linestyle=(0, (5, 3)))
    for axes, kind in zip(panels, kinds, strict=True):
        drawing.axis_names(axes, None, "alpha" if kind == "alpha" else "weight w", theme)
    drawing.axis_names(panels[-1], "round", None, theme)
    seeds = "bold: mean over seeds, thin: each seed; " if len(records) > 1 else ""
    subtitle = f"{seeds}{theme.ink_name}: the target; dashed: an even share, 1/{len(tasks)}"
    shown = " and w" if "weight" in kinds else ""
    drawing.title(panels[0], f"{shorten(method.label)}: alpha{shown} in the rounds that fit alpha", subtitle, theme)
    first = min(float(one.index[0]) for series in kinds["alpha"].values() for one in series)
    _finish(figure, panels, ends, first)
    caption = f"alpha{shown} of {method.label} in the rounds that fit alpha. No measure of importance."
    return Drawing(f"alpha-{_file_name(method.label, comparison)}", caption, figure)


def _file_name(label: str, comparison: Comparison) -> str:
    """The label where it can name a file, else what can of it and its place in the sweep, lest two become one."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", label)
    return plain if plain == label else f"{plain}-{comparison.facts.labels.index(label)}"


def _select_curve(comparison: Comparison, method: MethodSummary) -> pd.DataFrame:
    """By round, means over seeds: `select`, `fine_tuning`, and a column for every track but the main one."""
    column = f"select/{comparison.facts.metric}"
    parts = []
    for history in (record.history for record in (method.chosen.records if method.chosen else ())):
        if column in history:
            tuned = history.get("fine_tuning", pd.Series(0.0, index=history.index)).fillna(0.0)
            tracks = history.filter(regex=f"/{re.escape(column)}$")
            part = tracks.assign(round=history["round"], select=history[column], fine_tuning=tuned)
            parts.append(part.dropna(subset="select"))
    return pd.concat(parts).groupby("round").mean() if parts else pd.DataFrame()


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
            _line(axes, series, Style(looks[task].colour, "-"), 0.7, alpha=faint)
        mean = pd.concat(seeds, axis=1).mean(axis=1).sort_index()
        _line(axes, mean, looks[task], 2.6 if task == target else 2.0)
        ends.append(End(task, float(mean.index[-1]), float(mean.iloc[-1]), looks[task].colour))
    return ends


def _line(axes: Axes, series: pd.Series[float], look: Style, width: float, **more: Any) -> None:
    """A line over rounds; a dot where there is one round only, as a line would not show; nothing without any."""
    if series.empty:
        return
    marker = "o" if len(series) == 1 else None
    rounds, values = series.index.to_numpy(), series.to_numpy()
    axes.plot(rounds, values, color=look.colour, linestyle=look.line, linewidth=width, marker=marker, **more)


def _finish(figure: Figure, panels: Sequence[Axes], ends: Sequence[Sequence[End]], first: float) -> None:
    """Fix limits and margins, then name the lines at their ends."""
    drawing.margins(figure, left=0.8, right=labelling.widest([end.name for lines in ends for end in lines]) + 0.5)
    last = max(end.x for lines in ends for end in lines)
    room = 0.01 * (last - first) or 0.5
    for axes, lines in zip(panels, ends, strict=True):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(first - room, last + room)
        axes.set_ylim(*axes.get_ylim())
        labelling.name_ends(axes, lines)
