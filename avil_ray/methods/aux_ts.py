"""AUX-TS: a small network weights every example, and learns to from a held-out part of the target's batch.

    V(x; phi)  = sigmoid(MLP(x))            x = [loss, which task, cos(g_*, g_i) for every auxiliary i]
    theta^     = theta - eta grad sum_i mean_e V_e L_e             over the target's training folds and the auxiliaries
    phi       <- phi - Adam(grad_phi L_*(held-out fold; theta^))
    theta     <- theta - eta grad sum_i mean_e V_e L_e             over all folds, with the new phi

Source: Han, Huang, An, Bai, "Adaptive Transfer Learning on Graph Neural Networks", KDD 2021, arXiv 2107.08765. This is
a reconstruction: the equations (6 to 9 in the paper) come from notes on it; the default values, the network's inputs
and its size come from the authors' code.

The gradient of phi needs no second derivatives. Theta^ is linear in the weights, so with u = grad L_*(theta^)

    dL_*/dV_e = -eta <u, grad L_e> / (number of examples in that mean)

exactly: the score of example e's own step, with the opposite sign. <u, grad L_e> is the slope of one loss along u. Two
forward passes, at theta + epsilon u and theta - epsilon u, give it for a whole batch, up to terms in epsilon squared;
the rest is one backward pass through the small network.

Where this differs from the paper or from the authors' code:

- Their code takes the virtual step in place, so phi gets no gradient at all, and their real step weights only the
  target's loss. Here both follow the equations.
- Folds: their code averages the held-out losses over all folds, each with its own virtual step. Here each step holds
  out one fold, in rotation: the same on average, at a third of the cost with three folds.
- Virtual step: plain SGD at the method's learning rate, without clipping, momentum or warm-up, regardless of the
  suite's optimizer. Theirs is clipped AdamW.
- Cosines use the gradients of whole batches, computed once for both steps. Their virtual step excludes the held-out
  fold.
- Passes for the virtual step and the slopes run in evaluation mode: no dropout, BatchNorm's running statistics.
- Clipping at 0.5 applies to phi's gradient; in their code it applies to the model's, which the suite clips here.
- The network is initialised from a constant seed, the same in every run, as a rule does not know the run's seed.

The sigmoid output of an untrained network is about 1/2, so initial steps are about half as long as under `equal`. No
dev examples are used; they join the target's training data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Doc

from avil_ray.errors import UserError
from avil_ray.learning.parameters import Vector, dot
from avil_ray.learning.score import cosine
from avil_ray.learning.step import Step
from avil_ray.learning.weighting import Rule
from avil_ray.methods.joint import Joint
from avil_ray.methods.method import Setting
from avil_ray.option_values import Above, AtLeast
from avil_ray.randomness import numpy_generator
from avil_ray.tasks.suite import Suite

HIDDEN = 100
"""Hidden units of the weighting network."""

CLIP = 0.5
"""Largest 2-norm of phi's gradient."""

REACH = 0.01
"""The distance that theta is moved along u to measure slopes: small relative to theta, large relative to float32
rounding."""

PHI = "phi"


