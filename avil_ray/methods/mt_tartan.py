"""MT-TARTAN: the target is trained jointly with its auxiliaries from the start, with equal weights.

    w_i = 1 / (1 + m)                             for the target and each of m auxiliaries; the weights sum to 1

Source: Dery, Michel, Talwalkar, Neubig, "Should We Be Pre-training? An Argument for End-task Aware Training as an
Alternative", ICLR 2022, arXiv 2109.07437, and the authors' code.

This is `equal` at 1/(1 + m) of the learning rate, except for what is not proportional to the loss: clipping, weight
decay, and AdamW, which is invariant to the factor.

Where this differs from the authors' code: their auxiliaries are masked language modelling on top of a pre-trained
model, and the target is optionally fine-tuned alone at the end; here it is not.

Constant equal weights offer no protection against harmful tasks. On the synthetic suite with a shared head, one helpful
and one harmful task, the method ends about 9 points of accuracy below the target alone, near `equal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from avil_ray.methods.joint import FixedWeights
from avil_ray.tasks.suite import Suite


@dataclass(frozen=True, kw_only=True)
class MTTartan(FixedWeights):
    """Every task with the same weight, 1 / (number of tasks), from the start.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.MTTartan(), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "MT-TARTAN: Dery, Michel, Talwalkar, Neubig, ICLR 2022, arXiv 2109.07437"

    def task_weights(self, suite: Suite) -> dict[str, float]:
        """1/n for each of n tasks, the target included."""
        return dict.fromkeys(suite.task_names, 1 / len(suite.task_names))
