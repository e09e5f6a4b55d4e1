"""WHAT is learned: a target task, its auxiliaries, their data, and a model.

A suite is a small description that travels to every worker; the data are drawn there, once, by `Suite.draw(seed)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from avil_ray.errors import UserError, unknown
from avil_ray.suites.checks import check_metric, check_split
from avil_ray.suites.examples import Examples
from avil_ray.suites.objectives import LOSSES, METRICS

__all__ = ["Examples", "Learning", "Suite", "Task"]


@dataclass(frozen=True)
class Task:
    """One task: its data, its loss and its metric. Only the target needs dev, select and test.

    `train` gives gradients, `dev` is what a method adapts to (alpha), `select` chooses the best round and
    configuration, `test` is read once, after selection. No source item may stand in two of them.

    Tasks may have different examples and very different numbers of them: a step sees as many of each. Examples come in
    passes over the split, each in an order of its own, and none comes again before all have come; a split smaller than
    a batch fills it with several passes. With `replacement` every example is drawn by itself from the whole split: one
    may come twice before another comes once.

    Raises
    ------
    UserError
        Inputs or labels that do not fit each other or the loss; the message names task, split and field.
    """

    name: str
    train: Examples
    dev: Examples | None = None
    select: Examples | None = None
    test: Examples | None = None
    loss: str = "cross_entropy"
    metric: str = "accuracy"
    replacement: bool = False

    def __post_init__(self) -> None:
        where = f"task {self.name!r}"
        if not self.name.isidentifier():
            raise UserError(f"{where}: a name must be letters, digits and underscores (it names the model's head)")
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES, where)
        if self.metric not in METRICS:
            raise unknown("metric", self.metric, METRICS, where)
        for split in ("train", "dev", "select", "test"):
            examples = getattr(self, split)
            if examples is not None:
                check_split(f"{where}: its {split} split", examples, self.loss)

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether a higher (`max`) or a lower (`min`) value of the task's metric is better."""
        return METRICS[self.metric].mode


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a suite is learned unless a method says otherwise; a step sees `batch_size` examples of each task."""

    learning_rate: float = 0.05
    batch_size: int = 32
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip: float = 5.0
    """Largest 2-norm of a step's gradient; longer ones are scaled down to it."""
    warmup: int = 0
    """Over so many of an assignment's first steps, counted across rounds, the learning rate rises to its value."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: the model computes in bfloat16 where that is safe (autocast); theta and its gradient stay float32."""
    evaluation_batch: int = 512
    """Examples that go through the model at a time where it is evaluated, and where alpha is fitted."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "clip", "evaluation_batch"):
            if not getattr(self, name) > 0:
                raise UserError(f"learning: {name} must be above 0, not {getattr(self, name)}")
        if self.warmup < 0:
            raise UserError(f"learning: warmup must be at least 0, not {self.warmup}")
        if self.precision not in ("fp32", "bf16"):
            raise UserError(f"learning: precision must be 'fp32' or 'bf16', not {self.precision!r}")


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