@dataclass(frozen=True, kw_only=True)
class AuxTS(Joint):
    """A small network weights every example; held-out parts of the target's batches teach it.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.AuxTS(folds=2), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "Han, Huang, An, Bai, KDD 2021, arXiv 2107.08765; a reconstruction from its equations"

    weight_rate: Annotated[float, Above(0), Doc("learning rate of the weighting network, with Adam")] = 5e-3
    folds: Annotated[int, AtLeast(2), Doc("number of parts of the target's batch; each step holds out one in turn")] = 3

    def check(self, suite: Suite) -> None:
        """Check that every fold has an example."""
        if suite.learning.batch_size < self.folds:
            raise UserError(f"folds must be at most the batch size, {suite.learning.batch_size}, not {self.folds}")

    def rule(self, setting: Setting) -> Rule:
        """The weighting network."""
        return WeightingNetwork(self.learning(setting.suite).learning_rate, self.weight_rate, self.folds)


@dataclass(frozen=True)
class WeightingNetwork(Rule):
    """A weight for every example: V(x; phi). Its memory holds phi and Adam's state."""

    learning_rate: float
    weight_rate: float
    folds: int

    def weigh(self, step: Step) -> dict[str, Tensor]:
        """Task -> the weight of each example [batch], with phi updated by this step's virtual step."""
        inputs = _inputs(step)
        phi = self._learned(step, inputs)
        return {task: weights_of(phi, part) for task, part in inputs.items()}

    def passes(self, tasks: int) -> float:
        """One for each task in the virtual step, one at its end, and two for the slopes of each task's losses."""
        return 3 * tasks + 1

    def _learned(self, step: Step, inputs: Mapping[str, Tensor]) -> Tensor:
        """Phi [K] after one Adam step, stored in the step's memory; unchanged if a loss is not finite."""
        device = next(iter(inputs.values())).device
        width = next(iter(inputs.values())).shape[1]
        phi = torch.from_numpy(np.array(step.memory.get(PHI, initial_phi(width)))).to(device).requires_grad_()
        weights = {task: weights_of(phi, part) for task, part in inputs.items()}
        slopes = self._slopes(step, {task: each.detach() for task, each in weights.items()})
        torch.autograd.backward(list(weights.values()), [slopes[task] for task in weights])
        phi.requires_grad_(False)
        assert phi.grad is not None
        if bool(torch.isfinite(phi.grad).all()):
            optimizer = torch.optim.Adam([phi], lr=self.weight_rate)
            for name, value in step.memory.items():
                if name != PHI:
                    optimizer.state[phi][name] = torch.from_numpy(value).to(device if value.ndim else "cpu")
            torch.nn.utils.clip_grad_norm_([phi], CLIP)
            optimizer.step()
            state = {PHI: phi, **optimizer.state[phi]}
            step.memory.update({name: value.detach().cpu().numpy().copy() for name, value in state.items()})
        return phi

    def _slopes(self, step: Step, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task -> dL/dV_e [batch]: the slope of the held-out loss after the virtual step in each example's weight."""
        theta, held = step.theta, torch.zeros_like(weights[step.target])
        held[torch.arange(len(held)).tensor_split(self.folds)[step.number % self.folds]] = 1
        shares = {task: torch.ones_like(each) for task, each in weights.items()}
        shares[step.target] = (1 - held) / (1 - held).mean()
        direction = step.gradient_at(theta, {task: shares[task] * each for task, each in weights.items()})
        moved = theta - self.learning_rate * direction
        u = step.gradient_at(moved, {step.target: held / held.mean()})
        epsilon = REACH / max(dot(u, u) ** 0.5, 1e-12)
        slopes = {}
        for task, share in shares.items():
            risen = step.losses_at(task, theta + epsilon * u) - step.losses_at(task, theta - epsilon * u)
            slopes[task] = -self.learning_rate * share * risen / (2 * epsilon) / len(risen)
        return slopes


def initial_phi(inputs: int) -> Vector:
    """The network's initial parameters, uniform as in PyTorch's linear layers: float32 [K]."""
    generator, first, last = numpy_generator(0, "aux-ts", "phi", inputs), inputs**-0.5, HIDDEN**-0.5
    parts = [generator.uniform(-first, first, (inputs + 1) * HIDDEN), generator.uniform(-last, last, HIDDEN + 1)]
    return np.concatenate(parts).astype(np.float32)


def weights_of(phi: Tensor, inputs: Tensor) -> Tensor:
    """V(x; phi): the weights of examples with these inputs [batch, inputs], between 0 and 1: [batch]."""
    size = inputs.shape[1] * HIDDEN
    matrix, bias, readout, last = phi.split([size, HIDDEN, HIDDEN, 1])
    hidden = torch.relu(inputs @ matrix.view(-1, HIDDEN) + bias)
    return torch.sigmoid(hidden @ readout + last)


def _inputs(step: Step) -> dict[str, Tensor]:
    """Task -> the network's inputs for each example: its loss, its task (one of n), n - 1 cosines: [batch, 2n]."""
    trunk, tasks = step.space.trunk, list(step.weights)
    own = step.gradient(step.target)[trunk]
    cosines = [cosine(own, step.gradient(task)[trunk]) for task in tasks if task != step.target]
    inputs = {}
    for task in tasks:
        losses = step.losses_of_examples(task).detach().float()
        facts = torch.tensor([*(float(task == each) for each in tasks), *cosines], device=losses.device)
        inputs[task] = torch.cat([losses[:, None], facts.expand(len(losses), -1)], dim=1)
    return inputs
