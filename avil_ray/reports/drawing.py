"""How figures look: colours, axes, titles, margins.

Everything is set on `Figure` objects; pyplot and its global state are not touched, so figures can be drawn anywhere.
"""

from __future__ import annotations

import io
import re
import textwrap
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
"""The width of a figure that stands alone, in inches."""
NARROW = 4.2
"""The width of a report's figures, in inches: two fit side by side on a desk, and one can be read on a telephone."""
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


class Sheet(Figure):
    """A figure that a notebook shows, whether or not pyplot is used there."""

    def _repr_png_(self) -> bytes:
        return png(self)


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
        plain_panel(panel, theme)
    return figure, axes


def sheet(
    heading: str,
    subtitle: str,
    heights: Sequence[float],
    theme: Theme,
    *,
    left: float,
    right: float,
    gap: float = 0.35,
    below: float = 0.56,
) -> tuple[Figure, list[Axes]]:
    """A figure of a report: a title and a quieter subtitle, wrapped, and panels one above the other.

    Parameters
    ----------
    heights
        Of the panels, in inches; the figure is as high as all need.
    left, right
        Margins of the panels, in inches.
    gap, below
        Between a panel and the next, and below the last, in inches: room for what stands below an x axis.
    """
    lines = [*textwrap.wrap(heading, 38), *textwrap.wrap(subtitle, 53)]
    titles = len(textwrap.wrap(heading, 38))
    above = 0.2 + 0.19 * titles + 0.165 * (len(lines) - titles)
    height = above + sum(heights) + gap * (len(heights) - 1) + below
    figure = Sheet(figsize=(NARROW, height), dpi=DOTS_PER_INCH, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    down = 0.08
    for number, line in enumerate(lines):
        bold = number < titles
        look: dict[str, Any] = {"color": theme.ink, "fontsize": TEXT_SIZE + 1.5, "weight": "bold"} if bold else {}
        look = look or {"color": theme.muted, "fontsize": TEXT_SIZE - 0.5}
        figure.text(0.12 / NARROW, 1 - down / height, line, va="top", parse_math=False, **look)
        down += 0.19 if bold else 0.165
    panels, bottom = [], height - above
    for inches in heights:
        bottom -= inches
        box = (left / NARROW, bottom / height, (NARROW - left - right) / NARROW, inches / height)
        panels.append(figure.add_axes(box))
        plain_panel(panels[-1], theme)
        bottom -= gap
    return figure, panels


def plain_panel(panel: Axes, theme: Theme) -> None:
    """A panel with a quiet grid and no frame but its x axis."""
    panel.set_facecolor(theme.paper)
    panel.grid(True, color=theme.grid, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(which="both", colors=theme.muted, labelsize=TEXT_SIZE - 0.5, length=0)
    for side, spine in panel.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.muted)


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


def dot(axes: Axes, x: float, y: float, look: Style, theme: Theme, **where: object) -> None:
    """One point with a rim of paper."""
    axes.scatter([x], [y], s=52, color=look.colour, edgecolors=theme.paper, linewidths=1, zorder=3, **where)  # type: ignore[arg-type]


def short_number(value: float, _position: int | None = None) -> str:
    """`20 k`, `1.5 M`."""
    for divisor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= divisor:
            return f"{value / divisor:g}{unit}"
    return f"{value:g}"


def limits(values: Sequence[float], ends: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis that hold all values, and the ends of their intervals where these are not far longer.

    With two seeds an interval is some dozen times as long as its values are apart: it may leave the panel.
    """
    low, high = min(values), max(values)
    room = (high - low) or abs(high) * 0.05 or 0.05
    low, high = max(low - room, min([low, *ends])), min(high + room, max([high, *ends]))
    margin = 0.06 * (high - low) or room
    return low - margin, high + margin


def pixels(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a place of the data is in the figure, in pixels; final once the limits and margins are."""
    place = axes.transData.transform((x, y))
    return float(place[0]), float(place[1])


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 150 dots per inch; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure, name: str, theme: Theme) -> str:
    """The figure as an `svg` element for a page: its text is text, its colours are the page's (see `css_colours`).

    Parameters
    ----------
    name
        What keeps the identifiers within it apart from those of other figures on the page.
    theme
        The theme that it was drawn in.
    """
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = re.sub(r" <metadata>.*?</metadata>\n", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1>", text, count=1)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    for variable, colour in css_colours(theme).items():
        text = text.replace(colour, f"var({variable})")
    return text


def css_colours(theme: Theme) -> dict[str, str]:
    """The theme's colours by the CSS variables that a page's figures use."""
    named = {"--figure-paper": theme.paper, "--figure-ink": theme.ink, "--figure-muted": theme.muted}
    named["--figure-grid"] = theme.grid
    return named | {f"--series-{number}": colour for number, colour in enumerate(theme.series)}
