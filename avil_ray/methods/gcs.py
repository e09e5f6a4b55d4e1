"""GCS: weights an auxiliary by the cosine of its gradient with the target's.

    c_i  = cos(g_i, g_*)                  over the trunk, on this step's batches
    w_i  = max(0, c_i)                    `form: weighted`
    w_i  = 1 if c_i > 0 else 0            `form: unweighted`            the target's weight is 1

Source: Du et al., "Adapting Auxiliary Losses Using Gradient Similarity", 2018, arXiv 1812.02224, following a
re-implementation (in ForkMerge's code). No dev examples are used; they join the target's training data.

Where this differs: the weight applies to the auxiliary's whole gradient, including its own head's, and the optimizer's
momentum accumulates the weighted sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from avil_ray.learning.score import cosine
from avil_ray.learning.step import Step
from avil_ray.learning.weighting import Rule
from avil_ray.methods.joint import Joint
from avil_ray.methods.method import Setting


@dataclass(frozen=True, kw_only=True)
class GCS(Joint):
    """At every step, an auxiliary's weight is the cosine of its gradient with the target's, if positive.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.GCS(form="unweighted"), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "Du et al. 2018, arXiv 1812.02224"

    form: Annotated[
        Literal["weighted", "unweighted"],
        Doc("weighted: by the cosine where it is above 0; unweighted: 1 where it is above 0, else 0"),
    ] = "weighted"

    def rule(self, setting: Setting) -> Rule:
        """The cosines of the step's gradients."""
        return GradientSimilarity(self.form)


@dataclass(frozen=True)
class GradientSimilarity(Rule):
    """max(0, cos(g_i, g_*)), or whether it is above 0."""

    form: Literal["weighted", "unweighted"]

    def weigh(self, step: Step) -> dict[str, float]:
        """1 for the target, and each auxiliary's cosine with it, or 0 if negative."""
        trunk, weights = step.space.trunk, {}
        own = step.gradient(step.target)[trunk]
        for task in step.weights:
            similarity = 1.0 if task == step.target else cosine(step.gradient(task)[trunk], own)
            weights[task] = max(0.0, similarity) if self.form == "weighted" else float(similarity > 0)
        return weights
