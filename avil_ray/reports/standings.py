"""Where the methods stand on test: their differences from a baseline, and every seed's figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from avil_ray.reports import drawing, findings, labelling, page_tables
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.differences import PairedDifference
from avil_ray.reports.drawing import NARROW, Drawing, Style, Theme

ROW = 0.46
"""The height of a row, in inches: a name, and below it what is drawn of it."""


LINE = 38
"""Characters of a name that fit beside one another above a row."""


def row_height(names: Sequence[str]) -> float:
    """The height of every row, in inches, where the longest of these names takes more than one line."""
    return ROW + 0.16 * (max(labelling.line_count([name], LINE) for name in names) - 1)


def differences(comparison: Comparison, theme: Theme) -> Drawing | None:
    """Each method minus the target alone, and minus the recommended one, with intervals; None without a pair."""
    sides = [("best on select", comparison.best, comparison.against_best)]
    if comparison.alone is not comparison.best:
        sides.insert(0, ("which trains the target alone", comparison.alone, comparison.against_alone))
    found = [(f"{base.label} ({why})", base, _by_label(pairs)) for why, base, pairs in sides if base]
    order = [one.label for one in page_tables.ranked(comparison) if any(one.label in pairs for *_, pairs in found)]
    if not order:
        return None
    colours = drawing.styles([method.label for method in comparison.methods], theme)
    metric, subtitle = findings.metric_name(comparison), f"{findings.spread(comparison)}; shaded: better"
    title, heights = f"Test {metric}, difference from a baseline", [row_height(order) * len(order) + 0.12]
    figure, [first] = drawing.sheet(title, subtitle, heights, theme, left=0.15, right=0.15, below=0.7)
    limits = _around_zero([end for *_, pairs in found for one in pairs.values() for end in _ends(one)])
    panels = _side_by_side(first, len(found), theme)
    for axes, (_, base, pairs) in zip(panels, found, strict=True):
        _rows(axes, len(order))
        axes.set_xlim(*limits)
        axes.axvspan(0, limits[comparison.facts.mode == "max"], color=theme.grid, alpha=0.55, linewidth=0)
        axes.axvline(0, color=theme.muted, linewidth=1)
        for row, label in enumerate(order):
            if label in pairs:
                _interval(axes, pairs[label], row, colours[label], theme)
        axes.xaxis.set_major_locator(MaxNLocator(4 if len(panels) > 1 else 7, min_n_ticks=3))
        drawing.axis_names(axes, labelling.wrap(f"minus {base.label}", 24), None, theme)
    _row_names(panels[0], order, colours)
    baselines = " and minus that of ".join(name for name, *_ in found)
    caption = f"Test {metric} of each method minus that of {baselines}, paired by seed; best on select on top."
    return Drawing("differences", caption, figure)


def _by_label(pairs: Sequence[PairedDifference]) -> dict[str, PairedDifference]:
    return {one.a: one for one in pairs if one.estimate}


def per_seed(comparison: Comparison, theme: Theme) -> Drawing | None:
    """Every seed's test figure of each method, lines joining a seed's; None with fewer than two seeds or results."""
    shown = [one for one in page_tables.ranked(comparison) if one.test and one.chosen]
    if len(comparison.facts.seeds) < 2 or not shown:
        return None
    colours, metric = (
        drawing.styles([method.label for method in comparison.methods], theme),
        findings.metric_name(comparison),
    )
    subtitle = (
        f"a dot for each seed, lines join a seed's dots; bar: mean and 95 % interval; {findings.better(comparison)}"
    )
    figure, [axes] = drawing.sheet(
        f"Test {metric}, seed by seed",
        subtitle,
        [row_height([one.label for one in shown]) * len(shown) + 0.12],
        theme,
        left=0.15,
        right=0.15,
    )
    _rows(axes, len(shown))
    found = [one.chosen.per_seed for one in shown if one.chosen]
    ends = [end for one in shown if one.test for end in one.test.interval or ()]
    axes.set_xlim(*drawing.limits([value for per in found for value in per.values()], ends))
    rows = list(range(len(shown)))
    for seed in comparison.facts.seeds:
        axes.plot([per[seed] for per in found], rows, color=theme.muted, linewidth=0.7, alpha=0.55, zorder=1)
    for row, (method, per) in enumerate(zip(shown, found, strict=True)):
        assert method.test is not None
        look = colours[method.label]
        if method.test.interval:
            axes.plot(
                method.test.interval, [row + 0.22, row + 0.22], color=look.colour, linewidth=2.4, solid_capstyle="round"
            )
        axes.plot([method.test.mean], [row + 0.22], "|", color=look.colour, markersize=9, markeredgewidth=2.4)
        axes.scatter(
            list(per.values()),
            [row] * len(per),
            s=24,
            color=look.colour,
            edgecolors=theme.paper,
            linewidths=0.7,
            zorder=3,
        )
    axes.xaxis.set_major_locator(MaxNLocator(6))
    drawing.axis_names(axes, f"test {metric}", None, theme)
    _row_names(axes, [one.label for one in shown], colours)
    return Drawing(
        "seeds", f"Test {metric} of each method's chosen configuration for each seed; best on select on top.", figure
    )


def _side_by_side(axes: Axes, count: int, theme: Theme) -> list[Axes]:
    """The panel, or two that share its room."""
    if count == 1:
        return [axes]
    box, gap = axes.get_position(), 0.22 / NARROW
    width = (box.width - gap) / 2
    axes.set_position((box.x0, box.y0, width, box.height))
    second = axes.figure.add_axes((box.x0 + width + gap, box.y0, width, box.height))
    drawing.plain_panel(second, theme)
    return [axes, second]


def _rows(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.38, -0.72)
    axes.set_yticks([])
    axes.grid(False, axis="y")


def _row_names(axes: Axes, labels: Sequence[str], colours: Mapping[str, Style]) -> None:
    """Each name above its row, at the left edge."""
    for row, label in enumerate(labels):
        axes.annotate(
            labelling.wrap(label, LINE), (0, row), (0, 7), ("axes fraction", "data"), "offset points",
            color=colours[label].colour, fontsize=drawing.TEXT_SIZE, weight="bold", va="bottom", parse_math=False,
            annotation_clip=False, zorder=4,
        )  # fmt: skip


def _interval(axes: Axes, one: PairedDifference, row: float, look: Style, theme: Theme) -> None:
    if one.estimate is None:
        return
    if one.estimate.interval:
        axes.plot(one.estimate.interval, [row, row], color=look.colour, linewidth=2.4, solid_capstyle="round")
    drawing.dot(axes, one.estimate.difference, row, look, theme)


def _ends(one: PairedDifference) -> Sequence[float]:
    return (one.estimate.interval or (one.estimate.difference,)) if one.estimate else ()


def _around_zero(values: Sequence[float]) -> tuple[float, float]:
    """Limits that hold the values and zero, with some room on both sides."""
    low, high = min(*values, 0.0), max(*values, 0.0)
    room = (high - low) * 0.15 or 1.0
    return low - room, high + room
