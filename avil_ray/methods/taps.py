"""TAPS: the target adapts only those layers of a shared trunk whose learned gates are open.

    W_l   = Wbar_l + 1[s_l >= 0.1] D_l            Wbar: the shared trunk, fixed; D = 0 and s = 0.15 at first
    loss  = L_*(W) + lambda / L sum_l |s_l|       over L layers; straight-through gradient of the indicator:

    D_l  <- D_l - eta 1[s_l >= 0.1] G_l           G_l = dL_*/dW_l
    s_l  <- s_l - eta (<G_l, D_l> + lambda / L sign(s_l))

Source: Wallingford et al., "Task Adaptive Parameter Sharing for Multi-Task Learning", CVPR 2022, arXiv 2203.16708, and
the first author's code, which is described as unofficial.

A reconstruction on deltas, round by round: the target is trained for a round from W as in any assignment; its delta
replaces -eta times the sum of G over its steps, so <sum G, D_l> is the score of the delta D_l with the opposite sign
(`learning/score.py`), and s and D are updated once per round. With one plain SGD step per round, these are exactly the
equations above.

Our other choices: the shared trunk is first trained on all tasks with weight 1 for half of the rounds, as suites here
have no pre-trained trunk; a layer is a module with its own parameters; heads are trained without gates; lambda is 0.01,
because theirs (1) is meant for thousands of steps at a small learning rate and would close every gate within a few of
ours; momentum is reset each round.

The shared trunk has been trained on harmful tasks as well. On the synthetic suite with a shared head, one helpful and
one harmful task, a run of 200 steps ends 0.9 ± 0.4 points of accuracy above the target alone (8 seeds, ± standard
error), and 0.7 ± 0.8 below with a different order of examples.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import Doc

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import ParameterSpace, Vector
from avil_ray.learning.score import score
from avil_ray.learning.splits import DevUse
from avil_ray.methods.joint import follow, train_alone, train_jointly
from avil_ray.methods.method import Facts, Memory, Method, Run, Setting, dropped_facts
from avil_ray.option_values import AtLeast

OPEN, FIRST = 0.1, 0.15
"""The score at which a gate opens, and the initial score."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gates(Memory):
    """The state of the gates; empty until the first gated round.

    Attributes
    ----------
    shared, behind
        The shared trunk and D, each with the shape of theta [P].
    scores
        s, one per layer of the trunk.
    """

    shared: npt.NDArray[np.float32]
    behind: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TAPS(Method):
    """Joint training, then the target adapts the layers of the trunk whose learned gates are open.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.TAPS(sparsity=0.1), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "Wallingford et al., CVPR 2022, arXiv 2203.16708; on deltas, a reconstruction"

    sparsity: Annotated[float, AtLeast(0), Doc("lambda: strength of the penalty on scores, which closes gates")] = 0.01

    @property
    def plans_ahead(self) -> bool:
        """True: half of the rounds train the shared trunk, the others the gates and their deltas."""
        return True

    def start(self, setting: Setting) -> Gates:
        """Empty; the first gated round stores the theta that it starts from."""
        return Gates(np.empty(0, np.float32), np.empty(0, np.float32), np.empty(0))

    def reads_select(self, setting: Setting, number: int) -> bool:
        """Never."""
        return False

    def assign(self, run: Run, number: int) -> list[Assignment]:
        """First all tasks jointly, then the target alone from the gated theta."""
        suite, setting = run.setting.suite, run.setting
        if number < setting.rounds // 2:
            return [train_jointly(run, dict.fromkeys(suite.task_names, 1.0), self.learning(suite), DevUse())]
        return [train_alone(run, suite.target, 1.0, self.learning(suite), DevUse())]

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """Continue from the joint training's result, or update scores, deltas and gates.

        A round that is not finite is dropped and counted.
        """
        (update,) = updates
        facts = dropped_facts(updates)
        if number < run.setting.rounds // 2:
            facts |= {f"weight/{task}": weight for task, weight in update.weights.items()}
            return run.with_main(follow(run.main, update, number)), facts
        gates, moved = self._moved(run, update, target.space, number)
        facts["gates_open"] = float((gates.scores >= OPEN).mean()) if len(gates.scores) else 0.0
        main = run.main.moved(moved, update.steps)
        return replace(run.with_main(main), memory=gates), facts

    def _moved(self, run: Run, update: Update, space: ParameterSpace, number: int) -> tuple[Gates, Vector]:
        """The gates after a round, and the gated theta."""
        theta, layers, memory = run.main.theta, trunk_layers(space), run.memory
        if not len(memory.shared):
            memory = Gates(theta, np.zeros_like(theta), np.full(len(layers), FIRST))
        behind, scores = memory.behind.copy(), memory.scores
        delta = update.delta(theta)
        if not np.isfinite(delta).all():
            log.warning("round %d: the update of the target is not finite; it is dropped", number)
            delta = np.zeros_like(theta)
        else:
            rate = self.learning(run.setting.suite).learning_rate
            pull = rate * run.setting.steps * self.sparsity / max(1, len(layers))
            gains = [score(torch.from_numpy(behind[one]), torch.from_numpy(-delta[one])) for one in layers]
            opened = scores >= OPEN
            scores = scores + np.array(gains) - pull * np.sign(scores)
            for layer, is_open in zip(layers, opened, strict=True):
                behind[layer] += is_open * delta[layer]
        moved = np.asarray(theta + delta, dtype=np.float32)
        for layer, value in zip(layers, scores, strict=True):
            moved[layer] = memory.shared[layer] + (value >= OPEN) * behind[layer]
        return Gates(memory.shared, behind, scores), moved


def trunk_layers(space: ParameterSpace) -> list[slice]:
    """The slices of theta with a gate: one for each module of the trunk."""
    return [layer for layer in space.layers.values() if layer.stop <= space.trunk.stop]
