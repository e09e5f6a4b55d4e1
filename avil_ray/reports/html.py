"""The comparison as one self-contained `report.html`: it fetches nothing and shows labels and reasons as plain text."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from avil_ray.reports import alphas, findings, formats
from avil_ray.reports.comparison import Comparison

TEMPLATES = Path(__file__).parent / "templates"
_WITHIN_A_FIGURE = re.compile(rf"(?<=[\d=<]) (?=[\d%±{formats.TIMES}{formats.MINUS}])|(?<=\bp) (?=[=<])")
"""The spaces within `p = 0.34` or `95 %` or before a multiplication sign, at which no line should break."""


@dataclass(frozen=True)
class Picture:
    """One figure as PNG, for a light and for a dark page; the caption is also its alternative text."""

    caption: str
    light: bytes
    dark: bytes


def html_report(comparison: Comparison, pictures: list[Picture]) -> str:
    """The whole page, with the figures inside it."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    environment.filters["counted"] = formats.counted
    environment.filters["unbroken"] = lambda text: _WITHIN_A_FIGURE.sub("\N{NO-BREAK SPACE}", text)
    return environment.get_template("report.html").render(
        facts=comparison.facts,
        setting=findings.setting(comparison),
        headline=findings.headline(comparison),
        statements=findings.statements(comparison),
        rows=findings.rows(comparison),
        pictures=pictures,
        dev=findings.dev_use(comparison),
        choices=findings.choices(comparison),
        failures=findings.failure_groups(comparison),
        other_ends=findings.other_ends(comparison),
        alphas=alphas.alpha_findings(comparison),
        alpha_columns=findings.ALPHA_COLUMNS,
        alpha_cells=findings.alpha_cells,
        caveat=alphas.CAVEAT,
        share=alphas.SHARE,
        columns=findings.COLUMNS,
    )
