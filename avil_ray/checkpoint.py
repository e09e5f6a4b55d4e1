"""A run on disk: a head that is replaced atomically, and the vectors that it names, each written once.

The head holds the history, all other facts and the small arrays. The previous checkpoint is also kept, and used if the
last one or one of its vectors is damaged.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy.typing as npt

from avil_ray.checkpoint_vectors import FOLDER, Vectors, is_large
from avil_ray.container import Container, Damaged, pack, unpack
from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import MAIN, Best, Track
from avil_ray.methods.method import Memory, Run, Setting
from avil_ray.storage import Storage, why

log = logging.getLogger(__name__)

FILE, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
MEMORY = "method"
"""The key prefixes of arrays: a method's, and those of tracks with their name (`track/main/theta`)."""


def save(storage: Storage, run: Run, configuration: Mapping[str, Any], vectors: Vectors | None = None) -> None:
    """Write `run` with its configuration; the last checkpoint becomes the previous one.

    Parameters
    ----------
    vectors
        The vectors of this storage, which keep track of what earlier calls have written.
    """
    vectors = Vectors(storage) if vectors is None else vectors
    arrays, facts = _taken_apart(run)
    large = {name: array for name, array in arrays.items() if is_large(array)}
    small = {name: array for name, array in arrays.items() if name not in large}
    new = f"{FILE}.new"
    try:
        # written before anything is moved, so that a full disk does not destroy the last checkpoint
        named = vectors.write(large)
        storage.write(new, pack(Container(small, {**facts, "configuration": configuration, "vectors": named})))
        if storage.exists(FILE):
            storage.move(FILE, PREVIOUS)
        storage.move(new, FILE)
    finally:
        _clear(vectors)


def load(
    storage: Storage,
    setting: Setting,
    memory: type[Memory],
    configuration: Mapping[str, Any],
    vectors: Vectors | None = None,
) -> Run | None:
    """The stored run, or None if there is none.

    If the last checkpoint is damaged, the previous one is used instead, with a warning.

    Parameters
    ----------
    vectors
        The vectors of this storage, which keep track of what is read.

    Raises
    ------
    Damaged
        No checkpoint can be read.
    UserError
        The checkpoint belongs to another configuration, or to another version of the library.
    """
    vectors = Vectors(storage) if vectors is None else vectors
    name, found = _last(vectors)
    if found is None:
        return None
    place = storage.where(name)
    _require_same(place, found.facts["configuration"], json.loads(json.dumps(configuration)))
    tracks = {track: _track(found, track) for track in found.facts["tracks"]}
    try:
        remembered = memory.restored(_under(found, MEMORY), found.facts["memory"])
    except TypeError as error:
        raise Damaged(f"{place}: not a checkpoint of this method: {error}") from error
    if name == PREVIOUS:
        storage.move(PREVIOUS, FILE)  # so that the next save keeps this one and not the damaged one
        _clear(vectors)
    return Run(setting, tracks, remembered, tuple(found.facts["rows"]))


def rows(storage: Storage) -> list[dict[str, Any]]:
    """The history in the checkpoint, for cost accounting; empty if there is no checkpoint."""
    _, found = _last(Vectors(storage))
    return [] if found is None else list(found.facts["rows"])


def exists(storage: Storage) -> bool:
    """Whether there is a checkpoint, damaged or not."""
    return storage.exists(FILE) or storage.exists(PREVIOUS)


def remove(storage: Storage) -> None:
    """Remove the checkpoints of a run that is finished or cannot be resumed from them."""
    for name in (f"{FILE}.new", PREVIOUS, FILE, FOLDER):
        storage.delete(name)


def _last(vectors: Vectors) -> tuple[str, Container | None]:
    """The name and content of the last checkpoint that can be read."""
    storage = vectors.storage
    if not exists(storage):
        return FILE, None
    try:
        return FILE, _read(vectors, FILE)
    except Damaged as error:
        if not storage.exists(PREVIOUS):
            raise Damaged(f"{error}, and there is no previous one; delete it to start over") from error
        last = error
    try:
        found = _read(vectors, PREVIOUS)
    except Damaged as error:
        raise Damaged(f"{last}, and the previous one is damaged too; delete both to start over") from error
    log.warning("%s; using the previous checkpoint, which has %d rounds", last, len(found.facts["rows"]))
    return PREVIOUS, found


