"""Estimates which auxiliaries may help, before an expensive sweep: three measures of task affinity from one round.

    score(i, j)  = |A_i' A_j|_F / (|A_i|_F |A_j|_F)     A_i = U_i D_i^(1/2), X_i' X_i = U_i D_i U_i'           inputs
    cosine(i, j) = <delta_i, delta_j> / (|delta_i| |delta_j|)             delta_i = (K steps on L_i) - theta   steps
    change(i)    = L_target(dev; K steps on L_target + L_i) - L_target(dev; K steps on L_target)               outcome

score: equation 5 of Wu, Zhang, Re, "Understanding and Improving Information Transfer in Multi-Task Learning", ICLR
2020, arXiv 2005.00944. U_i, D_i are the leading eigenvectors and eigenvalues of X_i' X_i (uncentred), enough to cover
99 % of the eigenvalues' sum (the paper says "99 % of the singular values"; this is our reading). The score of a task
with itself is |D|_F / tr D, which is 1 only for a single direction; so `Affinity` also gives the score divided by the
geometric mean of the two tasks' scores with themselves, which is 1 for equal covariances. The paper takes X_i from
embeddings of single-task models; here it is the raw train inputs, flattened, at most 500, and there is no score for
token ids. cosine: αVIL's deltas (arXiv 2405.07769), over the shared parameters. change: ours. Both rounds see the same
target examples in the same order, so they differ only in the auxiliary. The effect of the auxiliary alone is not
reported: with separate heads it is meaningless, as the target's head is then never trained. Weights are 1 and 1, as in
plain joint training. theta is the model's initial one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from avil_ray.divergence import require_finite
from avil_ray.errors import UserError, WorkFailed, whole
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import DevObjective, Target
from avil_ray.learning.learner import cpu_threads
from avil_ray.learning.parameters import Vector
from avil_ray.learning.passes import Source
from avil_ray.learning.score import cosine
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import MAIN, Track
from avil_ray.pools.inline import InlinePool
from avil_ray.pools.reserved import own_device
from avil_ray.randomness import numpy_generator, seeded
from avil_ray.reports.affinity import Affinity, Floats
from avil_ray.tasks.data import Stream
from avil_ray.tasks.metric_checks import check_metrics
from avil_ray.tasks.suite import Suite, require_suite
from avil_ray.tasks.task import Task

SEEDS = (0, 1, 2, 3)
HELD = DevUse("hold")
MOST_INPUTS = 500
"""The maximum number of inputs for a task's covariance: precise enough, while the cost is quadratic."""

KEPT = 0.99
"""The fraction of the eigenvalues' sum covered by the directions of a covariance."""


def affinity(suite: Suite, *, steps: int = 60, seeds: Sequence[int] = SEEDS) -> Affinity:
    """Measure the affinity of the suite's tasks in one round; the splits select and test are not used.

    Parameters
    ----------
    steps
        Gradient steps of the round. With too few, nothing is learned yet; with very many, any auxiliary that keeps the
        target from overfitting looks helpful.
    seeds
        All random choices derive from them: data, initial parameters, order. Results are given for each seed.

    Raises
    ------
    UserError
        There is no auxiliary, the tasks share nothing, or a number is out of range.
    WorkFailed
        Training diverges.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> found = avil.affinity(suite, steps=2, seeds=[0, 1])
    >>> found.loss_changes.shape == (2, len(suite.auxiliaries))
    True
    """
    require_suite(suite)
    whole("steps", steps, 1)
    for seed in seeds:
        whole("seed", seed, 0)
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds must be distinct whole numbers, at least one, not {list(seeds)}")
    if not suite.auxiliaries:
        raise UserError(f"suite {suite.name!r} has no auxiliary task, so there is nothing to measure; add one")
    with cpu_threads(1):
        found = [_one_seed(suite, steps, seed) for seed in seeds]
    scores = [one.scores for one in found if one.scores is not None]
    return Affinity(
        suite=suite.name,
        target=suite.target,
        tasks=suite.task_names,
        metric=found[0].metric,
        mode=found[0].mode,
        steps=steps,
        seeds=tuple(seeds),
        cosines=np.stack([one.cosines for one in found]),
        loss_changes=np.stack([one.loss_changes for one in found]),
        metric_changes=np.stack([one.metric_changes for one in found]),
        scores=np.stack(scores) if len(scores) == len(found) else None,
        inputs=found[0].inputs,
        gradient_steps=sum(one.gradient_steps for one in found),
        configuration=_configuration(suite, steps, seeds),
    )


def _configuration(suite: Suite, steps: int, seeds: Sequence[int]) -> dict[str, Any]:
    options = {f"suite.{name}": value for name, value in suite.options.items()}
    return {"suite": suite.name, "target": suite.target, **options, "steps": steps, "seeds": list(seeds)}


@dataclass(frozen=True)
class _Found:
    """The results of one seed, for an `Affinity`."""

    metric: str
    mode: Literal["max", "min"]
    cosines: Floats
    loss_changes: Floats
    metric_changes: Floats
    scores: Floats | None
    inputs: str
    gradient_steps: int


