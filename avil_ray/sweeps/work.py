"""How much work a trial is, told before it runs: from the method's own phases and assignments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from avil_ray.learning.parameters import ParameterSpace
from avil_ray.methods.method import Method, Setting
from avil_ray.suites.suite import Suite, Task


@dataclass(frozen=True)
class Work:
    """The work of one trial.

    Attributes
    ----------
    assignments
        Most assignments in a round: what can run at once.
    gradient_steps
        Of every task in every phase; fewer where a method learns to leave tasks out.
    dev_steps
        What dev passes come to on top, in gradient steps, about (a safeguard may add a few).
    """

    assignments: int
    gradient_steps: int
    dev_steps: int


def work_of(method: Method, suite: Suite, tasks: dict[str, Task], rounds: int, steps_per_round: int) -> Work:
    """The work of one trial of `method`; `tasks` are the suite's data for any seed, of which only the sizes matter."""
    setting, target = Setting(suite, steps_per_round), tasks[suite.target]
    assert target.dev is not None
    most = gradient_steps = dev_steps = 0
    for phase in method.phases(rounds):
        state = phase.method.start(setting)
        for number in range(phase.rounds):
            assignments = phase.method.assign(setting, state, number)
            most = max(most, len(assignments))
            gradient_steps += sum(assignment.gradient_steps for assignment in assignments)
        dev, passes = phase.method.dev_passes(len(suite.task_names))
        _, rows = dev.rows(len(target.train), len(target.dev), 0, 0)
        dev_steps += phase.rounds * math.ceil(passes * len(rows) / suite.learning.batch_size)
    return Work(most, gradient_steps, dev_steps)


def parameters_of(suite: Suite) -> int:
    """P, the length of theta; PyTorch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        size: int = ParameterSpace(suite.model()).size
    return size
