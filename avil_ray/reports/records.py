"""What one trial leaves behind: a `TrialRecord`, kept as `result.json` with `history.csv` beside it.

The record is all a report needs, so a comparison can be made again from the folder alone, without Ray or MLflow.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from avil_ray.errors import UserError, WorkFailed

Status = Literal["finished", "failed", "stopped", "unfinished"]
RESULT, HISTORY, TRIALS = "result.json", "history.csv", "trials"
NOT_FINITE = "not_finite"
"""How `result.json` writes a number that strict JSON has not: `{"not_finite": "nan"}`."""


@dataclass(frozen=True)
class Cost:
    """What was spent: gradient steps of every task (dev passes too), seconds of devices at work, wall seconds."""

    gradient_steps: int = 0
    device_seconds: float = 0.0
    wall_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"cost: {name} must be a number from 0 up, not {value}")

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.gradient_steps + other.gradient_steps,
            self.device_seconds + other.device_seconds,
            self.wall_seconds + other.wall_seconds,
        )


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

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"trial {self.key}: no such status as {self.status!r}")

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
    def from_json(cls, content: Mapping[str, Any], history: pd.DataFrame | None = None) -> TrialRecord:
        """The record that `to_json` described; KeyError or TypeError where `content` describes none."""
        values = _decode(dict(content))
        values["cost"] = Cost(**values["cost"])
        return cls(**values, history=pd.DataFrame() if history is None else history)


def trial_key(label: str, configuration: int, seed: int) -> str:
    """A trial's name within its sweep, such as `static/c003/s1`."""
    return f"{label}/c{configuration:03d}/s{seed}"


def trial_folder(sweep_folder: Path, key: str) -> Path:
    """Where a trial's files stand: `static/c003/s1` -> `<sweep folder>/trials/static-c003-s1`."""
    return sweep_folder / TRIALS / key.replace("/", "-")


def write_record(folder: Path, record: TrialRecord) -> None:
    """Write a record into its trial's folder, each file in one piece; `result.json` last: it says the trial ended."""
    folder.mkdir(parents=True, exist_ok=True)
    if record.history.empty:
        (folder / HISTORY).unlink(missing_ok=True)
    else:
        replace_file(folder / HISTORY, _in_float64(record.history).to_csv(index=False).encode())
    text = json.dumps(record.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(folder / RESULT, (text + "\n").encode())


def read_record(folder: Path) -> TrialRecord:
    """The record in a trial's folder; WorkFailed where it cannot be read as one."""
    try:
        content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        history = folder / HISTORY
        return TrialRecord.from_json(content, _read_history(history) if history.exists() else None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise WorkFailed(f"{folder}: unreadable result ({reason}); remove the folder and resume the sweep") from error


def read_records(folder: Path) -> list[TrialRecord]:
    """Every record in a sweep's folder, by label, configuration and seed; trials without a result yet are not there."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one that a sweep has written")
    records = [read_record(path.parent) for path in (folder / TRIALS).glob(f"*/{RESULT}")]
    return sorted(records, key=lambda record: (record.label, record.configuration, record.seed))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one, never a part."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would hide results from colleagues on a shared disk
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _in_float64(history: pd.DataFrame) -> pd.DataFrame:
    """The same numbers in double precision: the shortest text of a float32 reads back as another float64."""
    narrow = [name for name in history.columns if history[name].dtype in (np.float16, np.float32)]
    return history.astype(dict.fromkeys(narrow, np.float64))


def _read_history(path: Path) -> pd.DataFrame:
    """A history to the last bit: not every version of pandas parses numbers exactly, Python does."""
    text = pd.read_csv(path, dtype=str, keep_default_na=False)
    return pd.DataFrame({name: _numbers(text[name].tolist()) for name in text.columns})


def _numbers(column: list[str]) -> list[Any]:
    """Whole numbers, or else numbers with NaN where nothing stands, or else the text as it is."""
    for convert in (int, lambda value: float(value or "nan")):
        try:
            return [convert(value) for value in column]
        except ValueError:
            continue
    return column


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