def _one_seed(suite: Suite, steps: int, seed: int) -> _Found:
    device = own_device()
    tasks = suite.draw(seed)
    target = Target(suite, tasks, seed, device)
    goal = target.task
    assert goal.dev is not None
    check_metrics(goal, judged=("dev",))
    if target.space.trunk == slice(0, 0):
        raise UserError(f"suite {suite.name!r}: its tasks share no trainable parameters, so none can help another")
    theta, dev, metric = target.flat.vector(), target.objective(HELD, 0), target.task.measure.name
    deltas, costs = {}, []
    with InlinePool(suite, tasks, seed, device) as pool:
        for task in suite.task_names:
            update = _round(pool, suite, steps, theta, task)
            deltas[task] = torch.from_numpy(update.delta(theta)[target.space.trunk])
            costs.append(update.gradient_steps)
            if task == suite.target:
                alone = _figures(dev, update)
        joint = []
        for auxiliary in suite.auxiliaries:
            update = _round(pool, suite, steps, theta, suite.target, auxiliary)
            joint.append(_figures(dev, update))
            costs.append(update.gradient_steps)
    with seeded(seed, "affinity", "inputs"):
        scores, inputs = covariance_scores(tasks, suite.target, seed)
    dev_steps = math.ceil(target.take_examples_adapted() / suite.learning.batch_size)
    return _Found(
        metric=metric,
        mode=target.task.measure.mode,
        cosines=_cosines(list(deltas.values())),
        loss_changes=np.array([one["loss"] - alone["loss"] for one in joint]),
        metric_changes=np.array([one[metric] - alone[metric] for one in joint]),
        scores=scores,
        inputs=inputs,
        gradient_steps=sum(costs) + dev_steps,
    )


def _round(pool: InlinePool, suite: Suite, steps: int, theta: Vector, *tasks: str) -> Update:
    """One round from theta on the sum of the tasks' losses.

    The target sees the same examples with and without an auxiliary, so the difference is due to the auxiliary.
    """
    work = Assignment(name=tasks[0], weights=dict.fromkeys(tasks, 1.0), steps=steps, learning=suite.learning, dev=HELD)
    (update,) = pool.run([work], {MAIN: Track(theta)}, 0)
    require_finite(update.theta, [update], 0)
    return update


def _figures(dev: DevObjective, update: Update) -> dict[str, float]:
    found = dev.figures(update.theta)
    if not math.isfinite(found["loss"]):
        raise WorkFailed(f"after a round of {' and '.join(update.losses)} the target's dev loss is {found['loss']}")
    return found


def _cosines(deltas: Sequence[Tensor]) -> Floats:
    matrix = np.eye(len(deltas))
    for one, other in combinations(range(len(deltas)), 2):
        matrix[one, other] = matrix[other, one] = cosine(deltas[one], deltas[other])
    return matrix


def covariance_scores(tasks: Mapping[str, Task], target: str, seed: int) -> tuple[Floats | None, str]:
    """The score of every pair of tasks' train inputs [tasks, tasks], or None; and a remark on it, or ""."""
    first = {name: Source(task, "train").sample(1).inputs for name, task in tasks.items()}
    odd = [name for name, inputs in first.items() if not (isinstance(inputs, Tensor) and inputs.is_floating_point())]
    if odd:
        what = "token ids or the like, not vectors of numbers"
        return None, f"Input similarity is undefined here: the inputs of {odd[0]} are {what}."
    sizes = {inputs.numel(): name for name, inputs in first.items()}
    if len(sizes) > 1:
        told = " and ".join(f"{name} has {size:,} numbers per input" for size, name in list(sizes.items())[:2])
        return None, f"Input similarity is undefined here: {told}."
    streams = [name for name, task in tasks.items() if isinstance(task.source("train"), Stream)]
    if streams:
        return None, f"Input similarity is not measured: the number of examples is unknown for {streams[0]}."
    drawn: list[Tensor] = []
    factors: list[Tensor] = []
    for task in tasks.values():
        rows = numpy_generator(seed, "affinity", "inputs").permutation(len(task.train))[:MOST_INPUTS]
        inputs = Source(task, "train").batch(torch.from_numpy(rows)).inputs.flatten(1)
        known = [factor for before, factor in zip(drawn, factors, strict=True) if torch.equal(before, inputs)]
        factors.append(known[0] if known else covariance_factor(inputs))
        drawn.append(inputs)
    scores = np.array([[covariance_score(one, other) for other in factors] for one in factors])
    return scores, _said_of_shared(tasks, target)


def covariance_factor(inputs: Tensor) -> Tensor:
    """U D^(1/2) [features, r] of the uncentred covariance of `inputs` [N, features]: float64.

    The first r directions cover 99 % of its eigenvalues' sum. It uses the inner products of inputs or of features,
    whichever matrix is smaller: both have the same eigenvalues.
    """
    matrix = inputs.double()
    wide = matrix.shape[0] < matrix.shape[1]
    values, vectors = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    rank = int((values.cumsum(0) < KEPT * values.sum()).sum()) + 1
    vectors, values = vectors[:, :rank], values[:rank]
    factor: Tensor = matrix.T @ vectors if wide else vectors * values.sqrt()
    return factor


def covariance_score(one: Tensor, other: Tensor) -> float:
    """Equation 5 for two factors [features, r]: from 0 (orthogonal directions) to 1."""
    sizes = float(one.norm() * other.norm())
    return float((one.T @ other).norm()) / sizes if sizes else 0.0


def _said_of_shared(tasks: Mapping[str, Task], target: str) -> str:
    """A remark if every task's inputs begin with the target's, or the target's with theirs."""
    own = Source(tasks[target], "train")
    for task in tasks.values():
        rows = torch.arange(min(len(task.train), len(own), MOST_INPUTS))
        if not torch.equal(Source(task, "train").batch(rows).inputs, own.batch(rows).inputs):
            return ""
    same = len({len(task.train) for task in tasks.values()}) == 1
    told = "" if same else " (less only where a task has fewer of them)"
    return f"All tasks share their inputs, so input similarity is 1 by definition{told} and does not tell them apart."
