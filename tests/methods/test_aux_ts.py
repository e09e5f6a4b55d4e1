"""AUX-TS against plain autograd: the virtual step is differentiated through, as the equations have it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.learner import Learner
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.track import Track
from avil_ray.methods.aux_ts import AuxTS, initial_phi, weights_of
from avil_ray.methods.method import Method
from avil_ray.rounds import Round
from avil_ray.tasks.order import batches

SEED, STEPS = 1, 4
Batch = tuple[Tensor, Tensor]


def rounds_of(suite: avil.Suite, method: Method, rounds: int = 3, steps: int = STEPS) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=steps, seed=SEED, on_round=done.append)
    return done


def work_of(suite: avil.Suite, method: Method) -> Assignment:
    (work,) = method.assign(small.new_run(suite, method, SEED, steps=STEPS), 0)
    return work


def batches_of(suite: avil.Suite, steps: int) -> Iterator[dict[str, Batch]]:
    tasks = suite.draw(SEED)
    data = {task: each.train if each.dev is None else each.train.join(each.dev) for task, each in tasks.items()}
    orders = {
        task: batches(torch.arange(len(each)), suite.learning.batch_size, 0, steps, SEED, task)
        for task, each in data.items()
    }
    for _ in range(steps):
        yield {task: data[task].batch(next(order)) for task, order in orders.items()}


def network(phi: np.ndarray) -> nn.Module:
    """The weighting network as an ordinary module, with the given parameters."""
    net = nn.Sequential(nn.Linear(6, 100), nn.ReLU(), nn.Linear(100, 1), nn.Sigmoid(), nn.Flatten(0))
    matrix, bias, readout, last = torch.from_numpy(phi).split([600, 100, 100, 1])
    with torch.no_grad():
        net[0].weight.copy_(matrix.view(6, 100).T)
        net[0].bias.copy_(bias)
        net[2].weight.copy_(readout[None])
        net[2].bias.copy_(last)
    return net


def flat_phi(matrix: Tensor, bias: Tensor, readout: Tensor, last: Tensor) -> np.ndarray:
    return torch.cat([matrix.T.flatten(), bias, readout.flatten(), last]).detach().numpy()


def losses_of(model: nn.Module, parameters: dict[str, Tensor], batch: dict[str, Batch]) -> dict[str, Tensor]:
    return {
        task: F.cross_entropy(functional_call(model, parameters, (inputs, task)), labels, reduction="none")
        for task, (inputs, labels) in batch.items()
    }


def inputs_of(model: nn.Module, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    body = [p for name, p in model.named_parameters() if not name.startswith("heads.")]
    gradients = {
        task: torch.cat([g.flatten() for g in torch.autograd.grad(loss.mean(), body, retain_graph=True)])
        for task, loss in losses.items()
    }
    cosines = torch.stack([torch.cosine_similarity(gradients["left"], gradients[i], 0) for i in ("right", "noise")])
    kinds = dict(zip(small.TASKS, torch.eye(3), strict=True))
    return {
        task: torch.stack([torch.cat([each.detach()[None], kinds[task], cosines]) for each in loss])
        for task, loss in losses.items()
    }


def by_hand(suite: avil.Suite, method: AuxTS, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Theta, phi and Adam's mean gradient of phi after so many steps, by autograd through the virtual step."""
    model, rate = small.load(suite.model(), initial_model(suite, SEED).vector()), suite.learning.learning_rate
    net = network(initial_phi(6))
    adam = torch.optim.Adam(net.parameters(), lr=method.weight_rate)
    sgd = torch.optim.SGD(model.parameters(), lr=rate, momentum=suite.learning.momentum)
    for step, batch in enumerate(batches_of(suite, steps)):
        parameters = dict(model.named_parameters())
        losses = losses_of(model, parameters, batch)
        inputs = inputs_of(model, losses)
        held = np.array_split(np.arange(suite.learning.batch_size), method.folds)[step % method.folds]
        training = np.setdiff1d(np.arange(suite.learning.batch_size), held)
        weighed = {task: net(inputs[task]) * loss for task, loss in losses.items()}
        virtual = weighed["left"][training].mean() + weighed["right"].mean() + weighed["noise"].mean()
        gradients = torch.autograd.grad(virtual, list(parameters.values()), create_graph=True)
        moved = {name: p - rate * g for (name, p), g in zip(parameters.items(), gradients, strict=True)}
        adam.zero_grad()
        losses_of(model, moved, {"left": batch["left"]})["left"][held].mean().backward(inputs=list(net.parameters()))
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        adam.step()

        sgd.zero_grad()
        losses = losses_of(model, parameters, batch)
        sum((net(inputs[task]).detach() * loss).mean() for task, loss in losses.items()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), suite.learning.clip)
        sgd.step()
    means = [adam.state[p]["exp_avg"] for p in net.parameters()]
    return small.flat(model), flat_phi(*net.parameters()), flat_phi(*means)


