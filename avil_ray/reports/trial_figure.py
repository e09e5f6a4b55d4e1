"""One trial in one figure: select and the tasks' training losses over rounds, and alpha where it was fitted."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from avil_ray.reports import drawing
from avil_ray.reports.drawing import LIGHT, Style

MOST_LINES = 8
"""More in one panel cannot be told apart."""


def trial_figure(history: pd.DataFrame, metric: str, best_round: int | None) -> str | None:
    """The figure as SVG; None where the trial has no rounds.

    Parameters
    ----------
    history
        One row a round, with the columns that `docs/history.md` lists.
    metric
        The target's metric, which select is shown in.
    best_round
        The round that select chose, marked; None where there is none.
    """
    groups = {
        f"{metric.replace('_', ' ')} on select": _columns(history, f"select/{metric}", "main"),
        "training loss": _columns(history, "train_loss/", ""),
        "alpha": _columns(history, "alpha/", ""),
    }
    groups = {name: found for name, found in groups.items() if found}
    if history.empty or not groups:
        return None
    with drawing.own_look(), rc_context({"svg.fonttype": "none", "svg.hashsalt": "trial"}):
        figure, panels = drawing.new_figure(0.9 + 1.7 * len(groups), len(groups), LIGHT)
        for panel, (name, columns) in zip(panels, groups.items(), strict=True):
            _draw(panel, history, columns)
            drawing.axis_names(panel, None, name, LIGHT)
            if best_round is not None:
                panel.axvline(best_round, color=LIGHT.muted, linewidth=1, linestyle=":")
        drawing.axis_names(panels[-1], "round (dotted: the one that select chose)", None, LIGHT)
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.subplots_adjust(left=0.1, right=0.76, top=0.97, bottom=0.5 / figure.get_size_inches()[1], hspace=0.12)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _columns(history: pd.DataFrame, part: str, alone: str) -> list[tuple[str, str]]:
    """(column, what to call it) of those with a value whose name has that part; `alone` where nothing is left of it."""
    names = [name for name in map(str, history) if part in name and history[name].notna().any()]
    found = [(name, name.replace(part, "").strip("/") or alone) for name in names if f"/{part}" in f"/{name}"]
    return found[:MOST_LINES]


def _draw(panel: Axes, history: pd.DataFrame, columns: Sequence[tuple[str, str]]) -> None:
    looks = drawing.styles([column for column, _ in columns], LIGHT)
    for column, name in columns:
        shown, look = history[["round", column]].dropna(), looks[column]
        _line(panel, shown, column, look, name)
    panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=drawing.TEXT_SIZE - 1)


def _line(panel: Axes, shown: pd.DataFrame, column: str, look: Style, name: str) -> None:
    marker = "o" if len(shown) == 1 else None
    x, y = shown["round"].to_numpy(), shown[column].to_numpy()
    panel.plot(x, y, color=look.colour, linestyle=look.line, linewidth=1.6, marker=marker, label=name)
