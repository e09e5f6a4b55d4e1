"""A run on disk, replaced whole after every round: a killed run loses one round at most.

The checkpoint before the last is kept too, and used where the last one is damaged.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from avil_ray.container import Container, Damaged, pack, unpack
from avil_ray.errors import UserError
from avil_ray.learning.parameters import Vector
from avil_ray.rounds import Best, Line, Progress
from avil_ray.storage import Storage, why

log = logging.getLogger(__name__)

FILE, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
MAIN, ASIDE = "main", "aside"
"""The trajectories by name: the one that trains, and the one that waits. An array is `<trajectory>/theta`, say."""


def save(storage: Storage, progress: Progress, configuration: Mapping[str, Any]) -> None:
    """Write `progress`, with the configuration that led to it; the last checkpoint becomes the previous one."""
    lines = {MAIN: progress.line} | ({} if progress.aside is None else {ASIDE: progress.aside})
    arrays = {f"{name}/{part}": array for name, line in lines.items() for part, array in _arrays(line).items()}
    tracks = {name: _facts(line) for name, line in lines.items()}
    content = pack(Container(arrays, {"configuration": configuration, "rows": progress.rows, "tracks": tracks}))
    new = f"{FILE}.new"
    storage.write(new, content)  # before anything is moved: a full disk must not cost the last one
    if storage.exists(FILE):
        storage.move(FILE, PREVIOUS)
    storage.move(new, FILE)


def load(storage: Storage, configuration: Mapping[str, Any]) -> Progress | None:
    """The stored progress, or None where there is none.

    Where the last checkpoint is damaged, the previous one takes its place, and that is said.

    Raises
    ------
    Damaged
        Where no checkpoint can be read.
    UserError
        Where the checkpoint belongs to another configuration, or to another version of the library.
    """
    name, found = _last(storage)
    if found is None:
        return None
    place = storage.where(name)
    _require_same(place, found.facts["configuration"], json.loads(json.dumps(configuration)))
    lines = {track: _line(found, track) for track in found.facts["tracks"]}
    if name == PREVIOUS:
        storage.move(PREVIOUS, FILE)  # so that the next one keeps this and not the damaged one
    return Progress(**vars(lines[MAIN]), rows=tuple(found.facts["rows"]), aside=lines.get(ASIDE))


def rows(storage: Storage) -> list[dict[str, Any]]:
    """The history in the checkpoint, for readers of the cost; empty where there is no checkpoint."""
    _, found = _last(storage)
    return [] if found is None else list(found.facts["rows"])


def exists(storage: Storage) -> bool:
    """Whether there is a checkpoint, damaged or not."""
    return storage.exists(FILE) or storage.exists(PREVIOUS)


def remove(storage: Storage) -> None:
    """Remove the checkpoints of a run that is done, or that cannot go on from them."""
    for name in (f"{FILE}.new", PREVIOUS, FILE):
        storage.delete(name)


def _last(storage: Storage) -> tuple[str, Container | None]:
    """The last checkpoint that can be read, and its name."""
    if not exists(storage):
        return FILE, None
    try:
        return FILE, _read(storage, FILE)
    except Damaged as error:
        if not storage.exists(PREVIOUS):
            raise Damaged(f"{error}, and there is no previous one; remove it to start again") from error
        last = error
    try:
        found = _read(storage, PREVIOUS)
    except Damaged as error:
        raise Damaged(f"{last}, and the previous one too; remove both to start again") from error
    log.warning("%s; the previous one is used, with its %d rounds", last, len(found.facts["rows"]))
    return PREVIOUS, found


def _read(storage: Storage, name: str) -> Container:
    """A checkpoint that has all its parts."""
    place = storage.where(name)
    try:
        found = unpack(storage.read(name))
        for track in found.facts["tracks"]:
            _line(found, track)
        lacking = {"configuration", "rows"} - set(found.facts) or {MAIN} - set(found.facts["tracks"])
        if lacking:
            raise KeyError(min(lacking))
        if not all(isinstance(row, dict) for row in [*found.facts["rows"], found.facts["configuration"]]):
            raise TypeError("a history of rounds")
        return found
    except Damaged as error:
        raise Damaged(f"{place}: the checkpoint is damaged ({error})") from error
    except UserError as error:
        raise UserError(f"{place}: {error}; remove it to start again") from error
    except OSError as error:
        lost = isinstance(error, FileNotFoundError | IsADirectoryError) or error.errno == errno.EIO
        kind = Damaged if lost else UserError  # what may be read another time is not damaged
        raise kind(f"{place}: the checkpoint cannot be read ({why(error)})") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise Damaged(f"{place}: not a checkpoint: it lacks {error}") from error


def _arrays(line: Line) -> dict[str, Vector]:
    state = {f"state/{name}": value for name, value in line.state.items() if isinstance(value, np.ndarray)}
    return {"theta": line.theta, **({} if line.best is None else {"best": line.best.theta}), **state}


def _facts(line: Line) -> dict[str, Any]:
    state = {name: value for name, value in line.state.items() if not isinstance(value, np.ndarray)}
    best = None if line.best is None else {"number": line.best.number, "score": line.best.score}
    return {"state": state, "best": best, "index": line.index}


def _line(found: Container, track: str) -> Line:
    facts, state = found.facts["tracks"][track], f"{track}/state/"
    arrays = {name.removeprefix(state): array for name, array in found.arrays.items() if name.startswith(state)}
    best = facts["best"]
    return Line(
        theta=found.arrays[f"{track}/theta"],
        state={**facts["state"], **arrays},
        best=None if best is None else Best(best["number"], best["score"], found.arrays[f"{track}/best"]),
        index=facts["index"],
    )


def _require_same(place: str, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name in sorted({*stored, *asked}):
        if stored.get(name) != asked.get(name):
            raise UserError(
                f"{place}: was saved with {name} = {stored.get(name)!r}, but this run uses {name} = {asked.get(name)!r}"
                "; resume with the same configuration, or choose another folder"
            )
