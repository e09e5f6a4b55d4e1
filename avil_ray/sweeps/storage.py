"""A sweep's folder: `space.yaml` as run, `sweep.json` for reports, a folder for each trial, the report."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from avil_ray.errors import UserError
from avil_ray.reports.comparison import SweepFacts
from avil_ray.reports.records import replace_file
from avil_ray.spaces.search_space import SearchSpace
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

SPACE, FACTS = "space.yaml", "sweep.json"


def require_usable(folder: Path, space: SearchSpace, resume: bool, fresh: bool) -> None:
    """Raise `UserError` where the sweep may not be written there; writes nothing."""
    if resume and fresh:
        raise UserError("--resume and --fresh exclude each other: go on with what is there, or start again")
    stored = folder / SPACE
    if folder.exists() and not stored.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds something else than a sweep; choose another --name or --storage")
    if stored.exists() and not (resume or fresh):
        choice = "add --resume to go on, --fresh to replace it, or --name for another"
        raise UserError(f"{folder}: a sweep of this name is there; {choice}")
    if stored.exists() and resume:
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
        metric=target.metric,
        mode=target.mode,
        tasks=suite.task_names,
        seeds=tuple(space.seeds),
        labels=tuple(entry.label for entry in space.entries),
    )
    try:
        if fresh and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / SPACE, space.dump().encode())
        replace_file(folder / FACTS, json.dumps(asdict(facts), indent=1).encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); choose another --storage") from error
    return facts


def read_facts(folder: Path) -> SweepFacts:
    """The facts of a stored sweep."""
    try:
        stored = json.loads((folder / FACTS).read_text())
        lists = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
        return SweepFacts(**{**stored, **lists})
    except FileNotFoundError:
        raise UserError(f"{folder}: no sweep is stored there; `avil-ray sweep` makes one") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / FACTS}: cannot be read ({error}); run the sweep again with --fresh") from error
