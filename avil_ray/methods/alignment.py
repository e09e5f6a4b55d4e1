"""Covariance alignment: every task turns its inputs by a matrix of its own before the shared trunk, R_t.

    loss = sum_t w_t L_t(head_t(trunk(E_t R_t)))          w, deltas, alphas and phases: as the `weighting` has them

Source: Wu, Zhang, Re, "Understanding and Improving Information Transfer in Multi-Task Learning", ICLR 2020, arXiv
2005.00944, Algorithm 1, as in the submission; its appendix and the authors' code could not be read. R_t makes the
tasks' inputs look alike to the trunk where they do not: a task whose inputs are the target's, rotated, can then help.
It is an addition to the model, `avil_ray.models.alignment`, so it goes with any method that weighs tasks. R_t belongs
to task t as its head does: t alone trains it, and what a method does with a task's own head it does with R_t too.

Where this differs from the paper:

- What trains. The submission says "Fix B" (the trunk) and minimise over matrices and heads, which suits a trunk that is
  trained already (`train_shared: frozen`; matrices and heads alone train then). Suites here start from trunks that are
  not, so the default is `joint`: all train together. `alternate` is a reconstruction: matrices and heads in the even
  rounds, the trunk in the odd ones; each half goes on with its own momentum.
- Weights. The paper's are equal, the default; any other method may set them.
- R_t starts from the identity, without a constraint or normalisation (the text names none): a reconstruction.
- The paper's other use, a target that is fine-tuned from one source model with R added, is not built here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from typing_extensions import Doc

from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment, Trains, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.splits import DevUse
from avil_ray.methods.method import Facts, Memory, Method, Run, Setting
from avil_ray.methods.static import Equal
from avil_ray.models.alignment import aligned_model
from avil_ray.tasks.suite import Suite


@dataclass(frozen=True, kw_only=True)
class Alignment(Method):
    """A matrix for each task between its inputs and the trunk, with any method's weights.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.Alignment(weighting=avil.GCS()), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "Wu, Zhang, Re, ICLR 2020, arXiv 2005.00944, Algorithm 1"

    train_shared: Annotated[
        Literal["joint", "alternate", "frozen"],
        Doc(
            "joint: trunk, matrices and heads train together; alternate: matrices and heads in even rounds, the trunk "
            "in odd ones; frozen: the trunk never trains"
        ),
    ] = "joint"
    weighting: Annotated[Method, Doc("the method that weights the tasks")] = field(default_factory=Equal)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.weighting, Method):
            raise UserError(f"weighting must be a method such as Equal(), not {self.weighting!r}")
        if isinstance(self.weighting, Alignment):
            raise UserError("weighting: alignment cannot weight the tasks; choose another, such as equal")
        rate, own = self.learning_rate, self.weighting.learning_rate
        if rate is not None and own not in (None, rate):
            raise UserError(f"learning_rate is {rate}, but that of the weighting {own}; give one")
        if rate is not None:  # one rate in one place: equal runs are then equal methods
            object.__setattr__(self, "weighting", replace(self.weighting, learning_rate=None))

    @property
    def inner(self) -> Method:
        """The method that weighs the tasks, at this method's learning rate."""
        if self.learning_rate is None:
            return self.weighting
        return replace(self.weighting, learning_rate=self.learning_rate)

    def check(self, suite: Suite) -> None:
        """The other method must fit the suite, and the suite's model must have a place for the matrices."""
        self.inner.check(suite)
        with torch.random.fork_rng(devices=[]):
            self.prepare(suite).build()

    def prepare(self, suite: Suite) -> Suite:
        """The suite with a matrix for each task in its model."""
        suite = self.inner.prepare(suite)
        return replace(suite, model=partial(aligned_model, suite.build, suite.task_names))

    @property
    def plans_ahead(self) -> bool:
        """As the other method."""
        return self.inner.plans_ahead

    def rounds(self, setting: Setting) -> int:
        """As many as the other method's."""
        return self.inner.rounds(setting)

    def start(self, setting: Setting) -> Memory:
        """What the other method remembers."""
        return self.inner.start(setting)

    def reads_select(self, setting: Setting, number: int) -> bool:
        """Where the other method does."""
        return self.inner.reads_select(setting, number)

    def begin(self, run: Run, number: int) -> Run:
        """As the other method begins."""
        return self.inner.begin(run, number)

    def assign(self, run: Run, number: int) -> list[Assignment]:
        """The other method's assignments, each confined to what trains in this round."""
        assignments = self.inner.assign(run, number)
        if self.train_shared == "joint":
            return assignments
        part: Trains = "trunk" if self.train_shared == "alternate" and number % 2 else "heads"
        return [replace(assignment, trains=part) for assignment in assignments]

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """As the other method combines."""
        return self.inner.combine(run, updates, target, number)

    def dev_passes(self, run: Run, number: int) -> tuple[DevUse, int]:
        """As many as the other method's."""
        return self.inner.dev_passes(run, number)
