"""Estimates the work of a trial before it runs, from the method's own assignments."""

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
"""The maximum number of kinds of trained parameters listed along with frozen ones."""


@dataclass(frozen=True)
class Work:
    """The work of one trial.

    Attributes
    ----------
    assignments
        The maximum number of assignments in a round, which can run in parallel.
    gradient_steps
        Summed over tasks and rounds; fewer if a method learns to leave tasks out.
    dev_steps
        Additional dev passes, in gradient steps; approximate (a safeguard may add a few).
    """

    assignments: int
    gradient_steps: int
    dev_steps: int


def work_of(method: Method, suite: Suite, tasks: Mapping[str, Task], rounds: int, steps_per_round: int) -> Work:
    """The work of one trial of `method`; only the sizes of `tasks` (the suite's data for any seed) matter."""
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
    """P, the length of theta; leaves PyTorch's generator unchanged."""
    with torch.random.fork_rng(devices=[]):
        size: int = ParameterSpace(suite.build()).size
    return size


def require_groups(suite: Suite) -> None:
    """Raise `UserError` if a parameter group of the suite's learning matches no parameter."""
    with torch.random.fork_rng(devices=[]):
        check_groups(ParameterSpace(suite.build()), suite.learning)


def frozen_in(suite: Suite) -> str:
    """The number of frozen parameters, and what is trained instead; "" if there are none."""
    with torch.random.fork_rng(devices=[]):
        model = suite.build()
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    trained = {re.sub(r"\.\d+\.", ".*.", name) for name, one in model.named_parameters() if one.requires_grad}
    kinds = sorted(name.removeprefix("trunk.") for name in trained if name.startswith("trunk."))
    shown = ", ".join([*kinds[:MOST_KINDS], *([f"{len(kinds) - MOST_KINDS} more kinds"] if kinds[MOST_KINDS:] else [])])
    return f"{frozen:,} more are frozen; only the heads{f' and {shown}' if shown else ''} are trained" if frozen else ""
