"""Warm-up, autocast and the size of evaluation batches: what text needs, and what leaves everything else as it was."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import small
import torch
from torch import nn

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.evaluation import Target
from avil_ray.learning.learner import Learner
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import Track

SEED = 3


def steps_of(suite: avil.Suite, parts: list[int], **learning: object) -> list[np.ndarray]:
    """Theta before and after each part of a run of the target alone, each part on a learner of its own."""
    chosen = dataclasses.replace(suite.learning, **learning)
    track = Track(initial_model(suite, SEED).vector())
    thetas = [track.theta]
    for number, steps in enumerate(parts):
        assignment = Assignment(name="left", weights={"left": 1.0}, steps=steps, learning=chosen, continues=True)
        track = track.advanced(Learner(suite, suite.draw(SEED), SEED).train(assignment, track, number))
        thetas.append(track.theta)
    return thetas


@pytest.mark.parametrize("warmup", [1, 3, 5])
def test_the_learning_rate_rises_to_its_value(warmup: int) -> None:
    suite = small.small_suite(momentum=0.0, learning_rate=0.1, weight_decay=0.0)
    whole, risen = steps_of(suite, [1]), steps_of(suite, [1], warmup=warmup)
    assert np.allclose(risen[1] - risen[0], (whole[1] - whole[0]) / warmup, atol=1e-7)
    thetas = steps_of(suite, [1] * 8, warmup=warmup)
    for step, (before, after) in enumerate(pairwise(thetas)):
        work = Assignment(name="left", weights={"left": 1.0}, steps=1, learning=suite.learning)
        once = Learner(suite, suite.draw(SEED), SEED).train(work, Track(before, step), step)
        share = min(1.0, (step + 1) / warmup)
        assert np.allclose(after - before, share * (once.theta - before), atol=1e-6), f"step {step}"


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_warm_up_goes_on_across_rounds(optimizer: str) -> None:
    suite = small.small_suite(optimizer=optimizer, learning_rate=0.01)
    (*_, once), (*_, parts) = (steps_of(suite, split, warmup=6) for split in ([9], [2, 4, 3]))
    assert np.array_equal(once, parts)
    assert not np.array_equal(once, steps_of(suite, [9])[-1])


@contextmanager
def types_seen() -> Iterator[set[torch.dtype]]:
    """The types in which linear layers of any model compute inside the block."""
    seen: set[torch.dtype] = set()

    def look(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(layer, nn.Linear):
            seen.add(output.dtype)

    handle = nn.modules.module.register_module_forward_hook(look)
    yield seen
    handle.remove()


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_model_computes_in_the_precision_everywhere(precision: str, expected: torch.dtype) -> None:
    suite = small.small_suite(precision=precision)
    theta = initial_model(suite, SEED).vector()
    learner, target = Learner(suite, suite.draw(SEED), SEED), Target(suite, suite.draw(SEED), SEED)
    assignment = Assignment(name="left", weights={"left": 1.0}, steps=2, learning=suite.learning)
    with types_seen() as seen:
        update = learner.train(assignment, Track(theta), 0)
    assert seen == {expected}
    assert update.theta.dtype == np.float32
    with types_seen() as seen:
        target.evaluate("select", theta)
    assert seen == {expected}
    with types_seen() as seen:
        loss, gradient = target.objective(DevUse("hold"), 0)(torch.from_numpy(theta))
    assert seen == {expected}
    assert gradient.dtype == torch.float32
    assert math.isfinite(loss)


@pytest.mark.parametrize(("examples", "batches"), [(0, 1), (9, 1), (20, 2), (47, 4), (160, 4), (161, 5), (400, 10)])
def test_a_split_is_evaluated_in_four_batches_at_least_where_each_is_as_large_as_a_step(
    examples: int, batches: int
) -> None:
    assert avil.Learning(batch_size=10).evaluation_batches(examples) == batches


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_size_of_evaluation_batches_changes_no_figure(size: int) -> None:
    usual, other = small.small_suite(), small.small_suite(evaluation_batch=size)
    theta = initial_model(usual, SEED).vector()
    found = []
    for suite in (usual, other):
        target, calls = Target(suite, suite.draw(SEED), SEED), []
        handle = target.flat.model.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        figures = target.evaluate("test", theta)
        assert len(calls) == suite.learning.evaluation_batches(30)
        loss, gradient = target.objective(DevUse("hold"), 0)(torch.from_numpy(theta))
        handle.remove()
        found.append([*figures.values(), loss, *gradient.tolist()])
    assert np.allclose(*found, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": -1}, "learning: warmup must be a whole number, 0 or more, not -1"),
        ({"precision": "fp16"}, "learning: unknown precision 'fp16'; did you mean 'bf16'?"),
        ({"evaluation_batch": 0}, "learning: evaluation_batch must be a whole number, 1 to 1000000000, not 0"),
    ],
)
def test_wrong_values_are_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        avil.Learning(**options)
    assert str(caught.value) == message
