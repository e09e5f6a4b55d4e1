"""The figure of a diagnosis: which tasks move the shared parameters alike, and what each auxiliary did to the target.

Every cell is a rectangle with its number in it: blue speaks for an auxiliary, orange against it, white is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from avil_ray.reports import drawing, formats, labelling
from avil_ray.reports.affinity import Affinity, Floats
from avil_ray.reports.drawing import TEXT_SIZE, WIDTH, Drawing, Theme
from avil_ray.reports.statistics import mean_interval

RIGHT, CHANGE, GAP = 0.2, 1.28, 0.22
"""The margin, the width of a column of changes, and the gap before one, in inches."""
LARGEST, LOWEST, HIGHEST = 0.95, 0.27, 0.46
"""The greatest width of a cell of the matrix, and the least and greatest height of a row, in inches."""
FAINT = 0.05
"""Where all values are smaller than this, they stay pale."""
ABOVE = 0.72
CHARACTER = 0.72
"""The room of a character over the size of its letters."""
SMALLEST = 4.5
"""Smaller letters cannot be read: where a cell has no room for larger ones, it has no number."""
SLOPE = 40
"""How far names of columns are turned, in degrees, where they would run into each other."""


@dataclass(frozen=True)
class _Cell:
    """One rectangle: its place and size in inches, what it says, and its colour from -1 (against) to 1 (for)."""

    x: float
    row: int
    width: float
    text: str
    shade: float | None
    """None: no colour, as a task is always like itself."""


def affinity_map(affinity: Affinity, theme: Theme) -> Drawing:
    """The cosines of all tasks' deltas, and beside it the changes of the target's dev loss and metric."""
    order = (affinity.target, *affinity.ranked)
    left = labelling.widest(order) + 0.4
    width = min(LARGEST, (WIDTH - left - RIGHT - 2 * (CHANGE + GAP)) / len(order))
    height = min(HIGHEST, max(LOWEST, width))
    below = 0.3 + (labelling.widest(_columns(order, width)) * 0.7 if _turned(order, width) else 0.25)
    figure, [axes] = drawing.new_figure(ABOVE + height * len(order) + below, 1, theme)
    inches = float(figure.get_size_inches()[1])
    figure.subplots_adjust(left=left / WIDTH, right=1 - RIGHT / WIDTH, top=1 - ABOVE / inches, bottom=below / inches)
    axes.set_xlim(0, WIDTH - left - RIGHT)
    axes.set_ylim(len(order), 0)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    cells = _cosine_cells(affinity, order, width)
    starts = [width * len(order) + GAP, width * len(order) + 2 * GAP + CHANGE]
    sign = 1.0 if affinity.mode == "max" else -1.0
    cells += _change_cells(affinity, affinity.loss_changes, starts[0], -1.0)
    cells += _change_cells(affinity, affinity.metric_changes, starts[1], sign)
    for cell in cells:
        _draw(axes, cell, theme)
    _name(axes, affinity, order, width, starts, theme)
    return Drawing("affinity", _caption(affinity), figure)


def _cosine_cells(affinity: Affinity, order: Sequence[str], width: float) -> list[_Cell]:
    places = [affinity.tasks.index(task) for task in order]
    matrix = affinity.cosine_matrix[np.ix_(places, places)]
    limit = max(FAINT, float(np.abs(matrix - np.eye(len(order))).max()))
    cells = []
    for (row, column), value in np.ndenumerate(matrix):
        text, shade = (formats.number(float(value), 2), float(value) / limit) if row != column else ("1", None)
        cells.append(_Cell(column * width, row, width, text, shade))
    return cells


def _change_cells(affinity: Affinity, changes: Floats, start: float, sign: float) -> list[_Cell]:
    """A column of changes [seeds, auxiliaries]; `sign` is 1 where more is better and -1 where less is."""
    columns = [changes[:, affinity.auxiliaries.index(auxiliary)] for auxiliary in affinity.ranked]
    limit = max(FAINT, *(abs(float(column.mean())) for column in columns))
    cells = []
    for row, column in enumerate(columns, start=1):
        finite = bool(np.isfinite(column).all())
        text = formats.estimate(mean_interval(column.tolist()), 3).removesuffix(" (one seed)") if finite else "none"
        cells.append(_Cell(start, row, CHANGE, text, sign * float(column.mean()) / limit if finite else None))
    return cells


def _draw(axes: Axes, cell: _Cell, theme: Theme) -> None:
    face = _colour(cell.shade, theme)
    box = (cell.x, float(cell.row)), cell.width, 1.0
    axes.add_patch(Rectangle(*box, facecolor=face, edgecolor=theme.paper, linewidth=1.5))
    size = min(TEXT_SIZE, cell.width * 72 / (CHARACTER * max(5, len(cell.text))))
    middle = cell.x + cell.width / 2, cell.row + 0.5
    if size >= SMALLEST:
        axes.text(*middle, cell.text, ha="center", va="center", fontsize=size, color=_readable(face, theme))


def _name(
    axes: Axes, affinity: Affinity, order: Sequence[str], width: float, starts: Sequence[float], theme: Theme
) -> None:
    """Names of rows and columns, the target's in bold, and what figure and columns show."""
    rows, columns = [labelling.shorten(task) for task in order], _columns(order, width)
    if columns != rows:
        axes.tick_params(axis="x", labelsize=min(TEXT_SIZE - 0.5, width * 72 / (CHARACTER * len(columns[-1]))))
        rows = [f"{row}  {column}" for row, column in zip(rows, columns, strict=True)]
    axes.set_yticks([row + 0.5 for row in range(len(order))], rows, color=theme.ink, parse_math=False)
    places = [(column + 0.5) * width for column in range(len(order))]
    axes.set_xticks(places, columns, color=theme.ink, parse_math=False)
    for label in (axes.get_yticklabels()[0], axes.get_xticklabels()[0]):
        label.set_fontweight("bold")
    if _turned(order, width):
        for label in axes.get_xticklabels():
            label.set(rotation=SLOPE, ha="right", rotation_mode="anchor")
    metric = affinity.metric.replace("_", " ")
    ways = "lower is better", "higher is better" if affinity.mode == "max" else "lower is better"
    for start, what, way in zip(starts, ("dev loss", f"dev {metric}"), ways, strict=True):
        axes.text(
            start + CHANGE / 2, 0.92, f"{labelling.shorten(what)}\n(change; {way})", ha="center", va="bottom",
            fontsize=TEXT_SIZE - 1.5, color=theme.muted, parse_math=False,
        )  # fmt: skip
    spread = "one seed" if len(affinity.seeds) == 1 else f"means over {len(affinity.seeds)} seeds"
    subtitle = f"cosines of steps; changes beside an auxiliary; {spread}"
    drawing.title(axes, f"One round of {affinity.steps} steps: which tasks align and help", subtitle, theme)


