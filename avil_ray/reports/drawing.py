"""How figures look: colours, axes, and labels that stand beside what they name and never on one another.

Everything is set on `Figure` objects; pyplot and its global state are not touched, so figures can be drawn anywhere.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox, blended_transform_factory

DOTS_PER_INCH = 150
TEXT_SIZE = 9.5
LONGEST_LABEL = 26
LINE_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Theme:
    """The colours of a page.

    `series` was searched for: eight hues, each of a contrast of 3 or more on the paper, whose nearest two are as far apart as
    could be found for people without colour blindness and with any of its three kinds (Machado et al. 2009).
    """

    paper: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c2024",
    muted="#626a73",
    grid="#e6e8eb",
    series=("#004590", "#f76300", "#529c89", "#5e0045", "#ad74ff", "#5c4304", "#01729f", "#91564f"),
)
DARK = Theme(
    paper="#16191d",
    ink="#eceef0",
    muted="#9ba3ad",
    grid="#2c3136",
    series=("#74a7e8", "#da6503", "#bff4c9", "#966181", "#756de1", "#ffbf12", "#6fdbfe", "#fe8b85"),
)


@dataclass(frozen=True)
class Style:
    """How one series is drawn, the same in every figure."""

    colour: str
    line: str


def styles(names: Sequence[str], theme: Theme) -> dict[str, Style]:
    """name -> style; where the colours are used up they come again with another kind of line."""
    return {
        name: Style(
            theme.series[index % len(theme.series)], LINE_STYLES[index // len(theme.series) % len(LINE_STYLES)]
        )
        for index, name in enumerate(names)
    }


def new_figure(width: float, height: float, panels: int, theme: Theme) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with panels one above the other on one x axis, in the theme's colours."""
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    axes = [panel for [panel] in figure.subplots(panels, 1, sharex=True, squeeze=False)]
    for panel in axes:
        panel.set_facecolor(theme.paper)
        panel.grid(True, color=theme.grid, linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(colors=theme.muted, labelsize=TEXT_SIZE - 0.5, length=0)
        panel.tick_params(which="minor", length=0)
        for side, spine in panel.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(theme.muted)
    return figure, axes


def title(axes: Axes, text: str, subtitle: str, theme: Theme) -> None:
    """A title and a quieter line below it, both over the left edge of the panel."""
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "left", "va": "baseline"}
    axes.annotate(text, (0, 1), (0, 24), color=theme.ink, fontsize=TEXT_SIZE + 2.5, weight="bold", parse_math=False, **place)
    axes.annotate(subtitle, (0, 1), (0, 9), color=theme.muted, fontsize=TEXT_SIZE, parse_math=False, **place)


def axis_names(axes: Axes, x: str | None, y: str | None, theme: Theme) -> None:
    """Name the axes that are given."""
    for name, setter in ((x, axes.set_xlabel), (y, axes.set_ylabel)):
        if name is not None:
            setter(name, color=theme.muted, fontsize=TEXT_SIZE, parse_math=False)


