"""What is logged, as plain values: pure functions from trials, rounds and reports to items; `writer.py` sends them.

Nothing here knows a tracking server: an item says what should stand in a run, not how it gets there.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from avil_ray.reports.records import TrialRecord

# MLflow's own limits: it refuses longer names and cuts longer values with a warning each.
NAME_LENGTH, PARAMETER_LENGTH, TAG_LENGTH = 250, 6000, 8000
ROUND = "round"
ROW = "row"
"""What a trial's reports to Ray Tune call a whole row, pickled: Tune keeps statistics of every number that it sees."""
MARK = "avil.record"
"""The tag that says which record a run shows: the checksum of a trial's `result.json`."""


@dataclass(frozen=True)
class Parameters:
    """What a run was asked to do; each value is logged once and never changes."""

    entries: Mapping[str, str]


@dataclass(frozen=True)
class Metrics:
    """One round's figures, all finite; `ROUND` stands last among them and marks the row as complete."""

    step: int
    entries: Mapping[str, float]


@dataclass(frozen=True)
class Totals:
    """Figures of a whole run, all finite; logged again only where they changed."""

    entries: Mapping[str, float]


@dataclass(frozen=True)
class Tag:
    """A name by which runs are found, filtered and grouped."""

    name: str
    value: str


@dataclass(frozen=True)
class Origin:
    """What a run gets when it is made and may be changed in MLflow afterwards: its name, and who started it by what."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A run's description, in Markdown; one that somebody has edited in MLflow is left alone."""

    content: str


@dataclass(frozen=True)
class Data:
    """What a run read: one split of its tasks.

    Attributes
    ----------
    name, digest
        Together they tell the data of an experiment apart.
    split
        `train`, `dev`, `select` or `test`.
    sizes
        Task -> examples; None for a stream.
    source
        What the data are drawn from, as JSON.
    """

    name: str
    digest: str
    split: str
    sizes: Mapping[str, int | None]
    source: str


@dataclass(frozen=True)
class Text:
    """A small file made of `content`; `name` is its path within the run."""

    name: str
    content: str


@dataclass(frozen=True)
class File:
    """A file of this machine, kept in the run's `folder`."""

    path: Path
    folder: str = ""


@dataclass(frozen=True)
class Table:
    """Rows that MLflow shows as a table; `name` ends in `.json`. Sending it again replaces it."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


Item = Parameters | Metrics | Totals | Tag | Origin | Note | Data | Text | File | Table


def parameters(options: Mapping[str, Any]) -> Parameters:
    """A configuration, flat and sorted: nested names are joined by dots, values written as in the YAML file.

    Longer values than MLflow takes are cut, with an ellipsis to say so.
    """
    pairs = sorted(flat(options).items())
    return Parameters({mlflow_name(name): cut(text_of(value), PARAMETER_LENGTH) for name, value in pairs})


def round_metrics(row: Mapping[str, Any], round_number: int) -> Metrics:
    """One row of a history.

    What is not a finite number is left out: NaN means "not there" in a history and breaks MLflow's charts, and MLflow
    would store an infinity as 1.8e308, which flattens the rest of its curve. The trial's `history.csv` keeps both.
    """
    values = {name: value for name, value in row.items() if name != ROUND}
    return Metrics(round_number, {**finite(values), ROUND: float(round_number)})


def final_metrics(record: TrialRecord) -> Totals:
    """What a trial came to: its best round, its test figures (read once, after selection) and its whole cost."""
    values: dict[str, Any] = {"best/select": record.select, "best/round": record.best_round}
    values |= {f"test/{metric}": value for metric, value in (record.test or {}).items()}
    cost = record.cost
    values |= {
        "total/gradient_steps": cost.gradient_steps,
        "total/device_seconds": cost.device_seconds,
        "total/reserved_device_seconds": cost.reserved_device_seconds,
        "total/busy": cost.busy,
        "total/wall_seconds": cost.wall_seconds,
    }
    return Totals(finite(values))


def identity(sweep: str, key: str | None = None, parent: str | None = None) -> dict[str, str]:
    """The tags that make a run the one of its sweep (no `key`) or of a trial in it, which hangs below run `parent`."""
    if key is None or parent is None:
        return {"avil.key": sweep}
    return {"avil.key": f"{sweep}/{key}", "mlflow.parentRunId": parent}


def mlflow_name(name: str) -> str:
    """`name` as MLflow takes it: letters, digits and `_-.: /`, no odd paths, 250 characters at most.

    A name that must be changed gets a digest of the original, so two names never become one.
    """
    parts = re.sub(r"[^\w\-.: /]", "_", name).split("/")
    clean = "/".join(part for part in parts if part not in ("", ".", ".."))
    if clean == name and 0 < len(name) <= NAME_LENGTH:
        return name
    return f"{clean[: NAME_LENGTH - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Nested options with dotted names; an empty mapping stays as it is."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        inner = flat(value) if isinstance(value, Mapping) else {}
        found |= {f"{name}.{key}": one for key, one in inner.items()} or {str(name): value}
    return found


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """Those values that are finite numbers, under names that MLflow takes."""
    numbers = {name: value for name, value in values.items() if isinstance(value, Real) and not isinstance(value, bool)}
    return {mlflow_name(name): float(value) for name, value in numbers.items() if math.isfinite(value)}


def text_of(value: Any) -> str:
    """A value as YAML writes it; strings as they are."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def cut(text: str, length: int) -> str:
    """At most `length` characters of a text, with an ellipsis where some are missing."""
    return text if len(text) <= length else text[: length - 1] + "…"
