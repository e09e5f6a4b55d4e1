"""The diagnosis against numbers worked out by hand and by plain training loops."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.diagnosis import affinity, covariance_factor, covariance_score, covariance_scores
from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.parameters import initial_model
from avil_ray.reports.affinity import Affinity

STEPS, SEEDS = 6, (1, 2)


@pytest.fixture(scope="module")
def found() -> Affinity:
    return avil.affinity(small.small_suite(), steps=STEPS, seeds=SEEDS)


def score(one: object, other: object) -> float:
    return covariance_score(*(covariance_factor(torch.tensor(inputs)) for inputs in (one, other)))


ROUND, FLAT = [[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (FLAT, FLAT, 1.0),  # one direction, the same
        (FLAT, [[0.0, 3.0]], 0.0),  # orthogonal directions
        (ROUND, FLAT, math.sqrt(4 / (2 * 4))),  # sqrt(tr(I diag(4, 0)) / (2 · 4))
        (ROUND, ROUND, math.sqrt(1 / 2)),  # a task with itself: |D|_F / tr D
        ([[3.0, 4.0]], [[1.0, 0.0]], 3 / 5),  # one direction each: the cosine's size
        ([[1.0, 0.0], [0.0, -1.0]], [[1.0, 1.0]], math.sqrt(1 / 2)),
    ],
)
def test_the_score_of_two_dimensions_by_hand(one: object, other: object, expected: float) -> None:
    assert score(one, other) == pytest.approx(expected, abs=1e-12)
    assert score(other, one) == pytest.approx(expected, abs=1e-12)


def test_directions_beyond_99_percent_of_the_eigenvalues_do_not_count() -> None:
    assert covariance_factor(torch.tensor([[10.0, 0.0], [0.0, 0.9]])).shape == (2, 1)  # 100 of 100.81
    assert covariance_factor(torch.tensor([[10.0, 0.0], [0.0, 1.1]])).shape == (2, 2)  # 100 of 101.21


@pytest.mark.parametrize("rows", [4, 9, 30])
def test_the_score_is_that_of_the_equation_whatever_the_shape(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    inputs = [torch.randn(count, 9, generator=generator) for count in (rows, 2 * rows)]

    def parts(x: Tensor) -> np.ndarray:
        values, vectors = np.linalg.eigh(x.double().numpy().T @ x.double().numpy())
        values, vectors = values[::-1].clip(0), vectors[:, ::-1]
        rank = next(r for r in range(1, 10) if values[:r].sum() >= 0.99 * values.sum())
        return vectors[:, :rank] @ np.diag(np.sqrt(values[:rank]))

    a, b = (parts(x) for x in inputs)
    expected = np.linalg.norm(a.T @ b) / (np.linalg.norm(a) * np.linalg.norm(b))
    one, other = (covariance_factor(x) for x in inputs)
    assert covariance_score(one, other) == pytest.approx(expected, rel=1e-9)
    assert covariance_score(covariance_factor(7 * inputs[0]), other) == pytest.approx(expected, rel=1e-6)
    turn, _ = torch.linalg.qr(torch.randn(9, 9, generator=generator))
    turned = [covariance_factor(x @ turn) for x in inputs]
    assert covariance_score(*turned) == pytest.approx(expected, rel=1e-5)


def tasks_of(**inputs: object) -> dict[str, avil.Task]:
    return {
        name: avil.Task(name, avil.Examples(values, torch.zeros(len(values), dtype=torch.int64)))  # type: ignore[arg-type]
        for name, values in inputs.items()
    }


class Words:
    """Token ids in a mapping, as tokenizers give them."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, rows: Tensor) -> dict[str, Tensor]:
        return {"input_ids": torch.zeros(len(rows), 4, dtype=torch.int64)}

    def join(self, other: object) -> object:
        raise NotImplementedError


@pytest.mark.parametrize("ids", [Words(), torch.zeros(3, 4, dtype=torch.int64)])
def test_for_token_ids_there_is_no_score_and_that_is_said(ids: object) -> None:
    scores, said = covariance_scores(tasks_of(goal=torch.zeros(3, 4), text=ids), "goal", 0)
    assert scores is None
    assert said == (
        "Input similarity is undefined here: the inputs of text are token ids or the like, not vectors of numbers."
    )


def test_for_inputs_of_different_sizes_there_is_no_score_and_that_is_said() -> None:
    scores, said = covariance_scores(tasks_of(goal=torch.zeros(3, 4), other=torch.zeros(3, 2, 3)), "goal", 0)
    assert scores is None
    assert said.endswith("undefined here: goal has 4 numbers per input and other has 6 numbers per input.")