def shorten(label: str) -> str:
    """A label that fits a figure."""
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def label_width(labels: Sequence[str]) -> float:
    """The width of the widest label, in inches."""
    figure = Figure(dpi=DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    texts = [figure.text(0, 0, shorten(label), fontsize=TEXT_SIZE, weight="bold", parse_math=False) for label in labels]
    renderer = canvas.get_renderer()
    return max((text.get_window_extent(renderer).width for text in texts), default=0.0) / DOTS_PER_INCH


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved as little as can be (in squares) so that neighbours are `gap` apart, within `low` and `high` where they fit.

    Taking i · gap from the i-th smallest turns "at least gap apart" into "not falling": an isotonic regression, which pooling
    neighbours that fall solves exactly.
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    pools: list[list[float]] = []
    for rank, index in enumerate(order):
        pools.append([positions[index] - rank * gap])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last = pools.pop()
            pools[-1].extend(last)
    flat = [_mean(pool) for pool in pools for _ in pool]
    ceiling = max(low, high - (len(flat) - 1) * gap)
    moved = [0.0] * len(positions)
    for rank, index in enumerate(order):
        moved[index] = min(max(flat[rank], low), ceiling) + rank * gap
    return moved


def label_line_ends(axes: Axes, ends: Sequence[tuple[str, float, float, str]], theme: Theme) -> None:
    """Names to the right of the panel, at the height where each line ends, with a thin leader to it.

    Parameters
    ----------
    axes
        A panel whose limits and place in the figure are final.
    ends
        (name, x and y of the line's end in data units, colour) of each line.
    theme
        The colours.
    """
    scale = axes.figure.dpi / 72
    box = axes.get_window_extent()
    heights = [float(axes.transData.transform((x, y))[1]) for _, x, y, _ in ends]
    half = TEXT_SIZE * scale * 0.6
    placed = spread(heights, 2.2 * half, box.y0, box.y1)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for (name, x, y, colour), height in zip(ends, placed, strict=True):
        level = float(axes.transData.inverted().transform((0, height))[1])
        knee, start = 1 + 6 * scale / box.width, 1 + 14 * scale / box.width
        edge = float((axes.transData + axes.transAxes.inverted()).transform((x, y))[0])
        axes.plot([edge, knee], [y, y], transform=beside, color=colour, linewidth=0.7, alpha=0.45, clip_on=False, linestyle=":")
        axes.plot([knee, start], [y, level], transform=beside, color=colour, linewidth=0.7, alpha=0.7, clip_on=False)
        axes.text(
            start + 3 * scale / box.width, level, shorten(name), transform=beside, color=colour, fontsize=TEXT_SIZE,
            weight="bold", va="center", ha="left", parse_math=False, clip_on=False,
        )  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A point to name: its place and the ends of its vertical interval in pixels, and its colour."""

    name: str
    x: float
    y: float
    low: float
    high: float
    colour: str


def label_points(axes: Axes, points: Sequence[Point], obstacles: Sequence[Bbox]) -> None:
    """Names beside points, each where it covers the least; with a thin leader where that is not next to the point.

    Parameters
    ----------
    axes
        A panel whose limits and place in the figure are final.
    points
        What to name.
    obstacles
        What names should not cover beside other names and the outside of the panel, in pixels.
    """
    renderer, frame = _renderer(axes), axes.get_window_extent()
    taken = list(obstacles)
    for point in points:
        text = axes.annotate(
            shorten(point.name), (point.x, point.y), xycoords="figure pixels", xytext=(point.x, point.y),
            textcoords="figure pixels", color=point.colour, fontsize=TEXT_SIZE, weight="bold", parse_math=False,
            annotation_clip=False,
        )  # fmt: skip
        box = _settle(text, point, renderer, frame, taken)
        taken.append(box.padded(3))
        if _distance(box, point.x, point.y) > 14 * DOTS_PER_INCH / 72:
            near = (min(max(point.x, box.x0), box.x1), min(max(point.y, box.y0), box.y1))
            axes.annotate(
                "", near, (point.x, point.y), xycoords="figure pixels", textcoords="figure pixels", annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": point.colour, "linewidth": 0.8, "shrinkA": 5, "shrinkB": 1},
            )  # fmt: skip


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 150 dots per inch; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def _settle(text: Annotation, point: Point, renderer: RendererAgg, frame: Bbox, taken: Sequence[Bbox]) -> Bbox:
    """Move one name to the place, of some around its point and its interval, where it covers least; the nearest of equals."""
    size = text.get_window_extent(renderer)
    width, height = size.width, size.height
    scale = DOTS_PER_INCH / 72
    places = []
    for reach in (7 * scale, 12 * scale, 20 * scale, 30 * scale, 44 * scale):
        middle = point.x - width / 2
        right, left = point.x + reach, point.x - reach - width
        for x, y in (
            (right, point.y - height / 2), (left, point.y - height / 2), (middle, point.high + reach / 2),
            (middle, point.low - reach / 2 - height), (right, point.y + reach / 2), (right, point.y - reach / 2 - height),
            (left, point.y + reach / 2), (left, point.y - reach / 2 - height), (right, point.high - height),
            (left, point.high - height), (right, point.low), (left, point.low),
        ):  # fmt: skip
            box = Bbox.from_bounds(x, y, width, height)
            covered = sum(_overlap(box, other) for other in taken) + 3 * (width * height - _overlap(box, frame))
            places.append((round(covered), _distance(box, point.x, point.y), x, y))
    _, _, x, y = min(places)
    text.set_position((x - size.x0 + point.x, y - size.y0 + point.y))
    return Bbox.from_bounds(x, y, width, height)


def _distance(box: Bbox, x: float, y: float) -> float:
    """From a place to the nearest of a box, in pixels."""
    return math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))


def _overlap(a: Bbox, b: Bbox) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return width * height if width > 0 and height > 0 else 0.0


def _renderer(axes: Axes) -> RendererAgg:
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    return canvas.get_renderer()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
