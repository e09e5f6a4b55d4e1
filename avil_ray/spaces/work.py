"""How much work a trial is, estimated before it runs, from the method's own assignments."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from avil_ray.contracts import check_assignments
from avil_ray.learning.optimizers import check_groups
from avil_ray.learning.parameters import ParameterSpace
from avil_ray.learning.track import MAIN, Track
from avil_ray.methods.method import Method, Run, Setting
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

MOST_KINDS = 8
"""More kinds of trained parameters are not listed beside frozen ones."""


@dataclass(frozen=True)
class Work:
    """The work of one trial.

    Attributes
    ----------
    assignments
        Most assignments in a round: what can run at once.
    gradient_steps
        Of every task in every round; fewer where a method learns to leave tasks out.
    dev_steps
        Dev passes on top, in gradient steps, about (a safeguard may add a few).
    """

    assignments: int
    gradient_steps: int
    dev_steps: int


def work_of(method: Method, suite: Suite, tasks: Mapping[str, Task], rounds: int, steps_per_round: int) -> Work:
    """The work of one trial of `method`; `tasks` are the suite's data for any seed, of which only the sizes matter."""
    setting, target = Setting(method.prepare(suite), tasks, rounds, steps_per_round), tasks[suite.target]
    assert target.dev is not None
    run = Run(setting, {MAIN: Track(np.empty(0, np.float32))}, method.start(setting))
    most = gradient_steps = dev_steps = 0
    for number in range(method.rounds(setting)):
        run = method.begin(run, number)
        assignments = check_assignments(method.assign(run, number), run)
        dev, passes = method.dev_passes(run, number)
        _, rows = dev.rows(len(target.train), len(target.dev), 0, 0)
        adapted = math.ceil(passes * len(rows) / suite.learning.batch_size)
        trained = sum(assignment.gradient_steps for assignment in assignments)
        most, gradient_steps, dev_steps = max(most, len(assignments)), gradient_steps + trained, dev_steps + adapted
        run = replace(run, rows=(*run.rows, {"cost/gradient_steps": trained + adapted}))
    return Work(most, gradient_steps, dev_steps)


def parameters_of(suite: Suite) -> int:
    """P, the length of theta; PyTorch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        size: int = ParameterSpace(suite.build()).size
    return size


def require_groups(suite: Suite) -> None:
    """Raise `UserError` where a parameter group of the suite's learning has no parameter."""
    with torch.random.fork_rng(devices=[]):
        check_groups(ParameterSpace(suite.build()), suite.learning)


def frozen_in(suite: Suite) -> str:
    """How many parameters are frozen, and what is trained in their place; empty where none are."""
    with torch.random.fork_rng(devices=[]):
        model = suite.build()
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    trained = {re.sub(r"\.\d+\.", ".*.", name) for name, one in model.named_parameters() if one.requires_grad}
    kinds = sorted(name.removeprefix("trunk.") for name in trained if name.startswith("trunk."))
    shown = ", ".join([*kinds[:MOST_KINDS], *([f"{len(kinds) - MOST_KINDS} more kinds"] if kinds[MOST_KINDS:] else [])])
    return f"{frozen:,} more are frozen; only the heads{f' and {shown}' if shown else ''} are trained" if frozen else ""
