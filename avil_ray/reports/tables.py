"""The comparison as a table on a terminal."""

from __future__ import annotations

from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from avil_ray.plain import plain
from avil_ray.reports import advice, findings, page_tables
from avil_ray.reports.comparison import Comparison


def terminal_table(comparison: Comparison) -> Table:
    """One row a method; the reference in bold. The title gives the outcome.

    Eighty columns have no room for the number of configurations: it is that of the trials over that of the seeds.
    """
    facts, target = comparison.facts, plain(comparison.facts.target)
    table = Table(
        title=Text(plain(f"{facts.name}: {advice.headline(comparison)}"), style="bold"),
        caption=Text(
            f"test {findings.metric_name(comparison)} of {target} ({findings.better(comparison)}): mean ± 95 % "
            "interval over seeds; trials are configurations times seeds, costs are sums over all of them"
        ),
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title_justify="left",
        caption_justify="left",
    )
    rows = page_tables.rows(comparison)
    shown = [name for name in rows[0].cells if name != "configurations"] if rows else []
    for name in shown:
        side: Literal["left", "right"] = "left" if name == "method" else "right"
        table.add_column(name.replace(" ", "\n"), justify=side, overflow="fold", vertical="bottom")
    for row in rows:
        table.add_row(*(Text(plain(row.cells[name])) for name in shown), style="bold" if row.reference else None)
    return table