def _read(vectors: Vectors, name: str) -> Container:
    """A complete checkpoint, with its vectors among the arrays."""
    with _reading(vectors.storage.where(name)):
        head = unpack(vectors.storage.read(name))
        found = Container({**head.arrays, **vectors.read(head.facts["vectors"])}, head.facts)
        for track in found.facts["tracks"]:
            _track(found, track)
        lacking = {"configuration", "rows", "memory"} - set(found.facts) or {MAIN} - set(found.facts["tracks"])
        if lacking:
            raise KeyError(min(lacking))
        if not all(isinstance(row, dict) for row in [*found.facts["rows"], found.facts["configuration"]]):
            raise TypeError("a history of rounds")
        return found


def _clear(vectors: Vectors) -> None:
    """Delete the vectors that neither the last nor the previous checkpoint references."""
    storage = vectors.storage
    with suppress(UserError, WorkFailed, OSError):  # files that cannot be deleted now are retried next time
        vectors.delete_but(lambda: _named(storage, FILE) | _named(storage, PREVIOUS))


def _named(storage: Storage, name: str) -> set[str]:
    """The digests of the vectors that a checkpoint references; none if it is damaged or missing."""
    try:
        with _reading(storage.where(name)):
            return set(unpack(storage.read(name)).facts["vectors"].values())
    except Damaged:
        return set()


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """A context for reading a checkpoint: failures become one line, either as damage or as temporarily unreadable."""
    try:
        yield
    except Damaged as error:
        raise Damaged(f"{place}: the checkpoint is damaged ({error})") from error
    except UserError as error:
        raise UserError(f"{place}: {error}; delete it to start over") from error
    except OSError as error:
        lost = isinstance(error, FileNotFoundError | IsADirectoryError) or error.errno == errno.EIO
        kind = Damaged if lost else UserError  # a file that may be readable later is not damaged
        raise kind(f"{place}: the checkpoint cannot be read ({why(error)})") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise Damaged(f"{place}: not a checkpoint: it lacks {error}") from error


def _taken_apart(run: Run) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """A run's arrays by name, and everything else as JSON values."""
    arrays, memory = run.memory.stored()
    arrays = {f"{MEMORY}/{name}": array for name, array in arrays.items()}
    for name, track in run.tracks.items():
        arrays |= {f"track/{name}/{part}": array for part, array in _arrays(track).items()}
    tracks = {name: _facts(track) for name, track in run.tracks.items()}
    return arrays, {"rows": run.rows, "tracks": tracks, "memory": memory}


def _arrays(track: Track) -> dict[str, Vector]:
    optimizer = {f"optimizer/{name}": array for name, array in track.optimizer.items()}
    memory = {f"memory/{name}": array for name, array in track.memory.items()}
    best = {} if track.best is None or track.best.theta is track.theta else {"best": track.best.theta}
    return {"theta": track.theta, **best, **optimizer, **memory}


def _facts(track: Track) -> dict[str, Any]:
    best = None if track.best is None else {name: getattr(track.best, name) for name in ("round", "score", "track")}
    return {"steps": track.steps, "score": track.score, "best": best}


def _track(found: Container, name: str) -> Track:
    facts, arrays = found.facts["tracks"][name], _under(found, f"track/{name}")
    theta, best = arrays["theta"], facts["best"]
    return Track(
        theta=theta,
        steps=facts["steps"],
        optimizer=_under(found, f"track/{name}/optimizer"),
        memory=_under(found, f"track/{name}/memory"),
        score=facts["score"],
        best=None if best is None else Best(best["round"], best["score"], arrays.get("best", theta), best["track"]),
    )


def _under(found: Container, place: str) -> dict[str, Vector]:
    """The arrays stored under a prefix, keyed by the rest of their names."""
    start = f"{place}/"
    return {name.removeprefix(start): array for name, array in found.arrays.items() if name.startswith(start)}


def _require_same(place: str, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name in sorted({*stored, *asked}):
        if stored.get(name) != asked.get(name):
            raise UserError(
                f"{place}: was saved with {name} = {stored.get(name)!r}, but this run uses {name} = {asked.get(name)!r}"
                "; resume with the same configuration, or choose another folder"
            )
