"""What a sweep was to be and where it ran: what a report tells beside the trials. Plain values, as `sweep.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from avil_ray.reports.statistics import Mode


@dataclass(frozen=True)
class Setup:
    """What every trial of a sweep has in common.

    Attributes
    ----------
    suite
        The suite's specification: name or factory, and options.
    rounds, steps_per_round
        The length of a run.
    given
        Label -> the options that the search space gives or searches, dotted; all others follow from these.
    learning
        How the suite is learned where a trial's options say nothing else: `learning_rate`, `batch_size` and so on.
    examples
        Task -> split -> examples in it for the first seed; None where that is not known, as of a stream.
    space
        The search space as run, as YAML.
    configuration
        What every trial is told unless its own options say otherwise, flat: `suite.target_labels`, `learning_rate`.
    searched
        Label -> the options that the search chooses, dotted: those that tell its configurations apart.
    digest
        A checksum of the data that the first seed draws and of the options that they are drawn with.
    """

    suite: Mapping[str, Any]
    rounds: int
    steps_per_round: int
    given: Mapping[str, tuple[str, ...]]
    learning: Mapping[str, Any]
    examples: Mapping[str, Mapping[str, int | None]]
    space: str
    configuration: Mapping[str, Any] = field(default_factory=dict)
    searched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class Start:
    """One start of a sweep; it has several where it was resumed.

    Attributes
    ----------
    date
        In UTC, as ISO 8601 has it, to the second.
    commit
        The git commit of the folder it was started in, with `, with changes` where files differ; None outside git.
    versions
        Package -> version.
    hardware
        Lines: the machine that started it, and what Ray had.
    mlflow
        Where the sweep's run is in the MLflow UI: `http://server/#/experiments/1/runs/…`, or only the part from `#` on
        where `avil-ray ui` serves it.
    """

    date: str
    commit: str | None
    versions: Mapping[str, str]
    hardware: tuple[str, ...]
    mlflow: str | None
    source: str | None = None


@dataclass(frozen=True)
class SweepFacts:
    """What a report needs to know of a sweep beside its trials; `labels` in the order of the search space.

    Attributes
    ----------
    reference
        The label that is compared with every other one; the first where it is None.
    setup, starts
        None, and empty, for a sweep of an earlier version.
    algorithm
        How free options were searched; None for a sweep of an earlier version.
    budget
        What a search may cost, in gradient steps over all seeds: so many, as many as the reference took, or None where
        the search space does not say.
    grids
        Label -> dotted option -> its values, for methods of fixed weights that run every combination of them;
        configuration c is combination c, with the last option the fastest. Without options there is one combination.
    """

    name: str
    suite: str
    target: str
    metric: str
    mode: Mode
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    labels: tuple[str, ...]
    reference: str | None = None
    setup: Setup | None = None
    starts: tuple[Start, ...] = ()
    algorithm: str | None = None
    budget: int | Literal["reference"] | None = None
    grids: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.reference is not None and self.reference not in self.labels:
            raise ValueError(f"reference: no method has the label {self.reference!r}")

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """All tasks but the target."""
        return tuple(task for task in self.tasks if task != self.target)
