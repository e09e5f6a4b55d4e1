"""The comparison as `report.md`: the outcome first, then what it rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from avil_ray.plain import plain
from avil_ray.reports import advice, alphas, equal_cost_table, findings, formats, page_tables
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.page_tables import Row
from avil_ray.reports.provenance import mlflow_link, provenance

_SPECIAL = re.compile(r"[\\`*|$~]|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|&(?=[#\w]+;)|\](?=[(\[:])")


def markdown_report(comparison: Comparison, figures: Sequence[tuple[str, str]] = ()) -> str:
    """The report in GitHub's Markdown.

    Parameters
    ----------
    comparison
        What to report.
    figures
        (path relative to the report, caption) of each figure to show.
    """
    sections = [
        _outcome(comparison),
        _answers(comparison),
        _table_section("Every method on test", page_tables.standings(comparison)),
        _table_section("The auxiliary tasks", page_tables.auxiliary_rows(comparison)),
        _statements(comparison),
        _table_section("Test and cost", page_tables.rows(comparison)),
        _equal_cost(comparison),
        _figures(figures),
        _dev(comparison),
        _choices(comparison),
        _failures(comparison),
        _alpha(comparison),
        _provenance(comparison),
        _meanings(),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def _outcome(comparison: Comparison) -> list[str]:
    headline, setting = advice.headline(comparison), findings.setting(comparison)
    return [f"# {safe(comparison.facts.name)}", "", f"**{safe(headline)}**", "", safe(setting)]


def _answers(comparison: Comparison) -> list[str]:
    lines = []
    for one in advice.answers(comparison):
        lines.append(f"- **{safe(one.question)}** {safe(one.short)}. {safe(' '.join(one.sentences))}")
        if one.command:
            lines += ["", *(f"  {line}" for line in ("```", *one.command.split("\n"), "```")), ""]
    return lines


def _statements(comparison: Comparison) -> list[str]:
    said = [f"- **{safe(one.lead)}**: {safe(one.text)}" for one in findings.statements(comparison)]
    if comparison.reference is None or not said:
        return []
    return [f"## {safe(comparison.reference.label)} against the others, at whole and at equal cost", "", *said]


def _table_section(title: str, rows: Sequence[Row]) -> list[str]:
    return [f"## {title}", "", *table(rows)] if rows else []


def _equal_cost(comparison: Comparison) -> list[str]:
    said, rows = equal_cost_table.sentences(comparison), equal_cost_table.rows(comparison)
    if not said:
        return []
    lines = ["## At equal cost", "", *(f"- {safe(sentence)}" for sentence in said)]
    return [*lines, "", *table(rows), "", safe(equal_cost_table.NOTE)] if rows else lines


def _figures(figures: Sequence[tuple[str, str]]) -> list[str]:
    shown = "\n\n".join(f"![{safe(caption)}]({path})" for path, caption in figures)
    return ["## Figures", "", shown] if figures else []


def _dev(comparison: Comparison) -> list[str]:
    said = [f"- **{safe(labels)}**: {safe(way)}" for way, labels in findings.dev_use(comparison)]
    return [
        "## How the dev examples were used",
        "",
        "Every method sees the same target data, train and dev.",
        "",
        *said,
    ]


def _choices(comparison: Comparison) -> list[str]:
    lines = [
        "## What was chosen",
        "",
        "By the mean of select over seeds, among configurations that finished on every seed.",
        "",
    ]
    for choice in findings.choices(comparison):
        lines.append(f"- **{safe(choice.label)}**: {safe(choice.text)}")
        lines += [f"  - searched: {safe(choice.varied)}"] if choice.varied else []
        lines += [f"  - fixed: {safe(choice.fixed)}"] if choice.fixed else []
    return lines


def _failures(comparison: Comparison) -> list[str]:
    groups = [
        f"- **{safe(group.label)}**, {formats.counted(len(group.keys), 'trial')} ({safe(', '.join(group.keys))}): "
        f"{safe(group.reason)}"
        for group in findings.failure_groups(comparison)
    ]
    others = [f"- {safe(sentence)}" for sentence in findings.other_ends(comparison)]
    return ["## What failed", "", *(groups or ["No trial failed."]), *([""] if others and not groups else []), *others]


def _alpha(comparison: Comparison) -> list[str]:
    found = alphas.alpha_findings(comparison)
    if not found:
        return []
    lines = ["## alpha and w", "", f"**Caveat**: {alphas.CAVEAT}"]
    for one in (page_tables.alpha_table(one, comparison.facts.target) for one in found):
        lines += ["", f"### {safe(one.label)}", "", *(f"- {safe(sentence)}" for sentence in one.sentences), ""]
        lines += [f"Means over the last {formats.counted(one.rounds, 'round')} that fit alpha:", ""]
        lines += table(one.rows)
    return [*lines, "", alphas.SHARE]


def _provenance(comparison: Comparison) -> list[str]:
    lines = [f"- **{safe(name)}**: {safe(value)}" for name, value in provenance(comparison.facts)]
    link = mlflow_link(comparison.facts)
    return ["## Where the figures come from", "", *lines, *([f"- **MLflow**: <{link}>"] if link else [])]


def _meanings() -> list[str]:
    return ["## What the columns mean", "", *(f"- **{name}**: {meaning}" for name, meaning in findings.COLUMNS.items())]


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of a table; `rows` are one at least, all with the same columns."""
    head = [safe(name) for name in rows[0].cells]
    body = [[safe(cell) for cell in row.cells.values()] for row in rows]
    marks = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(line)} |" for line in (head, marks, *body)]


def safe(text: str) -> str:
    """Text on one line in which nothing is taken for Markdown or HTML; names like `left_odd` stay as they are."""
    return _SPECIAL.sub(r"\\\g<0>", plain(text))
