"""The figure of what reserved device time went into: training, combining updates (the fit of alpha, say), waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from avil_ray.reports import drawing, formats, labelling
from avil_ray.reports.comparison import Comparison, MethodSummary
from avil_ray.reports.drawing import Drawing, Theme
from avil_ray.reports.standings import LINE, row_height

PARTS = (("training and evaluation", 0, 1.0), ("combining updates (fit)", 1, 1.0), ("waiting", None, 0.3))
"""What a part is called, the place of its colour (None: the muted one), and how opaque it is."""


@dataclass(frozen=True)
class Spent:
    """Seconds of reserved device time of all trials of a method; `combining` is None where no history tells it."""

    training: float
    combining: float | None
    waiting: float

    @property
    def total(self) -> float:
        """All that was reserved."""
        return self.training + (self.combining or 0.0) + self.waiting


def spent(method: MethodSummary) -> Spent | None:
    """What a method's reserved time went into; None where none was recorded."""
    cost = method.cost
    if not cost.reserved_device_seconds:
        return None
    columns = [record.history["time/combine"] for record in method.records if "time/combine" in record.history]
    combining = float(sum(column.sum() for column in columns)) if columns else None
    busy = min(cost.device_seconds, cost.reserved_device_seconds)
    return Spent(busy - min(combining or 0.0, busy), combining, cost.reserved_device_seconds - busy)


def spending(comparison: Comparison, theme: Theme) -> Drawing | None:
    """A bar for each method: the shares of its reserved device time; None where none is known."""
    found = [(method.label, one) for method in comparison.methods if (one := spent(method))]
    if not found:
        return None
    told = any(one.combining is not None for _, one in found)
    shown = [part for part in PARTS if told or part[1] != 1]
    if not told:
        shown = [("at work", 0, 1.0), shown[-1]]
    title, subtitle = (
        "Where reserved device time went",
        "all trials of each method, in shares of the time after its name",
    )
    heights = [row_height([label for label, _ in found]) * len(found) + 0.4]
    figure, [axes] = drawing.sheet(title, subtitle, heights, theme, left=0.2, right=0.28)
    colours = [theme.muted if place is None else theme.series[place] for _, place, _ in shown]
    bold: dict[str, Any] = {"fontsize": drawing.TEXT_SIZE, "weight": "bold", "color": theme.ink, "parse_math": False}
    for row, (label, one) in enumerate(found):
        start = 0.0
        parts = (one.training, one.combining or 0.0, one.waiting) if told else (one.training, one.waiting)
        for seconds, colour, (_, _, opaque) in zip(parts, colours, shown, strict=True):
            axes.barh(row + 0.24, seconds / one.total, 0.34, left=start, color=colour, alpha=opaque, linewidth=0)
            start += seconds / one.total
        axes.text(0, row - 0.02, labelling.wrap(f"{label} · {formats.seconds(one.total)}", LINE), va="bottom", **bold)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(found) - 0.4, -1.35)
    axes.set_yticks([])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(False, axis="y")
    _legend(axes, [(name, colour, opaque) for (name, _, opaque), colour in zip(shown, colours, strict=True)], theme)
    caption = f"Shares of the reserved device time of all trials: {formats.listed([name for name, _, _ in shown])}."
    return Drawing("spending", caption, figure)


def _legend(axes: Axes, parts: list[tuple[str, str, float]], theme: Theme) -> None:
    handles = [Patch(facecolor=colour, alpha=opaque, label=name) for name, colour, opaque in parts]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, 1.0), ncols=len(parts), frameon=False,
        fontsize=drawing.TEXT_SIZE - 1, labelcolor=theme.ink, borderaxespad=0, handlelength=0.9, handletextpad=0.4,
        columnspacing=0.9, borderpad=0,
    )  # fmt: skip
