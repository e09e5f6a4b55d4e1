"""What a report tells of a sweep beside its trials: data sizes, learning, versions, hardware, date, commit, MLflow."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, uint8

from avil_ray.config import flatten
from avil_ray.configuration import plain
from avil_ray.reports.facts import Setup, Start, SweepFacts
from avil_ray.tasks.checks import SPLITS
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

if TYPE_CHECKING:
    from avil_ray.spaces.search_space import SearchSpace

ALWAYS = ("learning_rate", "batch_size", "optimizer", "schedule")
"""Options of `Learning` that are told even where they have their defaults."""
PACKAGES = ("numpy", "torch", "ray", "mlflow")
READ = 2000
"""Examples of a split that a checksum reads, about."""


def setup(space: SearchSpace, suite: Suite, tasks: Mapping[str, Task]) -> Setup:
    """What every trial has in common; `tasks` are the suite's for the first seed."""
    return Setup(
        suite=dict(space.suite),
        rounds=space.rounds,
        steps_per_round=space.steps_per_round,
        given={entry.label: (*flatten(entry.fixed), *entry.free) for entry in space.entries},
        learning=_learning(suite.learning),
        examples={name: _sizes(task) for name, task in tasks.items()},
        space=space.dump(),
        configuration=configuration(suite, space.suite)
        | {"rounds": space.rounds, "steps_per_round": space.steps_per_round, "threads": space.resources.threads},
        searched={entry.label: tuple(entry.free) for entry in space.entries if entry.free},
        digest=digest(suite, tasks),
    )


def configuration(suite: Suite, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a suite and of its learning, flat: `suite.size`, `batch_size`.

    Parameters
    ----------
    given
        The suite's specification, for what the suite does not name among its options.

    Examples
    --------
    >>> import avil_ray as avil
    >>> found = configuration(avil.suites.synthetic(helpful=1), {"name": "synthetic"})
    >>> found["suite.helpful"], found["batch_size"], found["learning_rate"]
    (1, 32, 0.05)
    """
    of_suite = flatten({"suite": {**given, **suite.options, "name": suite.name, "target": suite.target}})
    of_learning = flatten({one.name: getattr(suite.learning, one.name) for one in fields(suite.learning)})
    return {name: plain(name, value) for name, value in {**of_suite, **of_learning}.items()}


def of_run(suite: Suite, method: str, options: Mapping[str, Any], length: Mapping[str, int], seed: int) -> SweepFacts:
    """What a single run is told and started by, as the facts of a sweep that has this one trial.

    Parameters
    ----------
    method, options
        The method's name, and its options in force.
    length
        `rounds`, `steps_per_round` and `threads`.
    """
    tasks = suite.draw(seed)
    target, given = tasks[suite.target], suite.specification or {}
    told = Setup(
        suite=dict(given),
        rounds=length["rounds"],
        steps_per_round=length["steps_per_round"],
        given={method: tuple(options)},
        learning=_learning(suite.learning),
        examples={name: _sizes(task) for name, task in tasks.items()},
        space="",
        configuration=configuration(suite, given) | dict(length),
        digest=digest(suite, tasks),
    )
    return SweepFacts(
        name=method,
        suite=suite.name,
        target=suite.target,
        metric=target.measure.name,
        mode=target.measure.mode,
        tasks=suite.task_names,
        seeds=(seed,),
        labels=(method,),
        setup=told,
        starts=(replace(start([]), source="avil-ray run"),),
    )


def digest(suite: Suite, tasks: Mapping[str, Task]) -> str:
    """A checksum of a suite's options, of its splits' sizes, and of examples that are in memory.

    Of a large split some are read, evenly apart. The files of suites that read files have checksums among the options.
    """
    found = hashlib.sha256(json.dumps(configuration(suite, {}), sort_keys=True, default=str).encode())
    for task in tasks.values():
        for split, size in _sizes(task).items():
            found.update(f"{task.name}/{split}: {size}".encode())
            source = task.source(split)
            for part in (source.inputs, source.labels) if isinstance(source, Examples) else ():
                if isinstance(part, Tensor):
                    some = part.detach()[:: len(part) // READ + 1].cpu().contiguous()
                    found.update(some.flatten().view(uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def start(nodes: Sequence[Mapping[str, float]], mlflow: str | None = None) -> Start:
    """A start of a sweep that happens now.

    Parameters
    ----------
    nodes
        The resources of each node of the Ray cluster.
    mlflow
        Where the sweep's run is in the MLflow UI.
    """
    import avil_ray

    versions = {"avil_ray": avil_ray.__version__, "Python": platform.python_version()}
    return Start(
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit=_commit(),
        versions=versions | {name: metadata.version(name) for name in PACKAGES},
        hardware=(_machine(), *_counted(nodes)),
        mlflow=mlflow,
        source=_source(),
    )


def _learning(learning: Learning) -> dict[str, Any]:
    """Those options of learning that matter: some always, the others where they are not the defaults."""
    usual, values = Learning(), {one.name: getattr(learning, one.name) for one in fields(learning)}
    return {name: value for name, value in values.items() if name in ALWAYS or value != getattr(usual, name)}


def _sizes(task: Task) -> dict[str, int | None]:
    sources = {split: task.source(split) for split in SPLITS if getattr(task, split) is not None}
    return {split: len(source) if hasattr(source, "__len__") else None for split, source in sources.items()}


def _commit() -> str | None:
    """The commit of the folder that the sweep was started in, and whether files differ from it."""
    try:
        commit, changes = (
            subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True).stdout.strip()  # noqa: S603, S607
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):  # no git, or no repository
        return None
    return f"{commit}, with changes" if changes else commit


def _source() -> str:
    """The program that runs, without its folder."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    return "avil-ray sweep" if name in ("avil-ray", "__main__.py", "") else name


def _machine() -> str:
    """The processor, GPUs and system of the machine that started the sweep."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join([_processor(), *gpus, f"{platform.system()} {platform.release()}"])


def _processor() -> str:
    """What Linux calls the processor, or what Python knows of it elsewhere."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def _counted(nodes: Sequence[Mapping[str, float]]) -> list[str]:
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    where = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return [f"Ray had {cpus:g} CPUs and {gpus:g} GPUs on {where}"]
