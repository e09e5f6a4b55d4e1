"""Descriptions of runs in Markdown, which the MLflow UI shows above everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from avil_ray.reports import advice, formats, page_tables
from avil_ray.reports.markdown import safe, table
from avil_ray.tracking import views

if TYPE_CHECKING:
    from avil_ray.reports.comparison import Comparison
    from avil_ray.reports.facts import SweepFacts
    from avil_ray.reports.records import TrialRecord


def outcome(comparison: Comparison) -> str:
    """What a sweep came to: what to train with, how sure that is, and every method with its cost."""
    said = [f"- **{safe(one.question)}** {safe(one.short)}." for one in advice.answers(comparison)]
    rows = [
        replace(row, cells={**row.cells, **_cost(comparison, row.cells["method"])})
        for row in page_tables.standings(comparison)
    ]
    lines = [f"**{safe(advice.headline(comparison))}**", "", *said, *(["", *table(rows)] if rows else [])]
    if (command := advice.command(comparison)) is not None:
        lines += ["", "Train the recommended configuration again:", "", "```sh", *command.split("\n"), "```"]
    return "\n".join(lines)


def sweep(facts: SweepFacts | None, experiment_id: str, run_id: str, outcome: str, best: Sequence[str]) -> str:
    """The description of a sweep's run.

    Parameters
    ----------
    facts
        What the sweep is; None where nobody knows.
    experiment_id, run_id
        Its run.
    outcome
        What it came to; empty as long as it runs.
    best
        The runs of the best trial of each method.
    """
    said = [outcome] if outcome else _plan(facts)
    filtered = views.TRIALS_OF.format(run_id)
    mode = facts.mode if facts else "max"
    links = {
        "all trials": views.trials(experiment_id, run_id, mode=mode),
        "their charts": views.trials(experiment_id, run_id, mode=mode, charts=True),
        "the best trial of each method, compared": views.comparison(experiment_id, best) if best else None,
        "the report": views.artifact(experiment_id, run_id, "report.html") if outcome else None,
    }
    shown = " · ".join(f"[{text}]({link})" for text, link in links.items() if link)
    return "\n".join([*said, "", f"See {shown}.", "", "This filter lists the trials:", "", "```", filtered, "```"])


def trial(record: TrialRecord | None, facts: Mapping[str, Any], sweep: SweepFacts | None) -> str:
    """The description of a trial: what was tried, and what came of it where it has ended.

    Parameters
    ----------
    record
        How it ended; None where it runs.
    facts
        Its label, method, options and seed.
    sweep
        What the sweep is; None where nobody knows.
    """
    given = chosen(facts["options"], sweep.setup.searched.get(facts["label"], ()) if sweep and sweep.setup else ())
    options = f" with {safe(formats.options(given))}" if given else ""
    method = "" if facts["method"] == facts["label"] else f" (method {safe(facts['method'])})"
    lines = [f"**{safe(facts['label'])}**{options}, seed {facts['seed']}{method}."]
    if record is not None:
        lines += ["", " ".join(_ending(record, sweep.metric.replace("_", " ") if sweep else "its metric"))]
    return "\n".join(lines)


def chosen(options: Mapping[str, Any], searched: Sequence[str]) -> dict[str, Any]:
    """The options that a search has chosen, with names as short as they can be: `weights.right` is `right`.

    Examples
    --------
    >>> chosen({"weights.right": 0.5, "rate": 1}, ["weights"])
    {'right': 0.5}
    >>> chosen({"weights.right": 0.5, "delays.right": 1}, ["weights", "delays"])
    {'weights.right': 0.5, 'delays.right': 1}
    """
    found = {
        name: value
        for name, value in options.items()
        if any(name == one or name.startswith(f"{one}.") for one in searched)
    }
    short = [name.rpartition(".")[2] for name in found]
    return found if len(set(short)) < len(short) else dict(zip(short, found.values(), strict=True))


def _plan(facts: SweepFacts | None) -> list[str]:
    if facts is None:
        return ["The sweep is running."]
    methods, seeds = formats.listed([safe(label) for label in facts.labels]), formats.counted(len(facts.seeds), "seed")
    return [f"The sweep is running: {methods}, over {seeds}, for the target {safe(facts.target)}."]


def _ending(record: TrialRecord, metric: str) -> list[str]:
    if record.status != "finished" or record.select is None:
        ended = {"failed": "It failed", "stopped": "It was stopped early"}.get(record.status, "It has not finished")
        return [f"{ended}: {safe(record.reason)}." if record.reason else f"{ended}."]
    tested = ", ".join(f"{safe(name.replace('_', ' '))} {value:.4g}" for name, value in (record.test or {}).items())
    chosen = f"the best by {safe(metric)} on select ({record.select:.4g})"
    time = formats.seconds(record.cost.reserved_device_seconds or None)
    return [
        f"On test: {tested}.",
        f"These are the parameters after round {record.best_round}, {chosen}.",
        f"It took {record.cost.gradient_steps:,} gradient steps and {time} of reserved device time.",
    ]


def _cost(comparison: Comparison, label: str) -> dict[str, str]:
    cost = comparison.by_label[label].cost
    return {
        "gradient steps": f"{cost.gradient_steps:,}",
        "reserved device time": formats.seconds(cost.reserved_device_seconds or None),
    }
