"""How figures look: colours, axes, titles, margins.

Everything is set on `Figure` objects; pyplot and its global state are not touched, so figures can be drawn anywhere.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 8.0
"""The width of every figure, in inches."""
DOTS_PER_INCH = 150
POINT = DOTS_PER_INCH / 72
"""A typographic point, in pixels."""
TEXT_SIZE = 9.5
LINE_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Theme:
    """The colours of a page.

    `series` was searched for: eight hues, each of a contrast of 3 or more on the paper, with the nearest two far
    apart for people without colour blindness and with any of its three kinds (as Machado et al. 2009 simulate them).
    """

    paper: str
    ink: str
    ink_name: str
    muted: str
    grid: str
    series: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c2024",
    ink_name="black",
    muted="#626a73",
    grid="#e6e8eb",
    series=("#0a58ad", "#f76300", "#529c89", "#7d1560", "#ad74ff", "#6b5000", "#c72c53", "#766b8b"),
)
DARK = Theme(
    paper="#16191d",
    ink="#eceef0",
    ink_name="white",
    muted="#9ba3ad",
    grid="#2c3136",
    series=("#74a7e8", "#da6503", "#bff4c9", "#b0749a", "#8a82f0", "#ffbf12", "#fe8b85", "#6fdbfe"),
)


@dataclass(frozen=True)
class Style:
    """How one series is drawn, the same in every figure."""

    colour: str
    line: str


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its file without the ending, and a caption that also serves those who cannot see it."""

    name: str
    caption: str
    figure: Figure


@contextmanager
def own_look() -> Iterator[None]:
    """While figures are made: no text is taken for a formula, whatever the user's matplotlibrc says.

    A letter that the font has not is drawn as a box, without a warning for each.
    """
    with rc_context({"text.usetex": False, "text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def styles(names: Sequence[str], theme: Theme) -> dict[str, Style]:
    """A style for each name; where the colours are used up they come again with another kind of line."""
    return {
        name: Style(theme.series[index % len(theme.series)], LINE_STYLES[index // len(theme.series) % len(LINE_STYLES)])
        for index, name in enumerate(names)
    }


def new_figure(height: float, panels: int, theme: Theme) -> tuple[Figure, list[Axes]]:
    """A figure of `height` inches with panels one above the other on one x axis, in the theme's colours."""
    figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    axes = [panel for [panel] in figure.subplots(panels, 1, sharex=True, squeeze=False)]
    for panel in axes:
        panel.set_facecolor(theme.paper)
        panel.grid(True, color=theme.grid, linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(which="both", colors=theme.muted, labelsize=TEXT_SIZE - 0.5, length=0)
        for side, spine in panel.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(theme.muted)
    return figure, axes


def title(axes: Axes, text: str, subtitle: str, theme: Theme) -> None:
    """A title and a quieter line below it, both over the left edge of the panel."""
    for line, rise, look in (
        (text, 24, {"color": theme.ink, "fontsize": TEXT_SIZE + 2.5, "weight": "bold"}),
        (subtitle, 9, {"color": theme.muted, "fontsize": TEXT_SIZE}),
    ):
        everything: dict[str, Any] = {**look, "parse_math": False, "annotation_clip": False}
        axes.annotate(line, (0, 1), (0, rise), "axes fraction", "offset points", **everything)


def axis_names(axes: Axes, x: str | None, y: str | None, theme: Theme) -> None:
    """Name the axes that are given."""
    for name, setter in ((x, axes.set_xlabel), (y, axes.set_ylabel)):
        if name is not None:
            setter(name, color=theme.muted, fontsize=TEXT_SIZE, parse_math=False)


def margins(figure: Figure, left: float, right: float) -> None:
    """Margins in inches: as given at the sides, a title's worth above, an axis' worth below."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, top=1 - 0.72 / height, bottom=0.58 / height, hspace=0.12
    )


def pad(axes: Axes, low: float, high: float) -> None:
    """Limits of the y axis that hold `low` and `high`, with some room."""
    room = (high - low) * 0.12 or abs(high) * 0.05 or 0.05
    axes.set_ylim(low - room, high + room)


def pixels(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a place of the data is in the figure, in pixels; final once the limits and margins are."""
    place = axes.transData.transform((x, y))
    return float(place[0]), float(place[1])


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 150 dots per inch; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
