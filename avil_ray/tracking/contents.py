"""What stands in the runs of a sweep and of its trials, as items; pure functions."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avil_ray.reports import formats
from avil_ray.tracking import notes
from avil_ray.tracking.items import (
    MARK,
    NAME_LENGTH,
    ROUND,
    TAG_LENGTH,
    Data,
    File,
    Item,
    Note,
    Origin,
    Table,
    Tag,
    Text,
    Totals,
    cut,
    final_metrics,
    finite,
    flat,
    parameters,
    round_metrics,
    text_of,
)

if TYPE_CHECKING:
    from avil_ray.reports.facts import SweepFacts
    from avil_ray.reports.records import TrialRecord

SPLITS = ("train", "dev", "select", "test")
LEARNING = "learning."
"""What a trial's options of learning begin with."""
OF_A_TRIAL = ("label", "method", "configuration", "seed")


def trial_items(trial: Mapping[str, Any], sweep: SweepFacts | None = None) -> list[Item]:
    """What is known of a trial from its start.

    Parameters
    ----------
    trial
        Its label, method, configuration, seed and options.
    sweep
        What all trials have in common; None where nobody knows.
    """
    return [
        Origin(trial_name(trial, sweep), origin(sweep)),
        parameters(configuration(trial, sweep)),
        *(Tag(f"avil.{name}", str(trial[name])) for name in OF_A_TRIAL),
        Note(notes.trial(None, trial, sweep)),
        *data(trial["seed"], sweep),
    ]


def record_items(record: TrialRecord, mark: str = "", sweep: SweepFacts | None = None) -> list[Item]:
    """Everything of a trial that has ended: what stands in its run once it is up to date, with the record's `mark`."""
    trial = {name: getattr(record, name) for name in (*OF_A_TRIAL, "options")}
    items = [item for item in trial_items(trial, sweep) if not isinstance(item, Note)]
    rows = record.history.to_dict("records")
    items += [round_metrics({str(name): value for name, value in row.items()}, int(row[ROUND])) for row in rows]
    # an empty reason takes the place of one from before a resume
    reason = Tag("avil.reason", cut(record.reason or "", TAG_LENGTH))
    note = Note(notes.trial(record, trial, sweep))
    return [*items, final_metrics(record), note, Tag("avil.status", record.status), reason, Tag(MARK, mark)]


def sweep_start(sweep: SweepFacts | None) -> list[Item]:
    """What is known of a sweep from its start: the options that hold for every trial unless its own say otherwise."""
    if sweep is None:
        return []
    told = {"seeds": list(sweep.seeds), **(sweep.setup.configuration if sweep.setup else {})}
    return [Origin(sweep.name, origin(sweep)), parameters(told), Tag("avil.methods", ", ".join(sweep.labels))]


def sweep_items(summary: Mapping[str, Any], folder: Path) -> list[Item]:
    """The end of a sweep: its comparison as tables and metrics, and the report and figures found in its folder."""
    items: list[Item] = [Text("summary.json", json.dumps(summary, indent=1, ensure_ascii=False))]
    for name, rows in (("comparison.json", summary["methods"]), ("differences.json", summary["comparisons"])):
        if rows:
            items.append(_table(name, rows))
    patterns = ("report.*", "*.yaml", "*.png", "*.svg")
    items += [File(path) for pattern in patterns for path in sorted(folder.glob(pattern))]
    items += [File(path, "figures") for path in sorted((folder / "figures").glob("*")) if path.is_file()]
    return [*items, method_metrics(summary)]


def method_metrics(summary: Mapping[str, Any]) -> Totals:
    """Each method's mean on test and select, and its cost: `test/alpha-vil`, `gradient_steps/alpha-vil`."""
    methods = summary["methods"]
    means = {
        f"{split}/{one['label']}": (one.get(split) or {}).get("mean") for split in ("test", "select") for one in methods
    }
    paid = ("gradient_steps", "reserved_device_seconds")
    costs = {f"{name}/{one['label']}": (one.get("cost") or {}).get(name) for name in paid for one in methods}
    return Totals(finite({**means, **costs}))


def trial_name(trial: Mapping[str, Any], sweep: SweepFacts | None) -> str:
    """`alpha-vil · seed 3`, or with what the search chose: `static right=0.5 · seed 3`."""
    searched = sweep.setup.searched.get(trial["label"], ()) if sweep and sweep.setup else ()
    given = [f"{name}={_short(value)}" for name, value in notes.chosen(trial["options"], searched).items()]
    seed = f" · seed {trial['seed']}"
    return cut(" ".join([trial["label"], *given]), NAME_LENGTH - len(seed)) + seed


def configuration(trial: Mapping[str, Any], sweep: SweepFacts | None) -> dict[str, Any]:
    """Everything that a trial was told, flat: its method's options, those of learning and of the suite, its length.

    An option of learning has the value that holds: the trial's own, and the method's where it has one of that name.
    """
    common = dict(sweep.setup.configuration) if sweep and sweep.setup else {}
    options = flat(trial["options"])
    of_learning = {name.removeprefix(LEARNING): value for name, value in options.items() if name.startswith(LEARNING)}
    of_method = {name: value for name, value in options.items() if not name.startswith(LEARNING)}
    common |= of_learning
    known = {name: value for name, value in of_method.items() if value is not None or name not in common}
    return {**common, **known, "method": trial["method"], "label": trial["label"], "seed": trial["seed"]}


def origin(sweep: SweepFacts | None) -> dict[str, str]:
    """Who made a run, by which program and from which commit, as MLflow's own clients say it."""
    start = sweep.starts[-1] if sweep and sweep.starts else None
    commit = start.commit.partition(",")[0] if start and start.commit else None
    return made_by(start.source if start and start.source else "avil-ray sweep", commit)


def made_by(program: str, commit: str | None) -> dict[str, str]:
    """The tags that say that the user of this process made a run with a program, from a git commit if there is one."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": program,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit,
    }
    return {name: value for name, value in tags.items() if value}


def data(seed: int, sweep: SweepFacts | None) -> list[Data]:
    """What the trials of a seed read, split by split."""
    if sweep is None or sweep.setup is None or not sweep.setup.digest:
        return []
    source = json.dumps({"suite": sweep.setup.suite, "seed": seed}, ensure_ascii=False, default=str)
    return drawn(sweep.suite, f"{sweep.setup.digest}/{seed}", sweep.setup.examples, source)


def drawn(suite: str, digest: str, examples: Mapping[str, Mapping[str, int | None]], source: str) -> list[Data]:
    """What a run reads of a suite's data with that digest; `examples` are task -> split -> how many."""
    found = []
    for split in SPLITS:
        sizes = {task: of_task[split] for task, of_task in examples.items() if split in of_task}
        if sizes:
            short = hashlib.sha256(f"{digest}/{split}".encode()).hexdigest()[:8]
            found.append(Data(suite, short, split, sizes, source))
    return found


def _user() -> str:
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (ImportError, KeyError, OSError):  # the system does not know its own user, as in some containers
        return ""


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else formats.value(value)


def _table(name: str, rows: list[Mapping[str, Any]]) -> Table:
    flattened = [flat({**row, "chosen": text_of(row["chosen"])} if "chosen" in row else row) for row in rows]
    named = dict.fromkeys(column for row in flattened for column in row)
    columns = tuple(column for column in named if not column.startswith("test.per_seed"))
    return Table(name, columns, tuple(tuple(row.get(column) for column in columns) for row in flattened))
