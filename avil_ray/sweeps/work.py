"""How much work a trial is, told before it runs: from the method's own phases and assignments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from avil_ray.learning.parameters import ParameterSpace
from avil_ray.learning.splits import DevUse
from avil_ray.methods.alpha_vil import AlphaVIL
from avil_ray.methods.method import Method, Phase, Setting
from avil_ray.methods.joint import Joint
from avil_ray.suites.suite import Suite, Task


@dataclass(frozen=True)
class Work:
    """The work of one trial.

    Attributes
    ----------
    assignments
        Most assignments in a round: what can run at once.
    gradient_steps
        Of every task in every phase, exact.
    dev_steps
        What dev passes come to on top, in gradient steps, about (a safeguard may add a few); None where it cannot be
        told.
    """

    assignments: int
    gradient_steps: int
    dev_steps: int | None


def work_of(method: Method, suite: Suite, tasks: dict[str, Task], rounds: int, steps_per_round: int) -> Work:
    """The work of one trial of `method`; `tasks` are the suite's data for any seed, of which only the sizes matter."""
    setting = Setting(suite, steps_per_round)
    most = gradient_steps = 0
    dev_steps: int | None = 0
    for phase in method.phases(rounds):
        state = phase.method.start(setting)
        for number in range(phase.rounds):
            assignments = phase.method.assign(setting, state, number)
            most = max(most, len(assignments))
            gradient_steps += sum(assignment.gradient_steps for assignment in assignments)
        more = _dev_steps(phase, suite, tasks)
        dev_steps = None if dev_steps is None or more is None else dev_steps + more
    return Work(most, gradient_steps, dev_steps)


def _dev_steps(phase: Phase, suite: Suite, tasks: dict[str, Task]) -> int | None:
    """Dev passes of a phase in gradient steps, None where it cannot be told.

    AlphaVIL passes over the examples that adapt at alpha = 0, at the start, and once a step; joint training never.
    """
    method = phase.method
    if isinstance(method, Joint):
        return 0
    if not isinstance(method, AlphaVIL):
        return None
    target = tasks[suite.target]
    assert target.dev is not None
    recipe = method.recipe
    _, rows = DevUse(recipe.dev, recipe.crossfit_fraction).rows(len(target.train), len(target.dev), 0, 0)
    examples = (recipe.alpha_steps + 2) * len(rows)
    return phase.rounds * math.ceil(examples / suite.learning.batch_size)


def parameters_of(suite: Suite) -> int:
    """P, the length of theta; PyTorch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        size: int = ParameterSpace(suite.model()).size
    return size
