"""The comparison as a table on a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from avil_ray.reports import findings
from avil_ray.reports.comparison import Comparison


def terminal_table(comparison: Comparison) -> Table:
    """One row a method; the reference in bold. The title gives the outcome."""
    facts = comparison.facts
    table = Table(
        title=Text(f"{facts.name}: {findings.headline(comparison)}", style="bold"),
        caption=Text(
            f"test {findings.metric_name(comparison)} of {facts.target} ({findings.better(comparison)}): mean ± 95 % interval over "
            "seeds; costs are sums over all trials of a method"
        ),
        title_justify="left",
        caption_justify="left",
    )
    for name in ("method", "configurations", "trials (failed)", "test", "gradient steps", "device time", "wall time"):
        words = name in ("method", "test")
        table.add_column(
            name, justify="left" if name == "method" else "right", overflow="fold" if words else "ellipsis"
        )
    for row in findings.rows(comparison):
        cells = (
            row.label, row.configurations, row.trials, row.test, row.gradient_steps, row.device_time, row.wall_time,
        )  # fmt: skip
        table.add_row(*map(Text, cells), style="bold" if row.reference else None)
    return table
