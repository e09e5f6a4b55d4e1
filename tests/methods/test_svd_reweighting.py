"""SVD reweighting: Algorithm 2 where its result is known, and against NumPy; what the options are for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import small
import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.methods.method import Setting
from avil_ray.methods.svd_reweighting import SVDReweighting
from avil_ray.spaces.work import work_of

SEED = 2
AXES = torch.cat([torch.eye(3), -torch.eye(3)]) * 3**0.5
"""Six examples whose inputs have mean 0 and covariance 1: theta_i is then what the labels are made with."""


def suite_of(labels: Mapping[str, Tensor], inputs: object = AXES, **kind: str) -> avil.Suite:
    """Tasks that share their inputs; the target's dev, select and test have the rows of its train."""
    first, *others = labels
    kind = {"loss": "mean_squared_error", "metric": "mean_squared_error", **kind}

    def tasks(seed: int) -> list[avil.Task]:
        given = {name: avil.Examples(inputs, values) for name, values in labels.items()}
        return [
            avil.Task(first, *small.apart(given[first]), **kind),
            *(avil.Task(name, given[name], **kind) for name in others),
        ]

    def model() -> nn.Module:
        return avil.MultitaskModel(
            nn.Linear(3, 4), {name: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)) for name in labels}
        )

    return avil.Suite(name="axes", target=first, task_names=tuple(labels), tasks=tasks, model=model)


def weights(suite: avil.Suite, **options: object) -> dict[str, float]:
    return SVDReweighting(**options).start(Setting(suite, suite.draw(SEED), rounds=3, steps=3)).weights


def test_two_tasks_at_an_angle_have_equal_weights_and_an_orthogonal_one_none() -> None:
    """Theta of length 2 at 60 degrees from each other: the first direction is halfway, and length 1 is orthogonal."""
    thetas = {"a": [2.0, 0.0, 0.0], "b": [1.0, 3**0.5, 0.0], "c": [0.0, 0.0, 1.0]}
    suite = suite_of({name: AXES @ torch.tensor(theta) for name, theta in thetas.items()})
    plain = {"centred": False, "scaled": False}
    assert weights(suite, rank=1, **plain) == pytest.approx({"a": 1.5, "b": 1.5, "c": 0.0}, abs=1e-6)
    for rank in (3, 10):  # all directions: the norms 2, 2 and 1
        assert weights(suite, rank=rank, **plain) == pytest.approx({"a": 1.2, "b": 1.2, "c": 0.6}, abs=1e-6)
    # the singular values are 2 sqrt(1 + cos 60), 2 sqrt(1 - cos 60) and 1
    assert weights(suite, rank=2, **plain) == pytest.approx({"a": 1.5, "b": 1.5, "c": 0.0}, abs=1e-6)
    assert weights(suite, **plain) == weights(suite, rank=1, **plain), "a number needs one direction"


def test_a_reversed_task_has_the_same_weight_as_the_target() -> None:
    labels = AXES @ torch.tensor([1.0, 2.0, 0.0])
    assert weights(suite_of({"a": labels, "b": -labels})) == pytest.approx({"a": 1.0, "b": 1.0})


def expected(suite: avil.Suite, rank: int, *, centred: bool, scaled: bool) -> dict[str, float]:
    """Algorithm 2 in NumPy, from whole arrays."""
    tasks = suite.draw(SEED)
    data = {name: task.train for name, task in tasks.items()}
    data["left"] = data["left"].join(tasks["left"].dev)
    inputs = {name: examples.inputs.numpy().astype(np.float64) for name, examples in data.items()}
    columns = {name: np.eye(small.CLASSES)[examples.labels.numpy()] for name, examples in data.items()}
    if scaled:
        deviation = np.concatenate(list(inputs.values())).std(axis=0)
        inputs = {name: values / deviation for name, values in inputs.items()}
        columns = {name: values / np.sqrt(values.var(axis=0).sum()) for name, values in columns.items()}
    if centred:
        inputs = {name: values - values.mean(axis=0) for name, values in inputs.items()}
        columns = {name: values - values.mean(axis=0) for name, values in columns.items()}
    thetas = {name: inputs[name].T @ columns[name] / len(inputs[name]) for name in inputs}
    stacked = np.hstack(list(thetas.values()))
    values, vectors = np.linalg.eigh(stacked @ stacked.T)
    shared = vectors[:, np.argsort(-values)[:rank]]
    alphas = {name: np.linalg.norm(theta.T @ shared) for name, theta in thetas.items()}
    return {name: alpha / np.mean(list(alphas.values())) for name, alpha in alphas.items()}


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_weights_of_classes_are_those_of_the_algorithm_in_numpy(
    rank: int, centred: bool, scaled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = small.small_suite()
    by_hand = expected(suite, rank, centred=centred, scaled=scaled)
    assert weights(suite, rank=rank, centred=centred, scaled=scaled) == pytest.approx(by_hand, rel=1e-9)
    monkeypatch.setattr("avil_ray.methods.svd_reweighting.BLOCK", 7)
    assert weights(suite, rank=rank, centred=centred, scaled=scaled) == pytest.approx(by_hand, rel=1e-9)


def test_the_default_rank_fits_the_targets_classes_and_weights_have_mean_one() -> None:
    suite = small.small_suite()
    found = weights(suite)
    assert found == weights(suite, rank=small.CLASSES - 1) != weights(suite, rank=1)
    assert sum(found.values()) == pytest.approx(3)
    assert found["noise"] < 0.5 * min(found["left"], found["right"]), "random labels go along with nothing"


def test_scaled_weights_do_not_depend_on_units_or_the_number_of_examples() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 3, generator=generator)
    labels = {name: inputs @ torch.randn(3, generator=generator) + 1 for name in "abc"}
    found = weights(suite_of(labels, inputs))
    units = torch.tensor([1000.0, 1.0, 0.01])
    assert weights(suite_of(labels, inputs * units)) == pytest.approx(found, rel=1e-4)
    assert weights(suite_of({**labels, "b": 50 * labels["b"] - 7}, inputs)) == pytest.approx(found, rel=1e-4)
    assert weights(suite_of({**labels, "b": 50 * labels["b"]}, inputs), scaled=False)["b"] > 2 * found["b"]
    twice = {name: torch.cat([values, values]) for name, values in labels.items()}
    assert weights(suite_of(twice, torch.cat([inputs, inputs]))) == pytest.approx(found, rel=1e-9)
    pictures = inputs[:, :, None, None].expand(60, 3, 1, 1)
    assert weights(suite_of(labels, pictures)) == found, "inputs are flattened"


