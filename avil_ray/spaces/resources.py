"""The resources of a sweep's trials: `resources` in a search space."""

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
    """The nodes on which a process may run."""

    __pydantic_config__ = STRICT

    resources: Annotated[Mapping[str, float], must(CUSTOM)] = field(default_factory=dict)
    """Amounts of custom resources that it needs (`ray start --resources`)."""
    accelerator_type: Annotated[str | None, must(KIND)] = None
    """The required kind of GPU, in Ray's notation: `H100`."""
    label_selector: Annotated[Mapping[str, str], must(SELECTOR)] = field(default_factory=dict)
    """Required node labels (`ray start --labels`): a value, `!value`, `in(a, b)` or `!in(a, b)` for each."""

    def asked(self) -> dict[str, float]:
        """As amounts of Ray resources; a node has 1 of its accelerator's kind, however many accelerators it has."""
        kind = {} if self.accelerator_type is None else {f"{ACCELERATOR}{self.accelerator_type}": 0.001}
        return {**self.resources, **kind}


@dataclass(frozen=True, kw_only=True)
class _Amounts:
    cpu: Annotated[float, must(AMOUNT, AT_MOST)] = 1.0
    gpu: Annotated[float | Literal["auto"], must(AMOUNT, GPUS, AT_MOST)] = 0.0


@dataclass(frozen=True, kw_only=True)
class _WorkerAmounts:
    cpu: Annotated[float | None, must(AMOUNT, AT_MOST)] = None
    """By default one for itself and one for each data loader process. With less, the processes share CPUs, which
    `avil-ray check` reports."""
    gpu: Annotated[float | Literal["auto"], must(OR_AUTO, GPUS, AT_MOST)] = "auto"

    def __post_init__(self) -> None:
        if self.cpu == 0:  # Ray does not place a process without resources
            raise UserError("cpu must be above 0; a small fraction such as 0.1 will do")


@dataclass(frozen=True, kw_only=True)
class Share(Where, _Amounts):
    """A process's share of a node's resources (fractions are allowed), and on which nodes."""


@dataclass(frozen=True, kw_only=True)
class WorkerShare(Where, _WorkerAmounts):
    """A worker's share, and on which nodes. `auto`: one GPU if the cluster has any, otherwise none."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The resources of every trial."""

    __pydantic_config__ = STRICT

    pool: Annotated[Literal["ray", "train", "inline"], must(POOL)] = "ray"
    """Where a trial's assignments run. `ray`: on actors, reused by the next trial. `train`: on the ranks of a Ray Train
    program, driven by the first one. `inline`: in the trial's own process, its only worker; a trial with pool `ray` and
    one slot also runs there."""
    per_task: WorkerShare = field(default_factory=WorkerShare)
    """For each worker; a trial has `slots` of them."""
    driver: Share = field(default_factory=Share)
    """For the process that combines updates, one per trial; with `train`, or with one slot, a worker does that."""
    slots: Annotated[int | Literal["auto"], must(SLOTS, AT_MOST)] = "auto"
    """Assignments that run in parallel. `auto`: all of a round, or as many as the cluster has room for."""
    strategy: Literal["PACK", "SPREAD", "STRICT_PACK"] = "PACK"
    """How a trial's processes are placed: on few nodes if possible, spread out, or all on one."""
    threads: Annotated[int, whole(1, 10_000)] = 1
    """CPU threads of each process; results depend on it in the last bits."""
    timeout: Annotated[float, must(SECONDS, AT_MOST)] = 1800.0
    """Seconds that a trial waits for a worker before considering it lost."""
    checkpoint_every: Annotated[float, must(SECONDS, A_DAY)] = 30.0
    """Seconds between a trial's checkpoints; a small model is stored after every round."""
    retries: Annotated[int, whole(0)] = 1
    """How often a failed trial is restarted from its last checkpoint."""

    def document(self) -> dict[str, Any]:
        """The resources as in YAML."""
        return {**asdict(self), "per_task": _given(self.per_task), "driver": _given(self.driver)}


def _given(share: Where) -> dict[str, Any]:
    """A share as in YAML, without amounts of 0."""
    return {name: value for name, value in asdict(share).items() if value not in (None, {})}


def shares(
    resources: Resources, there: Mapping[str, float], loaders: int = 0
) -> tuple[dict[str, float], dict[str, float]]:
    """The resources of a trial's driver and of each worker: {"CPU": 1.0, "GPU": 0.0} each.

    Parameters
    ----------
    there
        The cluster's resources.
    loaders
        A worker's data loader processes (`learning.loader_processes`).
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
