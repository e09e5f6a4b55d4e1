"""The comparison as `report.md`: the outcome first, then what it rests on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from avil_ray.plain import plain
from avil_ray.reports import alphas, findings, formats
from avil_ray.reports.comparison import Comparison

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
        _table_section(comparison),
        _figures(figures),
        _dev(comparison),
        _choices(comparison),
        _failures(comparison),
        _alpha(comparison),
        _meanings(),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def _outcome(comparison: Comparison) -> list[str]:
    lines = [f"# {_safe(comparison.facts.name)}", "", f"**{_safe(findings.headline(comparison))}**", ""]
    lines += [f"- **{_safe(one.lead)}**: {_safe(one.text)}" for one in findings.statements(comparison)]
    return [*lines, *([""] if comparison.differences else []), _safe(findings.setting(comparison))]


def _table_section(comparison: Comparison) -> list[str]:
    rows = [row.cells for row in findings.rows(comparison)]
    return ["## Test and cost", "", *_table(list(rows[0]), [list(row.values()) for row in rows])] if rows else []


def _figures(figures: Sequence[tuple[str, str]]) -> list[str]:
    shown = "\n\n".join(f"![{_safe(caption)}]({path})" for path, caption in figures)
    return ["## Figures", "", shown] if figures else []


def _dev(comparison: Comparison) -> list[str]:
    said = [f"- **{_safe(labels)}**: {_safe(way)}" for way, labels in findings.dev_use(comparison)]
    return [
        "## How the dev examples were spent",
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
        lines.append(f"- **{_safe(choice.label)}**: {_safe(choice.text)}")
        lines += [f"  - searched: {_safe(choice.varied)}"] if choice.varied else []
        lines += [f"  - fixed: {_safe(choice.fixed)}"] if choice.fixed else []
    return lines


def _failures(comparison: Comparison) -> list[str]:
    groups = [
        f"- **{_safe(group.label)}**, {formats.counted(len(group.keys), 'trial')} ({_safe(', '.join(group.keys))}): "
        f"{_safe(group.reason)}"
        for group in findings.failure_groups(comparison)
    ]
    others = [f"- {_safe(sentence)}" for sentence in findings.other_ends(comparison)]
    return ["## What failed", "", *(groups or ["No trial failed."]), *([""] if others and not groups else []), *others]


def _alpha(comparison: Comparison) -> list[str]:
    found = alphas.alpha_findings(comparison)
    if not found:
        return []
    lines = ["## alpha and w", "", f"**Caveat**: {alphas.CAVEAT}"]
    for one in found:
        cells = [findings.alpha_cells(row) for row in one.tasks]
        lines += ["", f"### {_safe(one.label)}", ""]
        lines += [*(f"- {_safe(sentence)}" for sentence in one.sentences(comparison.facts.target)), ""]
        lines += [f"Means over the last {formats.counted(one.rounds, 'round')} that fit alpha:", ""]
        lines += _table(findings.ALPHA_COLUMNS, cells)
    return [*lines, "", alphas.SHARE]


def _meanings() -> list[str]:
    return ["## What the columns mean", "", *(f"- **{name}**: {meaning}" for name, meaning in findings.COLUMNS.items())]


def _table(head: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    marks = ["---", *["---:"] * (len(head) - 1)]
    body = [[_safe(cell) for cell in line] for line in cells]
    return [f"| {' | '.join(line)} |" for line in (list(head), marks, *body)]


def _safe(text: str) -> str:
    """Text on one line in which nothing is taken for Markdown or HTML; names like `left_odd` stay as they are."""
    return _SPECIAL.sub(r"\\\g<0>", plain(text))
