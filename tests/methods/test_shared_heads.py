"""What heads share belongs to the trunk, under every method: a run is then the one that has it in the trunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import pytest
import small
from torch import nn

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method

RUN = {"rounds": 3, "steps_per_round": 2, "seed": 4}


def one_head_for_all(*, in_heads: bool) -> nn.Module:
    trunk, head = small.plain(), nn.Linear(8, small.CLASSES)
    if in_heads:
        return avil.MultitaskModel(trunk, dict.fromkeys(small.TASKS, head))
    return avil.MultitaskModel(nn.Sequential(trunk, head), {})


def heads_with_a_layer_in_common(*, in_heads: bool) -> nn.Module:
    trunk, common = small.plain(), nn.Linear(8, 8)
    own = {task: nn.Linear(8, small.CLASSES) for task in small.TASKS}
    if in_heads:
        return avil.MultitaskModel(trunk, {task: nn.Sequential(common, head) for task, head in own.items()})
    return avil.MultitaskModel(nn.Sequential(trunk, common), own)


class ByHand(nn.Module):
    """Only the names of the parameters are those of a `MultitaskModel`; two tasks have a head in common."""

    def __init__(self, *, in_heads: bool) -> None:
        super().__init__()
        self.first = nn.Linear(small.WIDTH, 8)
        self.of_two, last = nn.Linear(8, small.CLASSES), nn.Linear(8, small.CLASSES)
        pair = [self.of_two if in_heads else nn.Identity() for _ in range(2)]
        self.heads = nn.ModuleDict(dict(zip(small.TASKS, [*pair, last], strict=True)))

    def forward(self, inputs, task):
        features = self.first(inputs)
        return self.heads["noise"](features) if task == "noise" else self.of_two(features)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("build", [one_head_for_all, heads_with_a_layer_in_common, ByHand])
def test_a_run_equals_the_one_with_shared_parameters_in_the_trunk(name: str, build: Callable[..., nn.Module]) -> None:
    if name == "alignment" and build is ByHand:
        pytest.skip("it takes no other model than MultitaskModel")
    method = build_method(name, {"weights": {"right": 0.5}} if name == "static" else {})

    found, expected = (
        avil.train(dataclasses.replace(small.small_suite(), model=partial(build, in_heads=in_heads)), method, **RUN)
        for in_heads in (True, False)
    )
    assert found.theta.tobytes() == expected.theta.tobytes()
    assert found.test == expected.test
