"""What the trials of a sweep may occupy: the `resources` of a search space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from avil_ray.errors import UserError
from avil_ray.pools.placement import ACCELERATOR, CONDITION
from avil_ray.spaces.fields import STRICT, Rule, must, number, whole


def _amount(value: Any) -> bool:
    return number(value) and bool(value >= 0)


AMOUNT: Rule = ("must be a number, at least 0", _amount)
OR_AUTO: Rule = ("must be 'auto' or a number, at least 0", lambda value: value == "auto" or _amount(value))
SLOTS: Rule = (
    "must be 'auto' or a whole number, 1 or more",
    lambda value: value == "auto" or (type(value) is int and value >= 1),
)
POOL: Rule = ("must be one of ray, train, inline", lambda value: value in ("ray", "train", "inline"))
SECONDS: Rule = ("must be a number of seconds above 0", lambda value: _amount(value) and value > 0)
A_DAY: Rule = ("must be below 86,400 seconds, a day", lambda value: value < 86_400)
AT_MOST: Rule = ("must be at most 100,000,000", lambda value: value == "auto" or value <= 100_000_000)
GPUS: Rule = (
    "must be a whole number above 1, as Ray gives whole GPUs there",
    lambda value: value == "auto" or value <= 1 or value == int(value),
)


CUSTOM: Rule = (
    "must map names of resources, other than CPU and GPU, to numbers above 0",
    lambda value: (
        isinstance(value, dict)
        and all(isinstance(name, str) and name.strip() and name not in ("CPU", "GPU", "cpu", "gpu") for name in value)
        and all(number(amount) and amount > 0 for amount in value.values())
    ),
)
KIND: Rule = (
    "must be one of Ray's names of accelerators, such as H100",
    lambda value: value is None or (isinstance(value, str) and re.fullmatch(r"[\w.+-]+", value)),
)
SELECTOR: Rule = (
    "must map node labels to the values they must have: a value, '!value', 'in(a, b)' or '!in(a, b)'",
    lambda value: (
        isinstance(value, dict)
        and all(isinstance(text, str) and text for pair in value.items() for text in pair)
        and all(CONDITION.fullmatch(condition) for condition in value.values())
    ),
)


@dataclass(frozen=True, kw_only=True)
class Where:
    """On which nodes a process runs."""

    __pydantic_config__ = STRICT

    resources: Annotated[Mapping[str, float], must(CUSTOM)] = field(default_factory=dict)
    """Of the custom resources that nodes were started with (`ray start --resources`), how much it occupies."""
    accelerator_type: Annotated[str | None, must(KIND)] = None
    """The kind of GPU that its node has: `H100`, as Ray calls it."""
    label_selector: Annotated[Mapping[str, str], must(SELECTOR)] = field(default_factory=dict)
    """Labels that its node has (`ray start --labels`): a value, `!value`, `in(a, b)` or `!in(a, b)` for each."""

    def asked(self) -> dict[str, float]:
        """As amounts of Ray's resources; a node has 1 of its kind of accelerator, however many of these it has."""
        kind = {} if self.accelerator_type is None else {f"{ACCELERATOR}{self.accelerator_type}": 0.001}
        return {**self.resources, **kind}


@dataclass(frozen=True, kw_only=True)
class _Amounts:
    cpu: Annotated[float, must(AMOUNT, AT_MOST)] = 1.0
    gpu: Annotated[float | Literal["auto"], must(AMOUNT, GPUS, AT_MOST)] = 0.0


@dataclass(frozen=True, kw_only=True)
class _WorkerAmounts:
    cpu: Annotated[float | None, must(AMOUNT, AT_MOST)] = None
    """Where not given: one for itself and one for each process that loads its data. Less may be given; the processes
    then share what there is, and `avil-ray check` says so."""
    gpu: Annotated[float | Literal["auto"], must(OR_AUTO, GPUS, AT_MOST)] = "auto"

    def __post_init__(self) -> None:
        if self.cpu == 0:  # Ray places no process that asks for nothing
            raise UserError("cpu must be above 0; a small fraction such as 0.1 will do")


@dataclass(frozen=True, kw_only=True)
class Share(Where, _Amounts):
    """What a process occupies of a node, fractions allowed, and of which."""


@dataclass(frozen=True, kw_only=True)
class WorkerShare(Where, _WorkerAmounts):
    """What a worker occupies, and of which node. `auto`: one GPU where the cluster has any, else none."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What every trial may occupy."""

    __pydantic_config__ = STRICT

    pool: Annotated[Literal["ray", "train", "inline"], must(POOL)] = "ray"
    """Where a trial's assignments run. `ray`: on actors, which the next trial finds warm. `train`: on the ranks of a
    Ray Train program, of which the first drives. `inline`: in the trial's own process, which is its one worker; a trial
    of pool `ray` with one slot runs there too."""
    per_task: WorkerShare = field(default_factory=WorkerShare)
    """Of each worker; a trial has as many as `slots`."""
    driver: Share = field(default_factory=Share)
    """Of the process that combines updates, one a trial; with `train`, or with one slot, a worker does that."""
    slots: Annotated[int | Literal["auto"], must(SLOTS, AT_MOST)] = "auto"
    """Assignments that run at once. `auto`: all of a round, or as many as the cluster has room for."""
    strategy: Literal["PACK", "SPREAD", "STRICT_PACK"] = "PACK"
    """Where a trial's processes stand: on few nodes where it can be had, on many, or all on one."""
    threads: Annotated[int, whole(1, 10_000)] = 1
    """CPU threads of each process; results depend on them in the last bits."""
    timeout: Annotated[float, must(SECONDS, AT_MOST)] = 1800.0
    """Seconds that a trial waits for a worker before it counts as lost."""
    checkpoint_every: Annotated[float, must(SECONDS, A_DAY)] = 30.0
    """Seconds between a trial's checkpoints; a small model is stored after every round."""
    retries: Annotated[int, whole(0)] = 1
    """How often a failed trial starts again from its last checkpoint."""

    def document(self) -> dict[str, Any]:
        """The resources as they stand in YAML."""
        return {**asdict(self), "per_task": _given(self.per_task), "driver": _given(self.driver)}


def _given(share: Where) -> dict[str, Any]:
    """A share as it stands in YAML, without what asks for nothing."""
    return {name: value for name, value in asdict(share).items() if value not in (None, {})}


def shares(
    resources: Resources, there: Mapping[str, float], loaders: int = 0
) -> tuple[dict[str, float], dict[str, float]]:
    """What a trial's driver and each of its workers ask: {"CPU": 1.0, "GPU": 0.0} each.

    Parameters
    ----------
    there
        What the cluster has.
    loaders
        Processes of a worker that load its data (`learning.loader_processes`).
    """
    driver, per_task = resources.driver, resources.per_task
    if resources.pool != "ray":
        driver = Share(cpu=0.0)
    automatic = 1.0 if there.get("GPU", 0.0) > 0 else 0.0
    return (
        {"CPU": driver.cpu, "GPU": automatic if driver.gpu == "auto" else driver.gpu, **driver.asked()},
        {
            "CPU": 1.0 + loaders if per_task.cpu is None else per_task.cpu,
            "GPU": automatic if per_task.gpu == "auto" else per_task.gpu,
            **per_task.asked(),
        },
    )
