"""A sweep's folder: `space.yaml` as run, `sweep.json` for reports, a folder for each trial, the report."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from avil_ray.errors import UserError
from avil_ray.reports.facts import Start, SweepFacts
from avil_ray.reports.records import TRIALS, checked
from avil_ray.spaces.search_space import SearchSpace, read_search_space
from avil_ray.storage import LOCK, discard, replace_file, why
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

SPACE, FACTS = "space.yaml", "sweep.json"


def require_usable(folder: Path, space: SearchSpace, resume: bool, fresh: bool) -> None:
    """Raise `UserError` where the sweep may not be written there; writes nothing."""
    if resume and fresh:
        raise UserError("--resume and --fresh exclude each other: go on with what is there, or start again")
    stored = folder / SPACE
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; choose another --name or --storage")
    if folder.exists() and not stored.exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise UserError(f"{folder}: holds something else than a sweep; choose another --name or --storage")
    if stored.exists() and not (resume or fresh):
        choice = "add --resume to go on, --fresh to replace it, or --name for another"
        raise UserError(f"{folder}: a sweep of this name is there; {choice}")
    if stored.exists() and resume:
        _require_readable(stored)
        space.require_same(stored)
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise UserError(f"{folder}: cannot be written ({parent} is not a folder that you may write to)")


def store(folder: Path, space: SearchSpace, suite: Suite, target: Task, fresh: bool) -> SweepFacts:
    """Write the space as run and the facts that a report needs. Earlier results stay, unless all is to be `fresh`."""
    facts = SweepFacts(
        name=space.name,
        suite=suite.name,
        target=suite.target,
        metric=target.measure.name,
        mode=target.measure.mode,
        tasks=suite.task_names,
        seeds=tuple(space.seeds),
        labels=tuple(entry.label for entry in space.entries),
        reference=space.reference,
        starts=() if fresh else _earlier_starts(folder),
    )
    if fresh and folder.exists():
        for path in list(folder.iterdir()):
            if path.name != LOCK:
                discard(path)
    if (folder / SPACE).is_dir():
        discard(folder / SPACE)
    replace_file(folder / SPACE, space.dump().encode())
    write_facts(folder, facts)
    if (folder / TRIALS).exists() and not (folder / TRIALS).is_dir():
        discard(folder / TRIALS)
    return facts


def as_run(folder: Path, space: SearchSpace) -> SearchSpace:
    """The space with `vectorize: auto` as an earlier start of the sweep has decided it, where there is one."""
    stored = folder / SPACE
    if space.search.vectorize != "auto" or not stored.exists():
        return space
    return replace(space, search=replace(space.search, vectorize=read_search_space(stored).search.vectorize))


def write_facts(folder: Path, facts: SweepFacts) -> SweepFacts:
    """Write the facts that a report needs, in place of those there; the facts again."""
    if (folder / FACTS).is_dir():
        discard(folder / FACTS)
    replace_file(folder / FACTS, json.dumps(asdict(facts), indent=1, ensure_ascii=False, default=str).encode())
    return facts


def _earlier_starts(folder: Path) -> tuple[Start, ...]:
    """Those of the sweep that is there; none where it is new or its facts cannot be read."""
    try:
        return read_facts(folder).starts
    except UserError:
        return ()


def read_facts(folder: Path) -> SweepFacts:
    """The facts of a stored sweep; UserError where they cannot be read."""
    try:
        return checked(SweepFacts, json.loads((folder / FACTS).read_bytes().decode()))
    except FileNotFoundError:
        raise UserError(f"{folder}: no sweep is stored there; `avil-ray sweep` makes one") from None
    except (OSError, ValueError, RecursionError) as error:
        advice = "run the sweep again with --resume, which writes it anew"
        raise UserError(f"{folder / FACTS}: cannot be read ({why(error)}); {advice}") from error


def _require_readable(stored: Path) -> None:
    try:
        read_search_space(stored)
    except UserError as error:
        advice = "put the search space there again, or start again with --fresh"
        raise UserError(f"{stored}: the stored search space cannot be read ({error}); {advice}") from error