@pytest.mark.parametrize(("own_heads", "folds", "steps"), [(True, 3, 1), (True, 3, 5), (True, 2, 5), (False, 3, 5)])
def test_theta_and_phi_follow_the_equations(own_heads: bool, folds: int, steps: int) -> None:
    suite = small.small_suite(own_heads=own_heads)
    method = AuxTS(folds=folds, weight_rate=0.02)
    (done,) = rounds_of(suite, method, 1, steps)
    theta, phi, mean = by_hand(suite, method, steps)
    np.testing.assert_allclose(done.run.main.memory["exp_avg"], mean, rtol=1e-2, atol=1e-3 * np.abs(mean).max())
    np.testing.assert_allclose(done.run.main.memory["phi"], phi, atol=1e-3)
    np.testing.assert_allclose(done.theta, theta, rtol=1e-4, atol=2e-6)
    assert np.abs(phi - initial_phi(6)).max() > 0.9 * method.weight_rate, "so that 0.001 says something"


def test_the_network_is_a_sigmoid_over_one_hidden_layer_of_rectified_units() -> None:
    phi, inputs = initial_phi(4), torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    assert phi.shape == (4 * 100 + 100 + 100 + 1,)
    assert np.abs(phi[:500]).max() == pytest.approx(4**-0.5, rel=0.02)
    assert np.abs(phi[500:]).max() == pytest.approx(100**-0.5, rel=0.05)
    matrix, bias, readout, last = np.split(phi.astype(np.float64), [400, 500, 600])
    hidden = np.maximum(inputs.numpy() @ matrix.reshape(4, 100) + bias, 0)
    expected = 1 / (1 + np.exp(-(hidden @ readout + last)))
    np.testing.assert_allclose(weights_of(torch.from_numpy(phi), inputs), expected, rtol=1e-5)


def test_every_pass_is_predicted() -> None:
    suite = small.small_suite()
    work = work_of(suite, AuxTS())
    assert {each.row["cost/gradient_steps"] for each in rounds_of(suite, AuxTS())} == {work.gradient_steps}
    assert work.gradient_steps == STEPS * (3 + 3 + 1 + 2 * 3)
    assert work.dev.kind == "train", "dev examples train, as the folds of a batch do what they are for"


@pytest.mark.parametrize("trunk", [small.plain, small.batch_norm])
def test_the_length_of_a_round_changes_nothing(trunk: object) -> None:
    suite = small.small_suite(trunk)
    (whole,), parts = rounds_of(suite, AuxTS(), 1, 12), rounds_of(suite, AuxTS(), 6, 2)
    assert parts[-1].theta.tobytes() == whole.theta.tobytes()
    for name in ("phi", "step", "exp_avg", "exp_avg_sq"):
        assert parts[-1].run.main.memory[name].tobytes() == whole.run.main.memory[name].tobytes()


def test_an_auxiliary_that_opposes_the_target_loses_its_weight() -> None:
    suite = avil.suites.synthetic(head="shared", helpful=1, neutral=0, harmful=1, noise=0)
    last = rounds_of(suite, AuxTS(), 10, 20)[-1].row
    assert last["weight/harmful_1"] < 0.1
    assert last["weight/target"] > last["weight/helpful_1"] > 2 * last["weight/harmful_1"]


def test_a_virtual_step_that_is_not_finite_leaves_the_network_unchanged() -> None:
    suite = small.small_suite(regression=True, learning_rate=1e30)
    work = replace(work_of(suite, AuxTS()), steps=1)
    update = Learner(suite, suite.draw(SEED), SEED).train(work, Track(initial_model(suite, SEED).vector()), 0)
    assert update.memory == {}
    assert all(0 < weight < 1 for weight in update.weights.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight_rate": 0.0}, "weight_rate must be above 0, not 0.0"),
        ({"weight_rate": float("nan")}, "weight_rate must be a finite number, not nan"),
        ({"folds": 1}, "folds must be at least 2, not 1"),
    ],
)
def test_wrong_options_are_rejected(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        AuxTS(**options)
    assert str(caught.value) == said


def test_a_batch_must_have_an_example_for_every_fold() -> None:
    with pytest.raises(UserError) as caught:
        avil.train(small.small_suite(), AuxTS(folds=9), rounds=1)
    assert str(caught.value) == "folds must be at most the batch size, 8, not 9"
