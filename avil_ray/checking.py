"""`avil-ray check SUITE`: describes a suite after making all checks that a run makes before training."""

from __future__ import annotations

from collections.abc import Iterator
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


def described(suite: Suite, seed: int = 0) -> Iterator[str]:
    """The suite's tasks, data, heads, losses, metrics, model and learning settings, one line each.

    Raises
    ------
    UserError
        Any reason for which `train` would reject the suite before its first step.
    """
    tasks = suite.draw(seed)
    target = Target(suite, tasks, seed)
    target.check_evaluation(target.flat.vector())
    yield f"suite {suite.name}: target {suite.target}, auxiliaries {', '.join(suite.auxiliaries) or 'none'}"
    for name, task in tasks.items():
        head = target.space.head(name)
        owned = f"head of {head.stop - head.start:,} parameters" if head.stop > head.start else "no head of its own"
        metrics = ", ".join(f"{measure.name} ({measure.mode})" for measure in task.measures)
        judged = f", metric {metrics}" if name == suite.target else ""
        yield f"  {name}: {sizes(task)}; {owned}; loss {_named(task.loss)}{judged}"
    if suite.details is not None:
        yield "data:"
        yield from suite.details(seed)
    yield f"model: {target.space.size:,} parameters"
    frozen = frozen_in(suite)
    if frozen:
        yield f"       {frozen}"
    learning = suite.learning
    yield "learning: " + options({name: value for name, value in vars(learning).items() if value not in (None, {})})


def sizes(task: Task) -> str:
    """The number of examples in each split: `train 40, dev 20`."""
    found = ((split, getattr(task, split)) for split in SPLITS)
    return ", ".join(f"{split} {_size(examples)}" for split, examples in found if examples is not None)


def _size(examples: Any) -> str:
    return f"{len(examples)}" if hasattr(examples, "__len__") else "a stream"


def _named(loss: Any) -> str:
    return loss if isinstance(loss, str) else str(getattr(loss, "__name__", type(loss).__name__))
