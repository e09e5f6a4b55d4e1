"""What a notebook shows of a result: a card with figures and learning curves, legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from avil_ray.reports import curves, drawing
from avil_ray.reports.drawing import LIGHT, Drawing
from avil_ray.reports.html import environment


def run_curves(history: pd.DataFrame, metric: str, best_round: int, best_track: str) -> Drawing:
    """The metric on select over gradient steps of one run, a line for each track, with a dot at the best round.

    Parameters
    ----------
    history
        One row a round, with the columns that `docs/history.md` lists.
    metric
        The target's.
    """
    curve = curves.run_curve(history, metric)
    name = metric.replace("_", " ")
    with drawing.own_look():
        figure = curves.tracks_figure(curve, name, "Learning curves", "dot: the round that select chose", LIGHT)
        look = drawing.styles(curves.tracks_of(curve), LIGHT)[best_track]
        (best,) = curve.index[curve["round"] == best_round]
        drawing.dot(figure.axes[0], curve["steps"][best], curve[best_track][best], look, LIGHT)
    return Drawing("run", f"{name.capitalize()} on select over the gradient steps of the run.", figure)


def card(title: str, lines: Sequence[str], rows: Sequence[Mapping[str, Any]], shown: Drawing | None) -> str:
    """An HTML element in the colours of reports, which brings its own: title, lines, a table, a figure.

    Parameters
    ----------
    rows
        Of the table: column -> cell, the same columns in each.
    """
    figure = None
    if shown is not None:
        with drawing.own_look():
            figure = drawing.svg(shown.figure, shown.name, LIGHT)
    template = environment().get_template("card.html")
    return template.render(title=title, lines=lines, rows=rows, figure=figure, colours=drawing.css_colours(LIGHT))
