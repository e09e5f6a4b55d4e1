"""DIW-style: updates a task's weight by how training on that task alone changes the target's dev loss.

    theta_i = theta after a round of training on auxiliary i alone               probes: measured, then discarded
    e_0, e_i = the target's dev loss at theta and at theta_i
    w_i   <- max(0, w_i - gamma (e_i - e_0))                                     w_i starts at 1; the target's stays 1
    theta <- theta after a round of joint training on sum_i w_i L_i

A reconstruction. Source: Sivasankaran, Vincent, Illina, "Discriminative importance weighting of augmented training data
for acoustic model training", ICASSP 2017, of which only the abstract was available: weights of data sets, learned by
gradient descent on the dev error. That this is the DIW that αVIL (arXiv 2405.07769) is compared with is inferred from
the name. The rule above uses one finite difference as the gradient: e_0 - e_i is, to first order, the score of a task's
delta (`learning/score.py`).

Our choices: the probes run in parallel with the joint training of the same round, so their results take effect in the
next round, and a round takes no longer than its longest assignment; the target needs no probe, as its weight sets the
scale; gamma defaults to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from typing_extensions import Doc

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.splits import DevUse
from avil_ray.methods.joint import Adaptive, Weights, train_alone
from avil_ray.methods.method import Facts, Run, dropped_facts
from avil_ray.option_values import Above


@dataclass(frozen=True, kw_only=True)
class DIW(Adaptive):
    """Joint training; a task's weight falls if training on it alone raises the target's dev loss.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.DIW(weight_rate=2.0), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "after Sivasankaran, Vincent, Illina, ICASSP 2017; a reconstruction"

    weight_rate: Annotated[float, Above(0), Doc("gamma: how far a change of 1 in the dev loss moves a weight")] = 1.0

    def dev_passes(self, run: Run, number: int) -> tuple[DevUse, int]:
        """One at theta and one for each auxiliary."""
        return self.dev_use, len(run.setting.suite.task_names)

    def assign(self, run: Run, number: int) -> list[Assignment]:
        """The joint training, which keeps its optimizer, and a probe of each auxiliary with a fresh one."""
        suite = run.setting.suite
        probes = [train_alone(run, task, 1.0, self.learning(suite), self.dev_use) for task in suite.auxiliaries]
        return [*super().assign(run, number), *probes]

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """Continue from the result of the joint training, with weights updated by the probes."""
        joint, *probes = updates
        found = target.figures(self.dev_use, number, [run.main.theta, *(probe.theta for probe in probes)])
        before, *losses = (figures["loss"] for figures in found)
        after = {probe.assignment: loss for probe, loss in zip(probes, losses, strict=True)}
        weights = dict(run.memory.weights)
        for task, loss in after.items():
            moved = weights[task] - self.weight_rate * (loss - before)
            weights[task] = max(0.0, moved) if math.isfinite(moved) else weights[task]
        run, facts = super().combine(run, [joint], target, number)
        lost = [probe for probe in probes if not math.isfinite(after[probe.assignment])]
        effects = {f"effect/{task}": loss - before for task, loss in after.items()}
        facts = {**facts, **dropped_facts(probes, lost), **effects, "dev/loss": before}
        return replace(run, memory=Weights(weights)), facts