def test_two_classes_give_the_same_as_one_number() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(60, 3, generator=generator)
    answers = {name: (inputs @ torch.randn(3, generator=generator) > 0.3).long() for name in "abc"}
    one = weights(suite_of({name: values.float() for name, values in answers.items()}, inputs))
    kind = {"loss": "cross_entropy", "metric": "accuracy"}
    assert weights(suite_of(answers, inputs, **kind)) == pytest.approx(one, rel=1e-9)


def test_the_targets_dev_examples_count_if_they_are_used_for_training() -> None:
    suite = small.small_suite()
    assert weights(suite) != weights(suite, dev="hold")


def test_a_run_is_static_training_on_these_weights_and_costs_what_was_predicted() -> None:
    suite = small.small_suite()
    found = weights(suite)
    run = {"rounds": 3, "steps_per_round": 4, "seed": SEED}
    result = avil.train(suite, SVDReweighting(), **run)
    assert result.theta.tobytes() == avil.train(suite, avil.Static(weights=found), **run).theta.tobytes()
    for row in result.rows:
        assert {task: row[f"weight/{task}"] for task in small.TASKS} == pytest.approx(found)
    told = work_of(SVDReweighting(), suite, suite.draw(SEED), 3, 4)
    assert result.history["cost/gradient_steps"].sum() == told.gradient_steps + told.dev_steps == 3 * 4 * 3


class Tokens:
    def __len__(self) -> int:
        return 6

    def __getitem__(self, rows: Tensor) -> dict[str, Tensor]:
        return {"input_ids": torch.ones(len(rows), 3, dtype=torch.int64)}

    def join(self, other: Tokens) -> Tokens:
        return self


@pytest.mark.parametrize("inputs", [AXES.long(), Tokens()])
def test_token_ids_are_rejected_with_a_hint(inputs: object) -> None:
    labels = {"a": AXES[:, 0].clone(), "b": AXES[:, 1].clone()}
    with pytest.raises(UserError) as caught:
        weights(suite_of(labels, inputs), dev="hold")
    assert str(caught.value) == (
        "svd-reweighting: the inputs of task 'a' are token ids or other whole numbers, but X^T y needs numbers that "
        "can be multiplied; train on fixed features instead (of texts: features: frozen)"
    )


def test_tasks_that_cannot_be_weighted_are_one_line() -> None:
    constant = torch.full((6,), 0.1)
    with pytest.raises(UserError, match=r"^svd-reweighting: no task's labels vary with its inputs, so all weights are"):
        weights(suite_of({"a": constant, "b": constant}))
    broken = AXES.clone()
    broken[4, 1] = float("nan")
    with pytest.raises(UserError, match=r"^task 'a': its train split: inputs\[4, 1\] is nan"):
        weights(suite_of({"a": AXES[:, 0]}, broken))
    with pytest.raises(UserError, match=r"^rank must be at least 1, not 0$"):
        SVDReweighting(rank=0)

    def uneven(seed: int) -> list[avil.Task]:
        a, b = (avil.Examples(torch.rand(6, width), torch.rand(6)) for width in (3, 4))
        kind = {"loss": "mean_squared_error", "metric": "mean_squared_error"}
        return [avil.Task("a", *small.apart(a), **kind), avil.Task("b", b, **kind)]

    suite = avil.Suite(name="uneven", target="a", task_names=("a", "b"), tasks=uneven, model=nn.Identity)
    with pytest.raises(UserError, match=r"all tasks need the same number of inputs per example, but have a 3, b 4$"):
        weights(suite)


def test_a_task_with_constant_labels_has_weight_0() -> None:
    found = weights(suite_of({"a": AXES[:, 0].clone(), "b": torch.full((6,), 0.1)}))
    assert found == {"a": 2.0, "b": 0.0}
