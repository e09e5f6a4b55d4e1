"""Names that stand in a figure beside what they name, and never on one another; so no figure needs a legend."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, blended_transform_factory

from avil_ray.plain import plain
from avil_ray.reports.drawing import DOTS_PER_INCH, POINT, TEXT_SIZE, pixels

LONGEST = 26
"""Longer names are cut to so many characters, where a figure has room for one line."""
WRAPPED = 16
"""Longer names go on in the next line, where it has room for several."""


@dataclass(frozen=True)
class End:
    """Where a line ends, in data units: what is to be named beside the panel."""

    name: str
    x: float
    y: float
    colour: str


@dataclass(frozen=True)
class Point:
    """A point and the ends of its vertical interval, in pixels: what is to be named within the panel."""

    name: str
    x: float
    y: float
    low: float
    high: float
    colour: str


def shorten(name: str) -> str:
    """A name that fits a figure."""
    name = plain(name)
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def wrap(name: str, width: int = WRAPPED) -> str:
    """A whole name in lines of `width` characters or fewer, broken after `-`, `_`, `.`, `/` or a space where it can."""
    lines, line = [], ""
    for part in re.findall(r"[^-_./ ]*[-_./ ]?", plain(name)):
        if line and len(line + part.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += part
        while len(line.rstrip()) > width:
            lines.append(line[:width])
            line = line[width:]
    return "\n".join([*lines, line.rstrip()] if line or not lines else lines)


def line_count(names: Sequence[str], width: int = WRAPPED) -> int:
    """Lines that the names take together."""
    return sum(wrap(name, width).count("\n") + 1 for name in names)


def widest(names: Sequence[str], written: Callable[[str], str] = shorten) -> float:
    """The width of the widest name, in inches, as `shorten` or `wrap` has it written."""
    figure = Figure(dpi=DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    texts = [figure.text(0, 0, written(name), fontsize=TEXT_SIZE, weight="bold", parse_math=False) for name in names]
    renderer = canvas.get_renderer()
    return max((text.get_window_extent(renderer).width for text in texts), default=0.0) / DOTS_PER_INCH


def spread(
    positions: Sequence[float], sizes: float | Sequence[float], low: float = -math.inf, high: float = math.inf
) -> list[float]:
    """Positions moved as little as can be (in squares) so that what stands there does not overlap.

    Neighbours are then at least half of their `sizes` apart, added up, and all stay within `low` and `high`, where
    there is room. Taking the room that all below it need from each position turns that into "not falling": an isotonic
    regression, which pooling neighbours that fall solves exactly.
    """
    sizes = [sizes] * len(positions) if isinstance(sizes, int | float) else sizes
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    rooms = [0.0]
    for below, above in itertools.pairwise(order):
        rooms.append(rooms[-1] + (sizes[below] + sizes[above]) / 2)
    pools: list[list[float]] = []
    for room, index in zip(rooms, order, strict=False):
        pools.append([positions[index] - room])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last = pools.pop()
            pools[-1].extend(last)
    flat = [_mean(pool) for pool in pools for _ in pool]
    ceiling = max(low, high - rooms[-1])
    moved = [0.0] * len(positions)
    for place, room, index in zip(flat, rooms, order, strict=False):
        moved[index] = min(max(place, low), ceiling) + room
    return moved


def name_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Names to the right of the panel, at the height where each line ends, with a thin leader to it.

    Parameters
    ----------
    axes
        A panel whose limits and place in the figure are final.
    ends
        The ends of the lines.
    """
    box = axes.get_window_extent()
    places = [pixels(axes, end.x, end.y) for end in ends]
    sizes = [1.32 * TEXT_SIZE * POINT * line_count([end.name]) for end in ends]
    heights = spread([height for _, height in places], sizes, float(box.y0), float(box.y1))
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    knee, start, text = (1 + points * POINT / box.width for points in (6, 14, 17))
    for end, (x, _), height in zip(ends, places, heights, strict=True):
        level = float(axes.transData.inverted().transform((0, height))[1])
        thin: dict[str, Any] = {"transform": beside, "color": end.colour, "linewidth": 0.7, "clip_on": False}
        axes.plot([(x - box.x0) / box.width, knee], [end.y, end.y], linestyle=":", alpha=0.45, **thin)
        axes.plot([knee, start], [end.y, level], alpha=0.7, **thin)
        axes.text(
            text, level, wrap(end.name), transform=beside, color=end.colour, fontsize=TEXT_SIZE, weight="bold",
            va="center", linespacing=1.05, parse_math=False,
        )  # fmt: skip


def name_points(axes: Axes, points: Sequence[Point], obstacles: Sequence[Bbox]) -> None:
    """Names within the panel, each where it covers the least, with a thin leader where that is not next to its point.

    Parameters
    ----------
    axes
        A panel whose limits and place in the figure are final.
    points
        What to name.
    obstacles
        What names should not cover beside other names and the outside of the panel, in pixels.
    """
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    frame, taken = axes.get_window_extent(), list(obstacles)
    for point in points:
        box = _place(axes, point, canvas.get_renderer(), frame, taken)
        taken.append(box.padded(3))
        if _distance(box, point) > 14 * POINT:
            near = (min(max(point.x, box.x0), box.x1), min(max(point.y, box.y0), box.y1))
            look = {"arrowstyle": "-", "color": point.colour, "linewidth": 0.8, "shrinkA": 5, "shrinkB": 1}
            start, end = _share(axes, *near), _share(axes, point.x, point.y)
            axes.annotate("", start, end, "figure fraction", "figure fraction", look, annotation_clip=False)


def _place(axes: Axes, point: Point, renderer: RendererAgg, frame: Bbox, taken: Sequence[Bbox]) -> Bbox:
    """Write one name where, of some places around its point and interval, it covers least; the nearest of equals."""
    text = axes.text(
        *_share(axes, point.x, point.y), wrap(point.name), transform=axes.figure.transFigure, color=point.colour,
        fontsize=TEXT_SIZE, weight="bold", linespacing=1.05, parse_math=False,
    )  # fmt: skip
    size = text.get_window_extent(renderer)
    width, height = float(size.width), float(size.height)
    places = []
    for reach in (7 * POINT, 12 * POINT, 20 * POINT, 30 * POINT, 44 * POINT):
        sides = (point.x + reach, point.x - reach - width)
        levels = (
            point.y - height / 2,
            point.y + reach / 2,
            point.y - reach / 2 - height,
            point.high - height,
            point.low,
        )
        over = [(point.x - width / 2, level) for level in (point.high + reach / 2, point.low - reach / 2 - height)]
        for x, y in [(side, level) for level in levels for side in sides] + over:
            box = Bbox.from_bounds(x, y, width, height)
            covered = sum(_overlap(box, other) for other in taken) + 3 * (width * height - _overlap(box, frame))
            places.append((round(covered), _distance(box, point), x, y))
    _, _, x, y = min(places)
    text.set_position(_share(axes, point.x + x - float(size.x0), point.y + y - float(size.y0)))
    return Bbox.from_bounds(x, y, width, height)


def _share(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """A place in pixels as shares of the figure's width and height, which hold at any resolution."""
    place = axes.figure.transFigure.inverted().transform((x, y))
    return float(place[0]), float(place[1])


def _distance(box: Bbox, point: Point) -> float:
    """From the point to the nearest of the box, in pixels."""
    return math.hypot(max(box.x0 - point.x, 0, point.x - box.x1), max(box.y0 - point.y, 0, point.y - box.y1))


def _overlap(a: Bbox, b: Bbox) -> float:
    """The area that two boxes share."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(width * height) if width > 0 and height > 0 else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
