"""The figure of a search: select for every combination of the two options that it varied most."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from avil_ray.reports import drawing, findings, formats, labelling
from avil_ray.reports.choosing import Configuration, MethodSummary
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.curves import file_name
from avil_ray.reports.drawing import NARROW, TEXT_SIZE, Drawing, Theme
from avil_ray.reports.statistics import Mode

MOST = 12
"""An option with more values than these was drawn at random, and is no axis of a grid."""
CELL, RIGHT = 0.36, 0.15
"""The height of a row, and the margin at the right, in inches."""


@dataclass(frozen=True)
class Grid:
    """A search as a table of cells.

    Attributes
    ----------
    across, down
        The options; `down` is None where only one was searched.
    columns, rows
        Their values.
    cells
        (row, column) -> the best mean of select over all other options.
    chosen
        The cell of the chosen configuration.
    others
        Whether there are other options.
    """

    across: str
    down: str | None
    columns: list[Any]
    rows: list[Any]
    cells: dict[tuple[int, int], float]
    chosen: tuple[int, int]
    others: bool


def grid(method: MethodSummary, mode: Mode) -> Grid | None:
    """The search of a method; None where it has no result, or no option with a few values."""
    complete = [one for one in method.configurations if one.select is not None]
    names = dict.fromkeys(name for one in complete for name in one.options)
    values = {name: _values(complete, name) for name in names}
    varied = [name for name in names if len(values[name]) > 1]
    axes = sorted((name for name in varied if len(values[name]) <= MOST), key=lambda name: -len(values[name]))[:2]
    if not axes or method.chosen is None:
        return None
    across, down = axes[0], axes[1] if len(axes) > 1 else None
    columns, rows = values[across], values[down] if down else [None]

    def place(one: Configuration) -> tuple[int, int]:
        return rows.index(one.options.get(down)) if down else 0, columns.index(one.options.get(across))

    found: dict[tuple[int, int], list[float]] = {}
    for one in complete:
        assert one.select is not None
        found.setdefault(place(one), []).append(one.select.mean)
    best = max if mode == "max" else min
    cells = {where: best(means) for where, means in found.items()}
    return Grid(across, down, columns, rows, cells, place(method.chosen), others=len(varied) > len(axes))


def heat_map(comparison: Comparison, method: MethodSummary, theme: Theme) -> Drawing | None:
    """Select for each pair of values of two options, the best over all others; None where nothing was searched."""
    found = grid(method, comparison.facts.mode)
    if found is None:
        return None
    names = [labelling.wrap(_short(row)) if found.down else "" for row in found.rows]
    left = max(0.5, labelling.widest(names, str) + 0.25) if found.down else 0.15
    down = f"; down: {found.down}" if found.down else ""
    subtitle = f"across: {found.across}{down}; framed: chosen; {findings.better(comparison)}"
    subtitle += "; the best over all other options" * found.others
    title = f"Search of {method.label}: {findings.metric_name(comparison)} on select"
    figure, [axes] = drawing.sheet(title, subtitle, [CELL * len(names)], theme, left=left, right=RIGHT, below=0.34)
    axes.set_xlim(0, len(found.columns))
    axes.set_ylim(len(names), 0)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    _draw(axes, found, comparison, theme, (NARROW - left - RIGHT) / len(found.columns))
    columns = [_short(one) for one in found.columns]
    axes.set_xticks([place + 0.5 for place in range(len(columns))], columns, parse_math=False)
    axes.set_yticks([place + 0.5 for place in range(len(names))], names, parse_math=False)
    caption = f"{title}: the mean over seeds of each configuration that finished on all of them"
    caption += ", the best over the options that are not shown" * found.others
    return Drawing(f"grid-{file_name(method.label, comparison)}", f"{caption}.", figure)


def _short(value: Any) -> str:
    """An option's value, a number in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else formats.value(value)


def _values(configurations: Sequence[Configuration], name: str) -> list[Any]:
    """The different values of an option, numbers in rising order."""
    given = [one.options.get(name) for one in configurations]
    found = list({json.dumps(value, default=str): value for value in given}.values())
    return sorted(found) if all(isinstance(value, int | float) for value in found) else found


def _draw(axes: Axes, found: Grid, comparison: Comparison, theme: Theme, width: float) -> None:
    """Rectangles, the better the darker, with their numbers as large as they fit; `width` of one in inches."""
    low, high = min(found.cells.values()), max(found.cells.values())
    decimals = formats.decimals_for(comparison)
    for (row, column), value in found.cells.items():
        share = (value - low) / (high - low) if high > low else 1.0
        shade = 0.06 + 0.5 * (share if comparison.facts.mode == "max" else 1 - share)
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=theme.series[0], alpha=shade, linewidth=0))
        text = formats.number(value, decimals)
        size = min(TEXT_SIZE, width * 72 / (0.68 * max(4, len(text))))
        weight = "bold" if (row, column) == found.chosen else "normal"
        middle = (column + 0.5, row + 0.5)
        axes.text(*middle, text, ha="center", va="center", fontsize=size, color=theme.ink, weight=weight)
    row, column = found.chosen
    axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=theme.ink, linewidth=2, clip_on=False))
