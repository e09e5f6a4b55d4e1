"""Covariance alignment: each task transforms its inputs by its own matrix R_t before the shared trunk.

    loss = sum_t w_t L_t(head_t(trunk(E_t R_t)))          w, deltas, alphas and phases: as in the `weighting`

Source: Wu, Zhang, Re, "Understanding and Improving Information Transfer in Multi-Task Learning", ICLR 2020, arXiv
2005.00944, Algorithm 1, as in the submission; its appendix and the authors' code were not available. R_t aligns the
tasks' inputs for the trunk, so that, for example, a task whose inputs are rotated versions of the target's can help. It
is part of the model (`avil_ray.models.alignment`), so it can be combined with any method that weights tasks. R_t
belongs to task t in the same way as its head: only t trains it, and a method treats it like the task's head.

Where this differs from the paper:

- What is trained. The submission says "Fix B" (the trunk) and minimise over matrices and heads, which suits a trunk
  that is already trained (`train_shared: frozen` trains only matrices and heads). Suites here start from untrained
  trunks, so the default is `joint`: everything is trained together. `alternate` is a reconstruction: matrices and heads
  in even rounds, the trunk in odd ones, each half with its own momentum.
- Weights. The paper uses equal weights, which is the default; any other method may set them.
- R_t starts from the identity, without a constraint or normalisation (the text names none): a reconstruction.
- The paper's other use, fine-tuning a target from one source model with R added, is not implemented.
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
    """A matrix for each task between its inputs and the trunk, combined with any method's weights.

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
        if rate is not None:  # keep the rate in one place, so that equal runs have equal methods
            object.__setattr__(self, "weighting", replace(self.weighting, learning_rate=None))

    @property
    def inner(self) -> Method:
        """The method that weights the tasks, with this method's learning rate."""
        if self.learning_rate is None:
            return self.weighting
        return replace(self.weighting, learning_rate=self.learning_rate)

    def check(self, suite: Suite) -> None:
        """Check that the inner method fits the suite, and that the suite's model supports the matrices."""
        self.inner.check(suite)
        with torch.random.fork_rng(devices=[]):
            self.prepare(suite).build()

    def prepare(self, suite: Suite) -> Suite:
        """The suite with a matrix for each task added to its model."""
        suite = self.inner.prepare(suite)
        return replace(suite, model=partial(aligned_model, suite.build, suite.task_names))

    @property
    def plans_ahead(self) -> bool:
        """As in the inner method."""
        return self.inner.plans_ahead

    def rounds(self, setting: Setting) -> int:
        """As many as the inner method's."""
        return self.inner.rounds(setting)

    def start(self, setting: Setting) -> Memory:
        """The inner method's memory."""
        return self.inner.start(setting)

    def reads_select(self, setting: Setting, number: int) -> bool:
        """Whenever the inner method does."""
        return self.inner.reads_select(setting, number)

    def begin(self, run: Run, number: int) -> Run:
        """As the inner method does."""
        return self.inner.begin(run, number)

    def assign(self, run: Run, number: int) -> list[Assignment]:
        """The inner method's assignments, each restricted to the parameters trained in this round."""
        assignments = self.inner.assign(run, number)
        if self.train_shared == "joint":
            return assignments
        part: Trains = "trunk" if self.train_shared == "alternate" and number % 2 else "heads"
        return [replace(assignment, trains=part) for assignment in assignments]

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """As the inner method does."""
        return self.inner.combine(run, updates, target, number)

    def dev_passes(self, run: Run, number: int) -> tuple[DevUse, int]:
        """As many as the inner method's."""
        return self.inner.dev_passes(run, number)
