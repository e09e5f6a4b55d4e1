"""The comparison as a table on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from avil_ray.plain import plain
from avil_ray.reports import findings
from avil_ray.reports.comparison import Comparison


def terminal_table(comparison: Comparison) -> Table:
    """One row a method; the reference in bold. The title gives the outcome."""
    facts, target = comparison.facts, plain(comparison.facts.target)
    table = Table(
        title=Text(plain(f"{facts.name}: {findings.headline(comparison)}"), style="bold"),
        caption=Text(
            f"test {findings.metric_name(comparison)} of {target} ({findings.better(comparison)}): mean ± 95 % "
            "interval over seeds; costs are sums over all trials of a method"
        ),
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title_justify="left",
        caption_justify="left",
    )
    for name in (
        "method",
        "configu-\nrations",
        "trials\n(failed)",
        "test",
        "gradient\nsteps",
        "device\ntime",
        "wall\ntime",
    ):
        table.add_column(name, justify="left" if name == "method" else "right", overflow="fold", vertical="bottom")
    for row in findings.rows(comparison):
        figures = (row.configurations, row.trials, row.test, row.gradient_steps, row.device_time, row.wall_time)
        table.add_row(*map(Text, (plain(row.label), *figures)), style="bold" if row.reference else None)
    return table
