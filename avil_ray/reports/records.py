"""What one trial leaves behind: a `TrialRecord`, kept as `result.json` with `history.csv` beside it.

The record is all a report needs, so a comparison can be made again from the folder alone, without Ray or MLflow.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, TypeVar, get_args

import numpy as np
import pandas as pd

from avil_ray.errors import UserError, WorkFailed
from avil_ray.reports.histories import history_content, read_history
from avil_ray.storage import Place, Storage, Unreachable, at, over, why

Status = Literal["finished", "failed", "stopped", "unfinished"]
RESULT, HISTORY, TRIALS, CHECKSUM = "result.json", "history.csv", "trials", "checksum"
NOT_FINITE = "not_finite"
"""How `result.json` writes a number that strict JSON has not: `{"not_finite": "nan"}`."""


@dataclass(frozen=True)
class Cost:
    """What was spent: gradient steps of every task, dev passes too, and seconds.

    Attributes
    ----------
    device_seconds, reserved_device_seconds
        Of devices at work, and of all that were reserved, idle or not (workers times the time by the clock).
    """

    gradient_steps: int = 0
    device_seconds: float = 0.0
    wall_seconds: float = 0.0
    reserved_device_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"cost: {name} must be a number from 0 up, not {value}")

    def __add__(self, other: Cost) -> Cost:
        mine, others = asdict(self), asdict(other)
        return Cost(**{name: value + others[name] for name, value in mine.items()})

    @property
    def busy(self) -> float | None:
        """The share of the reserved time in which devices were at work; None where nothing was reserved."""
        return self.device_seconds / self.reserved_device_seconds if self.reserved_device_seconds else None


@dataclass(frozen=True)
class TrialRecord:
    """One configuration, one seed, and what came of it.

    Parameters
    ----------
    key
        `<label>/c<configuration, 3 digits>/s<seed>`, see `trial_key`.
    label, method
        How tables call the method, and the method's name in the catalog.
    configuration
        The index of the configuration within its label, from 0.
    options
        The method's flat configuration, in plain JSON values.
    seed
        The seed of everything random in the trial.
    status
        `finished`; `failed`; `stopped` (ended early by the scheduler: paid for, never chosen, not a failure);
        `unfinished` (interrupted, no result yet).
    reason
        Why it failed or stopped, None otherwise.
    select
        The target's metric on select at the best round; None where there is none.
    test
        metric -> value on test, read once after selection; None where there is none.
    best_round
        The round whose parameters were tested.
    cost
        What the trial spent, also where it came to nothing.
    history
        One row a round; empty where there is none. Two records that differ in it alone are equal.
    """

    key: str
    label: str
    method: str
    configuration: int
    options: Mapping[str, Any]
    seed: int
    status: Status
    reason: str | None = None
    select: float | None = None
    test: Mapping[str, float] | None = None
    best_round: int | None = None
    cost: Cost = Cost()
    history: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False, repr=False)

    # for `checked`, which knows no type of pandas
    __pydantic_config__: ClassVar[dict[str, Any]] = {"arbitrary_types_allowed": True, "extra": "forbid"}

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"trial {self.key}: unknown status {self.status!r}")

    def success(self, metric: str) -> bool:
        """Whether the trial finished with a finite figure on select and, for `metric`, on test."""
        figures = (self.select, (self.test or {}).get(metric))
        return self.status == "finished" and all(figure is not None and math.isfinite(figure) for figure in figures)

    def to_json(self) -> dict[str, Any]:
        """Everything but the history, for strict JSON (a number that is not finite becomes `{"not_finite": "nan"}`)."""
        content = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("history", "cost")}
        encoded: dict[str, Any] = _encode({**content, "cost": asdict(self.cost)})
        return encoded

    @classmethod
    def from_json(cls, content: Any, history: pd.DataFrame | None = None) -> TrialRecord:
        """The record that `to_json` described; ValueError, in one line, where `content` describes none."""
        record = checked(cls, _decode(content))
        return record if history is None else replace(record, history=history)


def trial_key(label: str, configuration: int, seed: int) -> str:
    """A trial's name within its sweep, such as `static/c003/s1`."""
    return f"{label}/c{configuration:03d}/s{seed}"


Folder = TypeVar("Folder", Path, Storage)


def trial_folder(sweep_folder: Folder, key: str) -> Folder:
    """Where a trial's files stand: `static/c003/s1` -> `<sweep folder>/trials/static-c003-s1`."""
    return sweep_folder / TRIALS / key.replace("/", "-")


