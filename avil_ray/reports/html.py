"""The comparison as one self-contained `report.html`: it fetches nothing and shows labels and reasons as plain text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from avil_ray.reports import advice, alphas, drawing, equal_cost_table, findings, formats, page_tables
from avil_ray.reports import provenance as origins
from avil_ray.reports.comparison import Comparison

TEMPLATES = Path(__file__).parent / "templates"
_WITHIN_A_FIGURE = re.compile(
    rf"(?<=[\d=<±]) (?=[\d%±{formats.TIMES}{formats.MINUS}])|(?<=\bp) (?=[=<])|(?<=\d) (?=(?:s|min|h)\b)"
    rf"|(?<=,) (?=[\d{formats.MINUS}.]+\])"
)
"""The spaces within `p = 0.34`, `95 %`, `[0.1, 0.2]` or `5 min`: no line breaks there."""


@dataclass(frozen=True)
class Picture:
    """One figure as an `svg` element in the page's colours (see `drawing.svg`), and what it shows, in words."""

    caption: str
    svg: str


def html_report(comparison: Comparison, pictures: list[Picture]) -> str:
    """The whole page, with the figures inside it."""
    return (
        environment()
        .get_template("report.html")
        .render(
            facts=comparison.facts,
            light=drawing.css_colours(drawing.LIGHT),
            dark=drawing.css_colours(drawing.DARK),
            pictures=pictures,
            **_outcome(comparison),
            **_details(comparison),
        )
    )


def environment() -> Environment:
    """What templates are rendered with: every text in them is escaped."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["counted"] = formats.counted
    found.filters["unbroken"] = lambda text: _WITHIN_A_FIGURE.sub("\N{NO-BREAK SPACE}", text)
    return found


def _outcome(comparison: Comparison) -> dict[str, Any]:
    """What stands first: the answers and the tables they rest on."""
    return {
        "headline": advice.headline(comparison),
        "setting": findings.setting(comparison),
        "answers": advice.answers(comparison),
        "standings": page_tables.standings(comparison),
        "against": findings.COLUMNS["against"],
        "auxiliaries": page_tables.auxiliary_rows(comparison),
        "reference": comparison.reference.label if comparison.reference else "",
        "statements": findings.statements(comparison),
        "rows": page_tables.rows(comparison),
        "equal_cost": equal_cost_table.rows(comparison),
        "equal_cost_sentences": equal_cost_table.sentences(comparison),
        "equal_cost_note": equal_cost_table.NOTE,
    }


def _details(comparison: Comparison) -> dict[str, Any]:
    """What stands below the figures."""
    facts = comparison.facts
    return {
        "dev": findings.dev_use(comparison),
        "choices": findings.choices(comparison),
        "failures": findings.failure_groups(comparison),
        "other_ends": findings.other_ends(comparison),
        "alphas": [page_tables.alpha_table(one, facts.target) for one in alphas.alpha_findings(comparison)],
        "caveat": alphas.CAVEAT,
        "share": alphas.SHARE,
        "provenance": origins.provenance(facts),
        "mlflow": origins.mlflow_link(facts),
        "served_here": origins.mlflow_served_here(facts),
        "columns": findings.COLUMNS,
    }
