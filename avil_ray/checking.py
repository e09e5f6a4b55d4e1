"""`avil-ray check SUITE`: describes a suite after making all checks that a run makes before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avil_ray.catalog import SUITES
from avil_ray.errors import nearest
from avil_ray.learning.evaluation import Target
from avil_ray.reports.formats import options
from avil_ray.spaces.work import frozen_in
from avil_ray.tasks.checks import SPLITS
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task


def names_suite(name: str) -> bool:
    """Whether the name refers to a suite or a factory rather than to a search space file."""
    called_so = ":" in name or nearest(name, SUITES) is not None
    return called_so and not name.endswith((".yaml", ".yml")) and not Path(name).exists()


def facts_of(suite: Suite, seed: int = 0) -> dict[str, Any]:
    """The suite's tasks, data, heads, losses, metrics, model and way of learning, as plain values.

    `examples` are the sizes of a task's splits, None for a stream of unknown length.

    Raises
    ------
    UserError
        Any reason for which `train` would reject the suite before its first step.
    """
    tasks = suite.draw(seed)
    target = Target(suite, tasks, seed)
    target.check_evaluation(target.flat.vector())
    heads = {name: target.space.head(name) for name in tasks}
    return {
        "suite": suite.name,
        "target": suite.target,
        "auxiliaries": list(suite.auxiliaries),
        "tasks": {
            name: {
                "examples": dict(_sizes(task)),
                "head_parameters": heads[name].stop - heads[name].start,
                "loss": _named(task.loss),
                "metrics": {measure.name: measure.mode for measure in task.measures},
            }
            for name, task in tasks.items()
        },
        "data": [] if suite.details is None else list(suite.details(seed)),
        "parameters": target.space.size,
        "frozen": frozen_in(suite),
        "learning": {name: value for name, value in vars(suite.learning).items() if value not in (None, {})},
    }


def lines_of(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts, a line each."""
    target = facts["target"]
    yield f"suite {facts['suite']}: target {target}, auxiliaries {', '.join(facts['auxiliaries']) or 'none'}"
    for name, task in facts["tasks"].items():
        owned = f"head with {task['head_parameters']:,} parameters" if task["head_parameters"] else "no head of its own"
        metrics = ", ".join(f"{metric} ({mode})" for metric, mode in task["metrics"].items())
        judged = f", metric {metrics}" if name == target else ""
        yield f"  {name}: {_listed(task['examples'])}; {owned}; loss {task['loss']}{judged}"
    if facts["data"]:
        yield "data:"
        yield from facts["data"]
    yield f"model: {facts['parameters']:,} parameters"
    if facts["frozen"]:
        yield f"       {facts['frozen']}"
    yield f"learning: {options(facts['learning'])}"


def sizes(task: Task) -> str:
    """How many examples each split has: `train 40, dev 20`."""
    return _listed(dict(_sizes(task)))


def _sizes(task: Task) -> Iterator[tuple[str, int | None]]:
    for split in SPLITS:
        examples = getattr(task, split)
        if examples is not None:
            yield split, len(examples) if hasattr(examples, "__len__") else None


def _listed(examples: Mapping[str, int | None]) -> str:
    return ", ".join(f"{split} {'a stream' if size is None else size}" for split, size in examples.items())


def _named(loss: Any) -> str:
    return loss if isinstance(loss, str) else str(getattr(loss, "__name__", type(loss).__name__))
