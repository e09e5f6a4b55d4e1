"""TAPS against the paper's equations, step by step with autograd, and what its gates do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import small
import torch
from torch import nn

import avil_ray as avil
from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.method import Facts, Method, Run
from avil_ray.methods.taps import TAPS, trunk_layers
from avil_ray.rounds import Round
from avil_ray.tasks.order import batches

SEED, STEPS, ETA = 1, 12, 0.1


class OnlyGates(TAPS):
    """The second half alone, from the initial theta."""

    def assign(self, run: Run, number: int) -> list[Assignment]:
        return super().assign(run, run.setting.rounds + number)

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        return super().combine(run, updates, target, run.setting.rounds + number)


def run(suite: avil.Suite, method: Method, rounds: int, steps: int) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=steps, seed=SEED, on_round=done.append)
    return done


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(small.WIDTH, 6), nn.Tanh(), nn.Linear(6, 8), nn.Tanh())


@pytest.mark.parametrize("sparsity", [0.0, 0.2, 0.4])
def test_with_one_plain_step_per_round_it_follows_the_papers_equations(sparsity: float) -> None:
    suite = small.small_suite(two_layers, momentum=0.0, learning_rate=ETA, clip=1e9)
    space, theta = initial_model(suite, SEED).space, torch.from_numpy(initial_model(suite, SEED).vector())
    layers = trunk_layers(space)
    shared, behind, scores = theta.clone(), torch.zeros_like(theta), torch.full((len(layers),), 0.15).double()
    pool = suite.draw(SEED)["left"].train.join(suite.draw(SEED)["left"].dev)
    stream = batches(torch.arange(len(pool)), suite.learning.batch_size, 0, STEPS, SEED, "left")
    gates = []
    for rows in stream:
        gradient = small.Seen(suite, 0, theta, {"left": pool.batch(rows)}).gradient("left")
        opened = scores >= 0.1
        moved = theta - ETA * gradient  # what is no trunk trains freely
        for index, layer in enumerate(layers):
            pull = (
                float(gradient[layer].double() @ behind[layer].double()) + sparsity / len(layers) * scores[index].sign()
            )
            scores[index] -= ETA * pull
            behind[layer] -= ETA * opened[index] * gradient[layer]
        for index, layer in enumerate(layers):
            moved[layer] = shared[layer] + (scores[index] >= 0.1) * behind[layer]
        theta = moved
        gates.append(float((scores >= 0.1).double().mean()))
    done = run(suite, OnlyGates(sparsity=sparsity), STEPS, 1)
    assert [each.row["gates_open"] for each in done] == gates
    np.testing.assert_allclose(done[-1].theta, theta.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(done[-1].run.memory.scores, scores.numpy(), rtol=1e-3, atol=1e-6)
    assert gates[0] == 1.0
    assert (gates[-1] < 1) == (sparsity > 0), "the test must see gates close"


def test_with_all_gates_closed_the_trunk_is_shared_and_heads_are_trained() -> None:
    suite = small.small_suite()
    space = initial_model(suite, SEED).space
    first, *rest = run(suite, TAPS(sparsity=0.4), 4, 3)[1:]
    assert "gates_open" not in first.row
    for each in rest:
        assert each.row["gates_open"] == 0
        assert each.theta[space.trunk].tobytes() == first.theta[space.trunk].tobytes()
        assert (each.theta[space.head("left")] != first.theta[space.head("left")]).any()
        assert (each.theta[space.head("right")] == first.theta[space.head("right")]).all()


def test_a_round_that_diverges_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    suite = small.small_suite(regression=True)
    done: list[Round] = []
    run = {"rounds": 2, "steps_per_round": 3, "seed": SEED, "on_round": done.append}
    with pytest.raises(WorkFailed, match=r"the loss of task 'left' is not finite in step 4.*a lower learning_rate"):
        avil.train(suite, OnlyGates(learning_rate=1e30), **run)
    assert all(np.isfinite(each.theta).all() for each in done)
    assert [each.row["dropped"] for each in done] == [1.0, 1.0]
    assert "the update of the target is not finite" in caplog.text


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
def test_a_sparsity_below_0_is_one_line(wrong: float) -> None:
    with pytest.raises(UserError, match=r"sparsity must be (at least 0|a finite number), not"):
        TAPS(sparsity=wrong)
