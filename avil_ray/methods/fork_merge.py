"""ForkMerge: parallel branches train on the target and ever more auxiliaries, and merge where dev is best.

    order     auxiliaries by the target's dev metric after a short training of {target, a} from the initial theta
    branches  for every K in top_k: the target and its first K auxiliaries, all with weight 1, for `interval` rounds
    merge     theta <- the best branch;  then for each next one:  theta <- (1 - a) theta + a theta_branch
              with the a among `coefficients` at which the target's dev metric is best
    fork      all branches start again from the merged theta

Source: Jiang et al., "ForkMerge: Mitigating Negative Transfer in Auxiliary-Task Learning", NeurIPS 2023, arXiv
2301.12618, and the authors' code. With two sizes in top_k (0 and the number of auxiliaries) and coefficients symmetric
around one half (as by default), it is the paper's two-branch form, the best theta = (1 - lambda) theta_0 + lambda
theta_1.

Where this differs from the authors' code:

- Shares: in their code, the weaker of two branches never gets more than half, as its factor is normalised afterwards.
  Here a is the share itself, from 0 to 1 as in the paper.
- Best checkpoints: their branch ends at its best validation checkpoint so far, which may predate the last merge. Here
  it ends at its final parameters; select chooses the best round, as for every method.
- Optimizers: their momentum and schedules continue in each branch across merges. Here each branch starts with fresh
  ones.
- Weights: 1 for every task of a branch, as in their code for scenes; their code for DomainNet samples a task for each
  step.
- Ties: with few dev examples, metrics can be equal; the lower dev loss then decides.
- Dev: they use one validation split for merging and for choosing the model. Here dev is used for merging, and select
  for choosing. Buffers (BatchNorm's statistics) are averaged like parameters, as in their code.

On the synthetic suite with a shared head, one helpful and one harmful task, it ends 1.7 ± 0.4 points of accuracy below
the target alone (8 seeds, ± standard error; 2.5 on the first three), in long runs as in short ones. Most of that is not
caused by the harmful task: a single branch without any auxiliary loses 1.5 ± 0.4. The remaining explanations are that
part of the target's examples are used to judge merges, and that optimizers restart; which of the two matters was not
examined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from typing_extensions import Doc

from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector
from avil_ray.learning.splits import DevUse
from avil_ray.methods.method import Facts, Memory, Method, Run, Setting, dropped_facts
from avil_ray.option_values import AtLeast

Goodness = tuple[float, float]
"""The dev metric, with its sign chosen so that more is better, and the negative dev loss, compared in this order."""


@dataclass(frozen=True)
class Order(Memory):
    """The auxiliaries, the most helpful first."""

    order: list[str]


@dataclass(frozen=True, kw_only=True)
class ForkMerge(Method):
    """Parallel branches with ever more auxiliaries, merged where the dev metric is best.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.ForkMerge(top_k=[0, 2]), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "Jiang et al., NeurIPS 2023, arXiv 2301.12618"

    dev: Annotated[
        Literal["crossfit", "hold"],
        Doc("crossfit: each merge uses a different part of train and dev; hold: merges use dev only"),
    ] = "crossfit"
    top_k: Annotated[list[int], Doc("number of best auxiliaries in each branch; all of them if there are fewer")] = (
        field(default_factory=lambda: [0, 3, 5])
    )
    interval: Annotated[int, AtLeast(1), Doc("rounds between merges")] = 2
    coefficients: Annotated[list[float], Doc("shares of a branch that a merge tries, from 0 to 1")] = field(
        default_factory=lambda: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    )
    pruning_rounds: Annotated[int, AtLeast(1), Doc("rounds of the training that ranks the auxiliaries")] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.top_k or min(self.top_k) < 0:
            raise UserError(f"top_k must be whole numbers, at least 0, such as [0, 3, 5], not {self.top_k}")
        if not self.coefficients or not all(0 <= share <= 1 for share in self.coefficients):
            raise UserError(f"coefficients must be fractions from 0 to 1, such as [0, 0.5, 1], not {self.coefficients}")

    @property
    def dev_use(self) -> DevUse:
        """As set by the option."""
        return DevUse(self.dev)

    @property
    def plans_ahead(self) -> bool:
        """Rounds are merges, after one that ranks the auxiliaries."""
        return True

    def rounds(self, setting: Setting) -> int:
        """The ranking (in addition to the budget), then as many merges as `interval` fits into the rounds.

        With fewer rounds than `interval`, one merge at their end.
        """
        return self._ranked(setting) + setting.rounds // self._length(setting)

    def dev_passes(self, run: Run, number: int) -> tuple[DevUse, int]:
        """One for each ranked auxiliary, one for each branch, and one for each share tried."""
        auxiliaries = len(run.setting.suite.auxiliaries)
        if number < self._ranked(run.setting):
            return self.dev_use, auxiliaries
        branches = len(self.sizes(auxiliaries))  # a share of 0 is the current theta
        return self.dev_use, branches + (branches - 1) * sum(share > 0 for share in self.coefficients)

    def _ranked(self, setting: Setting) -> int:
        """1 if a round ranks the auxiliaries; 0 if every branch has all or none of them, whatever their order."""
        count = len(setting.suite.auxiliaries)
        return int(any(size not in (0, count) for size in self.sizes(count)))

    def _length(self, setting: Setting) -> int:
        """The number of rounds between two merges."""
        return min(self.interval, setting.rounds)

    def sizes(self, auxiliaries: int) -> list[int]:
        """The number of auxiliaries of each branch, in ascending order."""
        return sorted({min(size, auxiliaries) for size in self.top_k})

    def start(self, setting: Setting) -> Order:
        """The suite's own order."""
        return Order(list(setting.suite.auxiliaries))

    def reads_select(self, setting: Setting, number: int) -> bool:
        """Never: branches are judged on dev."""
        return False

    def assign(self, run: Run, number: int) -> list[Assignment]:
        """First the target with each auxiliary, to rank them; then one assignment per branch for `interval` rounds."""
        setting, memory = run.setting, run.memory
        if number < self._ranked(setting):
            return [self._branch(setting, task, [task], self.pruning_rounds) for task in memory.order]
        length, sizes = self._length(setting), self.sizes(len(memory.order))
        return [self._branch(setting, f"top {size}", memory.order[:size], length) for size in sizes]

    def _branch(self, setting: Setting, name: str, auxiliaries: Sequence[str], rounds: int) -> Assignment:
        """Training on the target and some auxiliaries for a number of rounds, with a fresh optimizer."""
        return Assignment(
            name=name,
            weights=dict.fromkeys((setting.suite.target, *auxiliaries), 1.0),
            steps=rounds * setting.steps,
            learning=self.learning(setting.suite),
            dev=self.dev_use,
            schedule_steps=setting.rounds * setting.steps,
        )

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """Rank the auxiliaries by the dev metric, the best first, without moving theta; or merge the branches.

        Branches that diverged are left out and counted.
        """
        judge = Judge(target, self.dev_use, number)
        judged = judge([update.theta for update in updates])
        found = {update.assignment: goodness for update, goodness in zip(updates, judged, strict=True)}
        lost = [update for update in updates if found[update.assignment] == judge.worst]
        facts = dropped_facts(updates, lost)
        if number < self._ranked(run.setting):
            order = sorted(run.memory.order, key=lambda task: found[task], reverse=True)
            facts |= {f"rank/{task}": float(place) for place, task in enumerate(order)}
            return replace(run, memory=Order(order)), facts
        theta, shares = self._merge(run.main.theta, updates, found, judge)
        weights = dict.fromkeys(target.suite.task_names, 0.0)
        for update in updates:
            weights |= {task: weights[task] + shares[update.assignment] for task in update.losses}
        facts |= {f"lambda/{name.removeprefix('top ')}": share for name, share in shares.items()}
        facts |= {f"weight/{task}": weight for task, weight in weights.items()}
        return run.with_main(run.main.moved(theta, updates[0].steps)), facts

    def _merge(
        self, theta: Vector, updates: Sequence[Update], found: Mapping[str, Goodness], judge: Judge
    ) -> tuple[Vector, dict[str, float]]:
        """The branches mixed greedily, the best first, and the share of each; theta if all of them diverged."""
        shares = {update.assignment: 0.0 for update in updates}
        usable = [update for update in updates if found[update.assignment] > judge.worst]
        usable.sort(key=lambda update: found[update.assignment], reverse=True)
        if not usable:
            return theta, shares
        first, *others = usable
        merged, best, shares[first.assignment] = first.theta, found[first.assignment], 1.0
        for update in others:
            theta, share = merged, 0.0
            tried = [one for one in self.coefficients if one > 0]
            mixtures = [np.asarray((1 - one) * theta + one * update.theta, dtype=np.float32) for one in tried]
            for one, mixed, goodness in zip(tried, mixtures, judge(mixtures), strict=True):
                if goodness > best:
                    merged, best, share = mixed, goodness, one
            shares = {name: (1 - share) * part for name, part in shares.items()}
            shares[update.assignment] = share
        return merged, shares


@dataclass(frozen=True)
class Judge:
    """Judges thetas by the target's dev examples of round `number`."""

    target: Target
    dev: DevUse
    number: int

    worst: ClassVar[Goodness] = (-math.inf, -math.inf)

    def __call__(self, thetas: Sequence[Vector]) -> list[Goodness]:
        """Greater is better; the worst possible if an output or theta is not finite. All are evaluated at once."""
        found = self.target.figures(self.dev, self.number, thetas)
        return [self._goodness(theta, figures) for theta, figures in zip(thetas, found, strict=True)]

    def _goodness(self, theta: Vector, figures: Mapping[str, float]) -> Goodness:
        metric, loss = figures[self.target.task.measure.name], figures["loss"]
        if not (math.isfinite(metric) and math.isfinite(loss) and np.isfinite(theta).all()):
            return self.worst
        return (metric if self.target.task.measure.mode == "max" else -metric), -loss
