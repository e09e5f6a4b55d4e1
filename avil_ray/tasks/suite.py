"""WHAT is learned: a target task, its auxiliaries, their data, and a model.

A suite is a small description that travels to every worker; the data are drawn there, once, by `Suite.draw(seed)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from avil_ray.errors import UserError, unknown
from avil_ray.randomness import seeded
from avil_ray.tasks.checks import check_metric
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A target task, its auxiliaries and a model.

    Parameters
    ----------
    name
        How tables, figures and MLflow call the suite.
    target
        The name of the task that counts.
    task_names
        Every task, the target included, in the order of tables and figures.
    tasks
        `tasks(seed)` -> one `Task` per name. It runs once on every worker; with the same seed it must give the same
        data. Draw fresh splits for each seed, and confidence intervals cover the choice of data too; ignore the seed,
        and they cover initialisation and order only.
    model
        `model()` -> a module with `forward(inputs, task)` and head parameters named `heads.<task>.…`
        (`MultitaskModel`). Its initial values come from PyTorch's generator, which is seeded around the call.
    learning
        Batch size, optimiser and so on.
    options
        The factory's arguments, for logs and for telling whether a resumed run is still the same run.
    """

    name: str
    target: str
    task_names: tuple[str, ...]
    tasks: Callable[[int], Sequence[Task]]
    model: Callable[[], nn.Module]
    learning: Learning = field(default_factory=Learning)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.target not in self.task_names:
            raise unknown("target", self.target, self.task_names, f"suite {self.name!r}")
        twice = {name for name in self.task_names if self.task_names.count(name) > 1}
        if twice:
            raise UserError(f"suite {self.name!r}: task {min(twice)!r} stands twice; name each task once")

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """The names of all tasks but the target."""
        return tuple(name for name in self.task_names if name != self.target)

    def draw(self, seed: int) -> dict[str, Task]:
        """The tasks' data for one seed, checked: name -> task, in the order of `task_names`."""
        with seeded(seed, "tasks"):
            tasks = self.tasks(seed)
        if not isinstance(tasks, Sequence) or not all(isinstance(task, Task) for task in tasks):
            raise UserError(f"suite {self.name!r}: tasks() gave {_shown(tasks)}, but must give a list of avil_ray.Task")
        found = {task.name: task for task in tasks}
        if set(found) != set(self.task_names):
            promised = sorted(self.task_names)
            raise UserError(f"suite {self.name!r}: tasks() gave {sorted(found)}, task_names says {promised}")
        target = found[self.target]
        missing = [split for split in ("dev", "select", "test") if getattr(target, split) is None]
        if missing:
            raise UserError(f"suite {self.name!r}: the target {self.target!r} has no {', '.join(missing)} split")
        judged = {split: getattr(target, split).labels for split in ("select", "test")}
        check_metric(target.name, target.metric, target.loss, judged)
        return {name: found[name] for name in self.task_names}


def _shown(tasks: Any) -> str:
    wrong = [task for task in tasks if not isinstance(task, Task)] if isinstance(tasks, Sequence) else []
    return f"a {type(tasks).__name__}" + (f" with a {type(wrong[0]).__name__} in it" if wrong else "")
