"""A sweep's folder: `space.yaml` as run, `sweep.json` for reports, a folder for each trial, the report."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from avil_ray.catalog import build_trial
from avil_ray.errors import UserError
from avil_ray.locking import LOCK
from avil_ray.reports.facts import Start, SweepFacts
from avil_ray.reports.records import TRIALS, checked
from avil_ray.spaces.search_space import SearchSpace, read_search_space
from avil_ray.spaces.vectorize import of_fixed_weights
from avil_ray.staging import copied
from avil_ray.storage import Place, Storage, at, why
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

SPACE, FACTS = "space.yaml", "sweep.json"
DEFAULT = "avil-results"
"""Where sweeps are stored unless it is said where; a folder beside."""


def tracking_folder(storage: Place) -> Path:
    """Where the tracking database stands unless it is a server's: beside the sweeps, or in `DEFAULT`.

    A database needs a disk, so it cannot stand in storage at a URI.
    """
    return at(storage).local or Path(DEFAULT)


def require_usable(place: Place, space: SearchSpace, resume: bool, fresh: bool) -> None:
    """Raise `UserError` where the sweep may not be written there; leaves nothing behind."""
    if resume and fresh:
        raise UserError("--resume and --fresh cannot be combined: continue the sweep, or start over")
    folder = at(place)
    if folder.local is not None and folder.local.exists() and not folder.is_there():
        raise UserError(f"{folder.where()}: is not a folder; choose another --name or --storage")
    if folder.local is None and space.resources.pool == "train":
        raise UserError(
            f"{folder.where()}: pool 'train' needs a folder that every node sees, not a URI; use pool 'ray'"
        )
    folder.require_writable()
    stored = folder.exists(SPACE)
    if not stored and set(folder.names()) - {LOCK}:
        raise UserError(f"{folder.where()}: holds something other than a sweep; choose another --name or --storage")
    if stored and not (resume or fresh):
        choice = "add --resume to continue it, --fresh to replace it, or --name for another"
        raise UserError(f"{folder.where()}: a sweep of this name already exists; {choice}")
    if stored and resume:
        with copied(folder, [SPACE]) as copy:
            _require_readable(copy / SPACE, folder.where(SPACE))
            space.require_same(copy / SPACE, folder.where(SPACE))


def store(place: Place, space: SearchSpace, suite: Suite, target: Task, fresh: bool) -> SweepFacts:
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
        starts=() if fresh else _earlier_starts(place),
        algorithm=space.search.algorithm,
        budget=space.budget,
        grids=_grids(space, suite),
    )
    folder = at(place)
    for name in set(folder.names()) - {LOCK} if fresh else ():
        folder.delete(name)
    _replace(folder, SPACE, space.dump())
    write_facts(folder, facts)
    if folder.exists(TRIALS) and not (folder / TRIALS).is_there():
        folder.delete(TRIALS)
    return facts


def _grids(space: SearchSpace, suite: Suite) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The full grids of methods of fixed weights: see `SweepFacts`."""
    found = {}
    for entry in space.entries:
        whole = space.search.algorithm == "grid" and all(one.kind == "grid" for one in entry.free.values())
        example = entry.examples(space.search)[0]
        fixed = of_fixed_weights(build_trial(suite, example.method, example.options)[1])
        if fixed and (whole or not entry.free):
            found[entry.label] = {name: one.values for name, one in entry.free.items()}
    return found


def as_run(place: Place, space: SearchSpace) -> SearchSpace:
    """The space with `vectorize: auto` as an earlier start of the sweep has decided it, where there is one."""
    folder = at(place)
    if space.search.vectorize != "auto" or not folder.exists(SPACE):
        return space
    with copied(folder, [SPACE]) as copy:
        decided = read_search_space(copy / SPACE).search.vectorize
    return replace(space, search=replace(space.search, vectorize=decided))


def write_facts(place: Place, facts: SweepFacts) -> SweepFacts:
    """Write the facts that a report needs, in place of those there; the facts again."""
    _replace(at(place), FACTS, json.dumps(asdict(facts), indent=1, ensure_ascii=False, default=str))
    return facts


def _replace(folder: Storage, name: str, text: str) -> None:
    """Write a file, also where a folder stands in its place."""
    if (folder / name).is_there():
        folder.delete(name)
    folder.write(name, text.encode())


def _earlier_starts(folder: Place) -> tuple[Start, ...]:
    """Those of the sweep that is there; none where it is new or its facts cannot be read."""
    try:
        return read_facts(folder).starts
    except UserError:
        return ()


def read_facts(place: Place) -> SweepFacts:
    """The facts of a stored sweep; UserError where they cannot be read."""
    folder = at(place)
    try:
        return checked(SweepFacts, json.loads(folder.read(FACTS).decode()))
    except FileNotFoundError:
        raise UserError(f"{folder.where()}: no sweep is stored there; `avil-ray sweep` creates one") from None
    except (OSError, ValueError, RecursionError) as error:
        advice = "run the sweep again with --resume, which writes it again"
        raise UserError(f"{folder.where(FACTS)}: cannot be read ({why(error)}); {advice}") from error


def _require_readable(stored: Path, where: str) -> None:
    try:
        read_search_space(stored)
    except UserError as error:
        advice = "restore the search space, or start over with --fresh"
        raise UserError(f"{where}: the stored search space cannot be read ({error}); {advice}") from error
