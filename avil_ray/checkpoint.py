"""A run on disk: one safetensors file, replaced whole after every round: a killed run loses one round at most."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from avil_ray.errors import UserError
from avil_ray.learning.parameters import Vector
from avil_ray.rounds import Best, Line, Progress

FILE = "checkpoint.safetensors"
PARTS = {"theta", "configuration", "rows", "state", "best", "index"}
ASIDE = "aside/"
"""What the names of the line that waits begin with."""


def save(folder: Path, progress: Progress, configuration: Mapping[str, Any]) -> None:
    """Write `progress` into `folder`, with the configuration that led to it."""
    arrays, facts = _parts(progress.line)
    facts |= {"configuration": configuration, "rows": progress.rows}
    if progress.aside is not None:
        more_arrays, more_facts = _parts(progress.aside, ASIDE)
        arrays, facts = arrays | more_arrays, facts | more_facts
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{FILE}.new"
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    save_file(contiguous, new, {"progress": json.dumps(facts)})
    new.replace(folder / FILE)


def load(folder: Path, configuration: Mapping[str, Any]) -> Progress | None:
    """The progress stored in `folder`, or None where there is none.

    Raises
    ------
    UserError
        Where the checkpoint is damaged or belongs to another configuration.
    """
    path = folder / FILE
    if not path.exists():
        return None
    arrays, facts = _read(path)
    _require_same(path, facts["configuration"], json.loads(json.dumps(configuration)))
    line = _line(arrays, facts)
    aside = _line(arrays, facts, ASIDE) if f"{ASIDE}theta" in arrays else None
    return Progress(**vars(line), rows=tuple(facts["rows"]), aside=aside)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The history in the checkpoint of `folder`, for readers of the cost; empty where there is no checkpoint."""
    path = folder / FILE
    return list(_read(path)[1]["rows"]) if path.exists() else []


def remove(folder: Path) -> None:
    """Remove the checkpoint of a run that is done, and its folder."""
    (folder / FILE).unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()


def _parts(line: Line, place: str = "") -> tuple[dict[str, Vector], dict[str, Any]]:
    """A line of rounds as arrays and JSON values, with `place` before each name."""
    arrays = {f"{place}theta": line.theta}
    facts: dict[str, Any] = {f"{place}state": {}, f"{place}best": None, f"{place}index": line.index}
    for name, value in line.state.items():
        if isinstance(value, np.ndarray):
            arrays[f"{place}state/{name}"] = value
        else:
            facts[f"{place}state"][name] = value
    if line.best is not None:
        arrays[f"{place}best"] = line.best.theta
        facts[f"{place}best"] = {"number": line.best.number, "score": line.best.score}
    return arrays, facts


def _line(arrays: Mapping[str, Vector], facts: Mapping[str, Any], place: str = "") -> Line:
    best, states = facts[f"{place}best"], f"{place}state/"
    state = {name.removeprefix(states): array for name, array in arrays.items() if name.startswith(states)}
    return Line(
        theta=arrays[f"{place}theta"],
        state={**facts[f"{place}state"], **state},
        best=None if best is None else Best(best["number"], best["score"], arrays[f"{place}best"]),
        index=facts[f"{place}index"],
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with safe_open(path, "numpy") as stored:
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
            facts = json.loads(stored.metadata()["progress"])
        lacking = PARTS - {*arrays, *facts}
        if lacking:
            raise KeyError(min(lacking))
        return arrays, facts
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a checkpoint that can be read ({error}); remove it to start again") from error


def _require_same(path: Path, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name in sorted({*stored, *asked}):
        if stored.get(name) != asked.get(name):
            raise UserError(
                f"{path}: was made with {name} = {stored.get(name)!r}, asked is {asked.get(name)!r}; "
                "resume with the same configuration, or choose another folder"
            )