def _columns(order: Sequence[str], width: float) -> list[str]:
    """The names of the matrix's columns; numbers where turned names would run into each other too."""
    turned = width * math.sin(math.radians(SLOPE)) > 1.2 * TEXT_SIZE / 72
    if turned or labelling.widest(order) < width:
        return [labelling.shorten(task) for task in order]
    return [str(number) for number, _ in enumerate(order, start=1)]


def _turned(order: Sequence[str], width: float) -> bool:
    """Whether the columns have names that are turned."""
    return labelling.widest(order) >= width and _columns(order, width)[0] == labelling.shorten(order[0])


def _colour(shade: float | None, theme: Theme) -> tuple[float, float, float]:
    """Paper for 0, the theme's blue for 1, its orange for -1, mixed in between; the grid's colour for None."""
    if shade is None:
        return to_rgb(theme.grid)
    paper, full = np.array(to_rgb(theme.paper)), np.array(to_rgb(theme.series[0 if shade > 0 else 1]))
    red, green, blue = (paper + (full - paper) * min(1.0, abs(shade))).tolist()
    return red, green, blue


def _readable(face: tuple[float, float, float], theme: Theme) -> str:
    """Ink or paper, whichever stands out more from the cell (WCAG's contrast)."""
    return max((theme.ink, theme.paper), key=lambda colour: _contrast(to_rgb(colour), face))


def _contrast(one: Sequence[float], other: Sequence[float]) -> float:
    dark, bright = sorted(_luminance(colour) for colour in (one, other))
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: Sequence[float]) -> float:
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def _caption(affinity: Affinity) -> str:
    interval = "" if len(affinity.seeds) == 1 else ", ± half their 95 % intervals over seeds"
    return (
        f"Left: the cosine of any two tasks' steps over the shared parameters, after {affinity.steps} gradient steps "
        f"alone. Right: dev loss and metric of {affinity.target} after as many steps beside an auxiliary, minus those "
        f"without it{interval}. Blue speaks for an auxiliary, orange against it."
    )