def write_record(folder: Place, record: TrialRecord) -> None:
    """Write a record into its trial's folder, each file in one piece; `result.json` last: it says the trial ended.

    Raises
    ------
    WorkFailed
        Where the folder cannot be written to.
    """
    storage = at(folder)
    history = history_content(record.history)
    storage.make()
    if history:
        storage.write(HISTORY, history)
    else:
        storage.delete(HISTORY)
    content = record.to_json()
    content[CHECKSUM] = _checksum(content, history)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    storage.write(RESULT, (text + "\n").encode())


def read_record(folder: Place) -> TrialRecord:
    """The record in a trial's folder; WorkFailed, with the reason, where it is not what was written there."""
    record, history = read_without_history(folder)
    try:
        return replace(record, history=read_history(history)) if history else record
    except ValueError as error:
        raise WorkFailed(f"{at(folder).where(HISTORY)}: unreadable ({why(error)})") from error


def read_without_history(folder: Place) -> tuple[TrialRecord, bytes]:
    """As `read_record`, with the history as it stands in its file: checked, but not read."""
    storage, name = at(folder), RESULT
    try:
        content = json.loads(storage.read(RESULT).decode())
        name = HISTORY
        history = _read_or_none(storage, HISTORY)
        name = RESULT
        # a record of avil_ray 0.1 has no checksum
        if isinstance(content, dict) and content.pop(CHECKSUM, None) not in (None, _checksum(content, history)):
            raise ValueError(f"the checksum of the record and {HISTORY} is wrong")
        record = TrialRecord.from_json(content)
        *_, parent, called = ("", *PurePosixPath(storage.where()).parts)
        if parent == TRIALS and called != trial_folder(Path(), record.key).name:
            raise ValueError(f"it is the record of {record.key}")
        return record, history
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise WorkFailed(f"{storage.where(name)}: unreadable ({why(error)})") from error


def read_head(folder: Place) -> Mapping[str, Any]:
    """What `result.json` in a trial's folder says, unchecked and without the history; empty where it says nothing."""
    try:
        content = json.loads(at(folder).read(RESULT))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("key"), str) else {}


def _read_or_none(storage: Storage, name: str) -> bytes:
    """A file's content; nothing where there is no such file."""
    try:
        return storage.read(name)
    except FileNotFoundError:
        return b""


def read_records(folder: Place) -> list[TrialRecord]:
    """Every record in a sweep's folder, by label, configuration and seed; trials without a result yet are not there.

    One that cannot be read stands there as failed, with the reason.
    """
    storage = at(folder)
    if not storage.is_there():
        raise UserError(f"{storage.where()}: no such folder; name one that a sweep has written")
    found = over(storage, record_or_failure, ended(storage))
    records = [record for record in found if record is not None]
    methods = {record.label: record.method for record in records if record.method}
    records = [replace(record, method=methods.get(record.label, record.label)) for record in records]
    return sorted(records, key=lambda record: (record.label, record.configuration, record.seed))


def ended(folder: Storage) -> list[Storage]:
    """The folders of a sweep's trials that have ended, be their records readable or not, sorted."""
    trials = folder / TRIALS
    there = [trials / name for name in trials.names()]
    has_result = over(folder, lambda place: place.exists(RESULT), there)
    return [place for place, has in zip(there, has_result, strict=True) if has]


def record_or_failure(folder: Storage) -> TrialRecord | None:
    """A trial's record; a failed one without a method where it cannot be read; None where there is no trial's."""
    named = re.fullmatch(r"(.+)-c(\d{3,})-s(\d+)", PurePosixPath(folder.where()).name)
    try:
        return read_record(folder)
    except Unreachable:
        raise
    except WorkFailed as error:
        if named is None or not folder.exists(RESULT):
            return None
        label, configuration, seed = named[1], int(named[2]), int(named[3])
        key, reason = trial_key(label, configuration, seed), f"{error}; --resume runs the trial again"
        return TrialRecord(key, label, "", configuration, {}, seed, "failed", reason)


Kind = TypeVar("Kind")


def checked(kind: type[Kind], content: Any) -> Kind:
    """The dataclass that JSON describes, every value of its type; ValueError, in one line, where it is another."""
    from pydantic import ValidationError

    try:
        # as JSON, where a list may stand for a tuple and a mapping for a dataclass, but no text for a number
        found: Kind = _adapter(kind).validate_json(json.dumps(content), strict=True)  # type: ignore[arg-type]
        return found
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _checksum(content: Mapping[str, Any], history: bytes) -> str:
    """SHA-256 over a record's JSON, whatever its layout, and its history."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode() + history).hexdigest()


def _encode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _encode(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if isinstance(value, np.generic):
        return _encode(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {NOT_FINITE: str(value)}
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {NOT_FINITE}:
            return float(value[NOT_FINITE])
        return {name: _decode(item) for name, item in value.items()}
    return [_decode(item) for item in value] if isinstance(value, list) else value
