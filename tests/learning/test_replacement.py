"""A task is sampled with replacement only if the user says so; a task smaller than a batch is no problem either way."""

from collections import Counter

import numpy as np
import pytest
import small
import torch
from torch import nn

import avil_ray as avil
from avil_ray.tasks.order import batches

ROWS = torch.arange(10, 17)


def drawn(first: int, steps: int, size: int = 4, seed: int = 0, *, replacement: bool = False) -> list[list[int]]:
    stream = batches(ROWS, size, first, steps, seed, "assignment", "task", replacement=replacement)
    return [rows.tolist() for rows in stream]


def test_without_replacement_each_pass_has_each_example_once() -> None:
    rows = [row for batch in drawn(0, 7) for row in batch]
    for start in range(0, 28, 7):
        assert sorted(rows[start : start + 7]) == ROWS.tolist()


@pytest.mark.parametrize("size", [7, 8, 20, 50])
def test_a_task_smaller_than_a_batch_fills_it_evenly(size: int) -> None:
    seen: Counter[int] = Counter()
    for batch in drawn(0, 20, size):
        assert len(batch) == size
        seen.update(batch)
        times = [seen[row] for row in ROWS.tolist()]
        assert max(times) - min(times) <= 1, "one came again before all had come"


def test_with_replacement_every_example_is_drawn_by_itself() -> None:
    batches_drawn = drawn(0, 2000, replacement=True)
    rows = [row for batch in batches_drawn for row in batch]
    assert set(rows) == set(ROWS.tolist())
    assert np.array(list(Counter(rows).values())) / len(rows) == pytest.approx(1 / 7, abs=0.02)
    # four independent draws out of seven are all different in 7 * 6 * 5 * 4 / 7^4 of the batches
    different = np.mean([len(set(batch)) == 4 for batch in batches_drawn])
    assert different == pytest.approx(840 / 2401, abs=0.04)


@pytest.mark.parametrize("replacement", [False, True])
def test_a_stream_continues_from_any_step(replacement: bool) -> None:
    whole = drawn(0, 9, replacement=replacement)
    assert drawn(0, 4, replacement=replacement) + drawn(4, 5, replacement=replacement) == whole
    assert drawn(0, 9, seed=1, replacement=replacement) != whole


def suite(*, replacement: bool) -> avil.Suite:
    """The target's inputs are unit vectors: the trunk's gradient tells which examples a batch had."""

    def tasks(seed: int) -> list[avil.Task]:
        one = avil.Examples(torch.eye(6), torch.zeros(6))
        few = avil.Examples(torch.eye(6)[:3], torch.zeros(3))
        options = {"loss": "mean_squared_error", "metric": "mean_squared_error"}
        return [avil.Task("goal", *small.apart(few)[:2], *small.apart(one)[:2], **options, replacement=replacement)]

    def model() -> nn.Module:
        layer = nn.Linear(6, 1, bias=False)
        nn.init.ones_(layer.weight)
        return avil.MultitaskModel(nn.Sequential(layer, nn.Flatten(0)), {})

    learning = avil.Learning(learning_rate=0.01, momentum=0.0, batch_size=6, clip=1e9)
    return avil.Suite(name="own", target="goal", task_names=("goal",), tasks=tasks, model=model, learning=learning)


def times_drawn(*, replacement: bool, seed: int) -> list[float]:
    """How often the six examples (train three, dev the same three) stood in one batch of six, by input."""
    result = avil.train(suite(replacement=replacement), avil.TargetOnly(), rounds=1, steps_per_round=1, seed=seed)
    # mean squared error of output 1 and label 0: each time in the batch moves the weight by 0.01 * 2 / 6
    return ((1 - result.theta) / (0.01 * 2 / 6)).round(2).tolist()


def test_the_learner_draws_with_replacement_if_the_task_says_so() -> None:
    for seed in range(5):
        assert times_drawn(replacement=False, seed=seed) == [2, 2, 2, 0, 0, 0]
    with_it = [times_drawn(replacement=True, seed=seed) for seed in range(5)]
    assert all(sum(times) == 6 for times in with_it)
    assert any(times != [2, 2, 2, 0, 0, 0] for times in with_it)
