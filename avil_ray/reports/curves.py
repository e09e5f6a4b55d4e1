"""How methods learn: select over the gradient steps of a run, and the tracks of a method that has several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from avil_ray.reports import drawing, findings, labelling
from avil_ray.reports.comparison import Comparison, MethodSummary
from avil_ray.reports.drawing import Drawing, Style, Theme
from avil_ray.reports.labelling import End

MAIN = "main"


def select_curves(comparison: Comparison, theme: Theme) -> Drawing | None:
    """Select over gradient steps: the main track of each method's chosen configuration; None without histories."""
    curves = {method.label: select_curve(comparison, method) for method in comparison.methods}
    curves = {label: curve for label, curve in curves.items() if len(curve)}
    if not curves:
        return None
    looks = drawing.styles([method.label for method in comparison.methods], theme)
    tuned = any(curve["fine_tuning"].any() for curve in curves.values())
    subtitle = f"mean over seeds; {findings.better(comparison)}{'; dotted: fine-tuning' * tuned}"
    figure, axes = _panel(findings.metric_name(comparison), list(curves), "How they learn", subtitle, theme)
    best = comparison.best.label if comparison.best else ""
    ends = [_draw(axes, label, curve, looks[label], 2.8 if label == best else 1.8) for label, curve in curves.items()]
    _finish(axes, ends, [curve[MAIN] for curve in curves.values()])
    metric = findings.metric_name(comparison).capitalize()
    caption = (
        f"{metric} on select over the gradient steps of one run of each method's chosen configuration: those of all "
    )
    caption += "tasks and tracks, dev passes included."
    return Drawing("select", caption, figure)


def track_curves(comparison: Comparison, method: MethodSummary, theme: Theme) -> Drawing | None:
    """Select over gradient steps for each track of one method; None where it has only the main one."""
    curve = select_curve(comparison, method)
    if len(tracks_of(curve)) < 2:
        return None
    metric, better = findings.metric_name(comparison), f"mean over seeds; {findings.better(comparison)}"
    figure = tracks_figure(curve, metric, f"Tracks of {method.label}", better, theme)
    caption = f"{metric.capitalize()} on select of the tracks that {method.label} trains side by side, over the "
    caption += "gradient steps of the whole run."
    return Drawing(f"tracks-{file_name(method.label, comparison)}", caption, figure)


def tracks_of(curve: pd.DataFrame) -> list[str]:
    """The tracks of a curve, `main` first."""
    return [name for name in map(str, curve) if name not in ("round", "steps", "fine_tuning")]


def tracks_figure(curve: pd.DataFrame, metric: str, title: str, subtitle: str, theme: Theme) -> Figure:
    """A line for each track of a curve, with its name at the end."""
    tracks = tracks_of(curve)
    looks = drawing.styles(tracks, theme)
    tuned = bool(curve["fine_tuning"].any())
    figure, axes = _panel(metric, tracks, title, f"{subtitle}{'; dotted: fine-tuning' * tuned}", theme)
    ends = []
    for track in tracks:
        shown = curve[["steps", "fine_tuning"]].assign(**{MAIN: curve[track]})
        ends.append(_draw(axes, track, shown.dropna(subset=MAIN), looks[track], 2.6 if track == MAIN else 1.8))
    _finish(axes, ends, [curve[track] for track in tracks])
    return figure


def file_name(label: str, comparison: Comparison) -> str:
    """The label where it can name a file, else what can of it and its place in the sweep, lest two become one."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", label)
    return plain if plain == label else f"{plain}-{comparison.facts.labels.index(label)}"


def select_curve(comparison: Comparison, method: MethodSummary) -> pd.DataFrame:
    """By round, means over seeds: `steps` spent by then, `fine_tuning`, and select for each track, `main` first."""
    histories = [record.history for record in (method.chosen.records if method.chosen else ())]
    parts = [curve for curve in (run_curve(history, comparison.facts.metric) for history in histories) if len(curve)]
    return pd.concat(parts).groupby("round").mean() if parts else pd.DataFrame()


def run_curve(history: pd.DataFrame, metric: str) -> pd.DataFrame:
    """As `select_curve`, of one run; empty where its history has no figures on select."""
    column = f"select/{metric}"
    if not {column, "cost/gradient_steps"} <= set(history):
        return pd.DataFrame()
    ordered = history.sort_values("round")
    tracks = {name: name.removesuffix(f"/{column}") for name in map(str, ordered) if name.endswith(f"/{column}")}
    part = pd.DataFrame({"round": ordered["round"], "steps": ordered["cost/gradient_steps"].cumsum()})
    part["fine_tuning"] = ordered.get("fine_tuning", pd.Series(0.0, index=ordered.index)).fillna(0.0)
    part = part.assign(**{MAIN: ordered[column]}, **{track: ordered[name] for name, track in tracks.items()})
    return part.dropna(subset=MAIN)


def _panel(metric: str, names: Sequence[str], title: str, subtitle: str, theme: Theme) -> tuple[Figure, Axes]:
    """One panel, with room for the names of its lines at the right."""
    right = labelling.widest(names, labelling.wrap) + 0.42
    height = max(2.6, 0.3 + 0.19 * labelling.line_count(names))
    figure, [axes] = drawing.sheet(title, subtitle, [height], theme, left=0.72, right=right)
    drawing.axis_names(axes, "gradient steps of one run", f"{metric} on select", theme)
    return figure, axes


def _draw(axes: Axes, name: str, curve: pd.DataFrame, look: Style, width: float) -> End:
    """The line of a track, its fine-tuning dotted and not joined to it, as that starts from the best round."""
    tuned = curve["fine_tuning"] > 0
    line(axes, curve["steps"][~tuned], curve[MAIN][~tuned], look, width)
    line(axes, curve["steps"][tuned], curve[MAIN][tuned], Style(look.colour, ":"), 1.8)
    return End(name, float(curve["steps"].iloc[-1]), float(curve[MAIN].iloc[-1]), look.colour)


def line(axes: Axes, x: pd.Series[float], y: pd.Series[float], look: Style, width: float, **more: Any) -> None:
    """A line; a dot where there is one point only, as a line would not show; nothing without any."""
    if y.empty:
        return
    marker = "o" if len(y) == 1 else None
    axes.plot(
        x.to_numpy(), y.to_numpy(), color=look.colour, linestyle=look.line, linewidth=width, marker=marker, **more
    )  # fmt: skip


def _finish(axes: Axes, ends: Sequence[End], tracks: Sequence[pd.Series[float]]) -> None:
    """Fix the limits, then name the lines at their ends.

    The climb from chance would leave the rest no room: the first fifth of the rounds may leave the panel.
    """
    seen = pd.concat([values.dropna().iloc[len(values.dropna()) // 5 :] for values in tracks])
    drawing.pad(axes, float(seen.min()), float(seen.max()))
    last = max(end.x for end in ends)
    axes.set_xlim(0, last * 1.01)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(drawing.short_number))
    labelling.name_ends(axes, ends)
