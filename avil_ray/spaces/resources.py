"""What the trials of a sweep may occupy: the `resources` of a search space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from avil_ray.errors import UserError
from avil_ray.spaces.places import require_keys, whole


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one process occupies of a node; fractions allowed. `auto`: one GPU where the cluster has any, else none."""

    cpu: float = 1.0
    gpu: float | Literal["auto"] = 0.0


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What every trial may occupy.

    Parameters
    ----------
    per_task
        Of each worker; a trial has as many as `slots`.
    driver
        Of the process that combines updates, one a trial.
    slots
        Assignments that run at once. `auto`: all of a round, or as many as the cluster has room for.
    threads
        CPU threads of each process; results depend on them in the last bits.
    timeout
        Seconds that a trial waits for a worker before it counts as lost.
    retries
        How often a failed trial starts again from its last checkpoint.
    """

    per_task: Share = field(default_factory=lambda: Share(gpu="auto"))
    driver: Share = field(default_factory=Share)
    slots: int | Literal["auto"] = "auto"
    threads: int = 1
    timeout: float = 1800.0
    retries: int = 1

    def document(self) -> dict[str, Any]:
        """The resources as they stand in YAML."""
        return asdict(self)


KEYS = tuple(Resources.__dataclass_fields__)
SHARE_KEYS = tuple(Share.__dataclass_fields__)


def read_resources(document: Any, problems: list[str]) -> Resources:
    """The resources of a search space; a line is added to `problems` for each mistake."""
    place, found = "resources", dict[str, Any]()
    if not require_keys(document, place, KEYS, problems):
        return Resources()
    for name in KEYS:
        if name not in document:
            continue
        try:
            if name in ("per_task", "driver"):
                found[name] = _read_share(document[name], f"{place}.{name}", getattr(Resources(), name), problems)
            else:
                found[name] = _read_number(name, document[name])
        except UserError as error:
            problems.append(str(error))
    return Resources(**found)


def _read_number(name: str, value: Any) -> float | int | str:
    place = f"resources.{name}"
    if name == "slots":
        if value == "auto":
            return "auto"
        if isinstance(value, str):
            raise UserError(f"{place} must be 'auto' or a whole number, 1 or more, not {value!r}")
    if name == "timeout":
        if _amount(value) and value > 0:
            return float(value)
        raise UserError(f"{place} must be a number of seconds above 0, not {value!r}")
    return whole(place, value, 0 if name == "retries" else 1)


def _read_share(document: Any, place: str, default: Share, problems: list[str]) -> Share:
    if not require_keys(document, place, SHARE_KEYS, problems):
        return default
    share = default
    for name, value in document.items():
        if name not in SHARE_KEYS:
            continue
        automatic = name == "gpu" and place.endswith("per_task")
        if automatic and value == "auto":
            share = replace(share, gpu="auto")
        elif not _amount(value):
            choices = "'auto' or a number" if automatic else "a number"
            problems.append(f"{place}.{name} must be {choices} of at least 0, not {value!r}")
        elif name == "gpu" and value > 1 and value != int(value):
            problems.append(f"{place}.gpu must be a whole number above 1, as Ray gives whole GPUs there, not {value!r}")
        else:
            share = replace(share, **{name: float(value)})
    if share.cpu == 0 and place.endswith("per_task"):  # Ray places no process that asks for nothing
        problems.append(f"{place}.cpu must be above 0; a small fraction such as 0.1 will do")
    return share


def _amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def shares(resources: Resources, there: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """What a trial's driver and each of its workers ask, given what the cluster has: {"CPU": 1.0, "GPU": 0.0} each."""
    driver, per_task = resources.driver, resources.per_task
    automatic = 1.0 if there.get("GPU", 0.0) > 0 else 0.0
    return (
        {"CPU": driver.cpu, "GPU": automatic if driver.gpu == "auto" else driver.gpu},
        {"CPU": per_task.cpu, "GPU": automatic if per_task.gpu == "auto" else per_task.gpu},
    )