def test_shared_inputs_are_alike_by_definition_and_that_is_said() -> None:
    inputs = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0))
    scores, said = covariance_scores(tasks_of(goal=inputs, other=inputs.clone()), "goal", 0)
    assert scores is not None
    assert len(set(scores.ravel())) == 1
    assert said == "All tasks share their inputs, so input similarity is 1 by definition and does not tell them apart."
    _, said = covariance_scores(tasks_of(goal=inputs[:20], other=inputs), "goal", 0)
    assert "1 by definition (less only where a task has fewer of them)" in said
    _, said = covariance_scores(tasks_of(goal=inputs, other=inputs.flip(0)), "goal", 0)
    assert said == ""


def test_of_very_many_inputs_some_are_taken() -> None:
    inputs = torch.randn(3000, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(5)
    scores, _ = covariance_scores(tasks_of(goal=inputs, other=inputs[:2500]), "goal", 0)
    assert scores is not None
    everything = score(inputs.tolist(), inputs.tolist())
    assert scores == pytest.approx(np.full((2, 2), everything), rel=0.03)


def alone(seed: int, task: str, *more: str) -> np.ndarray:
    """Theta after a round on some tasks, by an ordinary loop."""
    suite = small.small_suite()
    start = initial_model(suite, seed).vector()
    return small.ordinary(suite, seed, start, dict.fromkeys((task, *more), 1.0), STEPS, hold=True)


def test_cosines_are_those_of_ordinary_training(found: Affinity) -> None:
    suite = small.small_suite()
    expected = []
    for seed in SEEDS:
        start = initial_model(suite, seed)
        trunk = start.space.trunk
        deltas = np.stack([(alone(seed, task) - start.vector())[trunk].astype(np.float64) for task in small.TASKS])
        lengths = np.linalg.norm(deltas, axis=1)
        expected.append(deltas @ deltas.T / np.outer(lengths, lengths))
    assert found.cosines == pytest.approx(np.stack(expected), abs=1e-4)
    assert found.cosine_matrix == pytest.approx(np.mean(expected, axis=0), abs=1e-4)
    assert (found.cosines == found.cosines.transpose(0, 2, 1)).all()
    assert (np.diagonal(found.cosines, axis1=1, axis2=2) == 1).all()


def test_changes_are_those_of_ordinary_training_on_the_same_examples(found: Affinity) -> None:
    suite = small.small_suite()
    for row, seed in enumerate(SEEDS):
        dev = suite.draw(seed)["left"].dev
        assert dev is not None

        def figures(theta: np.ndarray, dev: avil.Examples = dev) -> tuple[float, float]:
            outputs = small.load(suite.model(), theta).eval()(dev.inputs, "left")
            accuracy = (outputs.argmax(dim=1) == dev.labels).float().mean()
            return F.cross_entropy(outputs, dev.labels).item(), accuracy.item()

        loss, accuracy = figures(alone(seed, "left"))
        for column, auxiliary in enumerate(("right", "noise")):
            beside = figures(alone(seed, "left", auxiliary))
            assert found.loss_changes[row, column] == pytest.approx(beside[0] - loss, abs=1e-4)
            assert found.metric_changes[row, column] == pytest.approx(beside[1] - accuracy, abs=1e-6)


def test_every_step_is_counted(found: Affinity) -> None:
    rounds = 3 + 2 * 2  # each task alone, and the target beside each auxiliary
    dev = math.ceil(3 * 20 / 8)  # dev after the target's round alone and after each joint one
    assert found.gradient_steps == len(SEEDS) * (rounds * STEPS + dev)


def test_everything_derives_from_the_seeds(found: Affinity) -> None:
    again = affinity(small.small_suite(), steps=STEPS, seeds=SEEDS[::-1])
    for name in ("cosines", "loss_changes", "metric_changes", "scores"):
        assert getattr(again, name)[::-1].tobytes() == getattr(found, name).tobytes()
    assert found.configuration == {"suite": "small", "target": "left", "steps": STEPS, "seeds": [1, 2]}
    assert (found.tasks, found.seeds, found.metric, found.mode) == (small.TASKS, SEEDS, "accuracy", "max")


class Sealed:
    """Inputs that must not be looked at."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, rows: Tensor) -> Tensor:
        raise AssertionError("a sealed split was read")

    def join(self, other: object) -> object:
        raise AssertionError("a sealed split was read")


def test_select_and_test_are_not_looked_at(found: Affinity) -> None:
    def sealed(seed: int) -> list[avil.Task]:
        target, *others = small.draw(seed)
        select, test = (avil.Examples(Sealed(), torch.zeros(30, dtype=torch.int64)) for _ in range(2))
        return [dataclasses.replace(target, select=select, test=test), *others]

    again = affinity(dataclasses.replace(small.small_suite(), tasks=sealed), steps=STEPS, seeds=SEEDS)
    assert again.loss_changes.tobytes() == found.loss_changes.tobytes()


def test_a_helpful_task_ranks_above_a_harmful_one() -> None:
    suite = avil.suites.synthetic(head="shared", helpful=1, neutral=0, harmful=1, noise=0)
    found = avil.affinity(suite)
    helpful, harmful = found.of("helpful_1"), found.of("harmful_1")
    assert (helpful["cosine"] > harmful["cosine"] + 0.3).all(), "for every seed"
    assert (helpful["loss_change"] < harmful["loss_change"]).all()
    assert found.ranked == ("helpful_1", "harmful_1")
    assert found.frame()["auxiliary"].tolist() == ["helpful_1", "harmful_1"]


def test_a_model_with_running_statistics_and_one_with_dropout_are_diagnosed() -> None:
    for trunk in (small.batch_norm, small.dropout):
        found = affinity(small.small_suite(trunk), steps=3, seeds=(0,))
        assert np.isfinite(found.cosines).all()
        assert np.isfinite(found.loss_changes).all()


def worded(seed: int) -> list[avil.Task]:
    def ids(examples: avil.Examples | None) -> avil.Examples | None:
        return None if examples is None else avil.Examples((examples.inputs > 0).long(), examples.labels)

    splits = ("train", "dev", "select", "test")
    return [
        dataclasses.replace(task, **{split: ids(getattr(task, split)) for split in splits}) for task in small.draw(seed)
    ]


def reading() -> nn.Module:
    trunk = nn.Sequential(nn.Embedding(2, 4), nn.Flatten(), nn.Linear(4 * small.WIDTH, 8), nn.Tanh())
    return avil.MultitaskModel(trunk, {task: nn.Linear(8, small.CLASSES) for task in small.TASKS})


def test_a_suite_of_token_ids_is_diagnosed_without_the_score() -> None:
    suite = dataclasses.replace(small.small_suite(), tasks=worded, model=reading)
    found = affinity(suite, steps=3, seeds=(0, 1))
    assert found.scores is None
    assert found.inputs.startswith("Input similarity is undefined here")
    assert np.isfinite(found.loss_changes).all()
    assert not [name for name in found.frame().columns if "covariance" in name or "similarity" in name]


def heads_only() -> nn.Module:
    return avil.MultitaskModel(nn.Identity(), {task: nn.Linear(small.WIDTH, small.CLASSES) for task in small.TASKS})


@pytest.mark.parametrize(
    ("suite", "options", "said"),
    [
        (small.small_suite, {"steps": 0}, "steps must be a whole number, 1 or more, not 0"),
        (small.small_suite, {"seeds": (0, -1)}, "seed must be a whole number, 0 or more, not -1"),
        (small.small_suite, {"seeds": ()}, "seeds must be distinct whole numbers, at least one, not []"),
        (small.small_suite, {"seeds": (1, 1)}, "seeds must be distinct whole numbers, at least one, not [1, 1]"),
        (
            small.constant_suite,
            {},
            "suite 'constant' has no auxiliary task, so there is nothing to measure; add one",
        ),
        (
            lambda: dataclasses.replace(small.small_suite(), model=heads_only),
            {},
            "suite 'small': its tasks share no trainable parameters, so none can help another",
        ),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(
    suite: Callable[[], avil.Suite], options: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        affinity(suite(), **options)  # type: ignore[arg-type]
    assert str(caught.value) == said


def test_training_that_diverges_fails() -> None:
    with pytest.raises(WorkFailed, match="diverged in round 0: the loss of task 'left' is not finite"):
        affinity(small.small_suite(learning_rate=1e38), steps=4, seeds=(0,))


def test_a_diagnosis_needs_neither_ray_nor_mlflow_nor_a_report() -> None:
    code = (
        "import avil_ray as avil, json, sys\n"
        "suite = avil.suites.synthetic(train=50, target_labels=30, select=20, test=20)\n"
        "found = avil.affinity(suite, steps=1, seeds=(0,))\n"
        "assert isinstance(found, avil.Affinity) and callable(avil.affinity)\n"
        "print(json.dumps([name for name in sys.modules if '.' not in name]))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert not set(json.loads(done.stdout)) & {"ray", "mlflow", "transformers", "pandas", "matplotlib", "rich"}
