"""What is learned: a target task, its auxiliaries, their data, and a model.

A suite is a small description that is sent to every worker, where `Suite.draw(seed)` draws the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import nn

from avil_ray.errors import UserError, one_line, unknown
from avil_ray.randomness import seeded
from avil_ray.tasks.checks import check_target, kind_of
from avil_ray.tasks.drawn import DrawnTasks
from avil_ray.tasks.exporter import Exporter
from avil_ray.tasks.heads import check_heads, check_name
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.metric_checks import check_metrics
from avil_ray.tasks.model import check_model
from avil_ray.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A target task, its auxiliaries and a model.

    Parameters
    ----------
    name
        The suite's name in tables, figures and MLflow.
    target
        The name of the target task.
    task_names
        All tasks, including the target, in the order of tables and figures.
    tasks
        `tasks(seed)` -> one `Task` per name. It runs once on every worker; the same seed must give the same data. If it
        draws new splits for each seed, confidence intervals also cover the choice of data; if it ignores the seed, they
        cover only initialisation and order. For large data, use a mapping of each name to a function `task(seed)` ->
        its `Task`: a worker then loads only the tasks that it trains, and the driver keeps only the target; a function
        may run more than once.
    model
        `model()` -> a module with `forward(inputs, task)` and head parameters named `heads.<task>.…`
        (`MultitaskModel`). Its initial values come from PyTorch's generator, which is seeded for the call.
    learning
        Batch size, optimizer and so on.
    options
        The factory's arguments, for logs and for checking that a resumed run has the same settings.
    details
        `details(seed)` -> lines about the data, for `avil-ray check`; None if there is nothing to say beyond sizes.
    exporter
        Writes the target's trained model in a third-party format; None: its named weights are saved, and the suite is
        needed to load them.
    specification
        The specification from which `catalog.build_suite` made the suite; None if it cannot be rebuilt from one.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(helpful=1, neutral=0, harmful=1, noise=0)
    >>> suite.target, suite.auxiliaries
    ('target', ('helpful_1', 'harmful_1'))
    >>> sorted(suite.draw(0))
    ['harmful_1', 'helpful_1', 'target']
    """

    name: str
    target: str
    task_names: tuple[str, ...]
    tasks: Callable[[int], Sequence[Task]] | Mapping[str, Callable[[int], Task]]
    model: Callable[[], nn.Module]
    learning: Learning = field(default_factory=Learning)
    options: Mapping[str, Any] = field(default_factory=dict)
    details: Callable[[int], Sequence[str]] | None = None
    exporter: Exporter | None = None
    specification: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        where = f"suite {self.name!r}"
        if not isinstance(self.name, str) or not self.name:
            raise UserError(f"{where}: a suite's name must be text")
        if not isinstance(self.options, Mapping):
            raise UserError(f"{where}: options must be a mapping, not {kind_of(self.options)}")
        if isinstance(self.task_names, str) or not isinstance(self.task_names, Sequence):
            raise UserError(f"{where}: task_names must be a tuple of names, not {self.task_names!r}")
        object.__setattr__(self, "task_names", tuple(self.task_names))
        for name in self.task_names:
            check_name(f"{where}: task {name!r}", name)
        if self.target not in self.task_names:
            raise unknown("target", self.target, self.task_names, where)
        twice = {name for name in self.task_names if self.task_names.count(name) > 1}
        if twice:
            raise UserError(f"{where}: task {min(twice)!r} is listed twice; name each task once")
        if isinstance(self.tasks, Mapping) and sorted(map(str, self.tasks)) != sorted(self.task_names):
            raise UserError(f"{where}: tasks has {sorted(self.tasks)}, task_names says {sorted(self.task_names)}")
        one = self.tasks if isinstance(self.tasks, Mapping) else {}
        several = {} if one else {"tasks": (self.tasks, "the tasks of a seed")}
        each = {f"tasks[{name!r}]": (function, "the task of a seed") for name, function in one.items()}
        for called, (value, gives) in {**several, **each, "model": (self.model, "the model")}.items():
            if not callable(value) or isinstance(value, nn.Module):
                raise UserError(f"{where}: {called} must be a function that makes {gives}, not {kind_of(value)}")
        if not isinstance(self.learning, Learning):
            raise UserError(f"{where}: learning must be an avil_ray.Learning, not {kind_of(self.learning)}")

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """The names of all tasks except the target."""
        return tuple(name for name in self.task_names if name != self.target)

    def learned_with(self, options: Mapping[str, Any]) -> Suite:
        """The suite with some options of `learning` replaced; `UserError` if one is unknown or wrong."""
        for name in options:
            if name not in Learning.__dataclass_fields__:
                raise unknown("option", name, Learning.__dataclass_fields__, "learning")
        return replace(self, learning=replace(self.learning, **options))

    def draw(self, seed: int) -> Mapping[str, Task]:
        """The tasks' data for one seed, checked: name -> task, in the order of `task_names`.

        If `tasks` is a mapping, each task is made and checked on access: see `DrawnTasks`.

        Raises
        ------
        UserError
            `tasks` fails or does not return the declared tasks; the target lacks a split, or its metric is undefined.
        """
        if isinstance(self.tasks, Mapping):
            return DrawnTasks(self.task_names, partial(self._draw_one, self.tasks, seed))
        where = f"suite {self.name!r}"
        with one_line(f"{where}: tasks() failed"), seeded(seed, "tasks"):
            tasks = self.tasks(seed)
        if not isinstance(tasks, Sequence) or not all(isinstance(task, Task) for task in tasks):
            raise UserError(f"{where}: tasks() gave {_shown(tasks)}, but must give a list of avil_ray.Task")
        names = sorted(task.name for task in tasks)
        if names != sorted(self.task_names):
            raise UserError(f"{where}: tasks() gave {names}, task_names says {sorted(self.task_names)}")
        found = {task.name: task for task in tasks}
        for task in tasks:
            task.check()
        self._check_target(found[self.target])
        return {name: found[name] for name in self.task_names}

    def _draw_one(self, functions: Mapping[str, Callable[[int], Task]], seed: int, name: str) -> Task:
        where = f"suite {self.name!r}: tasks[{name!r}]"
        with one_line(f"{where} failed"), seeded(seed, "tasks", name):
            task = functions[name](seed)
        if not isinstance(task, Task):
            raise UserError(f"{where} gave {kind_of(task)}, but must give an avil_ray.Task")
        if task.name != name:
            raise UserError(f"{where} gave the task {task.name!r}; it must be called {name!r}")
        task.check()
        if name == self.target:
            self._check_target(task)
        return task

    def _check_target(self, task: Task) -> None:
        check_target(f"suite {self.name!r}", task)
        check_metrics(task)

    def build(self) -> nn.Module:
        """Build and check the model; its initial values come from the current state of PyTorch's generator.

        Raises
        ------
        UserError
            `model` fails, does not return a trainable module, or its heads do not match the tasks.
        """
        where = f"suite {self.name!r}"
        with one_line(f"{where}: model() failed"):
            model = self.model()
        check_model(where, model)
        check_heads(where, model, self.task_names)
        return model


def require_suite(value: object) -> Suite:
    """`value` if it is a suite; otherwise a `UserError` that says how to call a function that makes one."""
    if isinstance(value, Suite):
        return value
    name = getattr(value, "__name__", None)
    called = f"call {name}(…), which makes one" if callable(value) and name else "avil_ray.suites makes some"
    raise UserError(f"suite must be an avil_ray.Suite, not {kind_of(value)}; {called}")


def _shown(tasks: Any) -> str:
    wrong = [task for task in tasks if not isinstance(task, Task)] if isinstance(tasks, Sequence) else []
    return kind_of(tasks) + (f" with {kind_of(wrong[0])} in it" if wrong else "")
