"""A run's configuration: plain values that are equal in every process in which the options are."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from torch import nn

import avil_ray as avil
from avil_ray.configuration import describe, plain
from avil_ray.errors import UserError


def test_a_configuration_is_flat_and_survives_json() -> None:
    suite = avil.Suite(
        name="x",
        target="left",
        task_names=small.TASKS,
        tasks=small.draw,
        model=nn.Identity,
        options={"size": (3, 4), "file": Path("a/b")},
    )
    found = describe(suite, avil.AlphaVIL(alpha_bounds=(0.0, math.inf)), 2, 3, 4, 1)
    assert found["suite.size"] == [3, 4]
    assert found["suite.file"] == "a/b"
    assert found["method.alpha_bounds"] == [0.0, math.inf]
    assert (found["method"], found["rounds"], found["steps_per_round"], found["seed"]) == ("AlphaVIL", 2, 3, 4)


@dataclass
class Sizes:
    width: int = 3


class Callable:
    def __call__(self) -> None: ...


def scale() -> None: ...


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (scale, "tests.test_configuration.scale"),
        (len, "builtins.len"),
        (nn.ReLU, "torch.nn.modules.activation.ReLU"),
        (partial(len, 3), {"function": "builtins.len", "arguments": [3], "named": {}}),
        (Sizes(5), {"class": "tests.test_configuration.Sizes", "width": 5}),
        (Path("a/b"), "a/b"),
        (np.float64(0.5), 0.5),
        (math.nan, "nan"),
        ({3: {2, 1}}, {"3": [1, 2]}),
        (torch.float32, "torch.float32"),
        (torch.zeros(2), "array [2] of torch.float32, checksum 1696784233"),
        (np.array([scale], dtype=object), ["tests.test_configuration.scale"]),
    ],
)
def test_values_are_named_by_what_they_are(value: Any, expected: Any) -> None:
    found = plain("x", value)
    if isinstance(expected, str) and expected.startswith("tests."):
        found = f"tests.{found.removeprefix('tests.')}"
    assert json.loads(json.dumps(found)) == found == expected


def test_arrays_count_by_their_contents() -> None:
    assert plain("x", torch.zeros(2)) != plain("x", torch.tensor([0.0, 1.0]))
    assert plain("x", np.zeros(2)) != plain("x", np.zeros((2, 1)))


@pytest.mark.parametrize("value", [object(), Callable(), [iter([])], {"a": Callable().__call__}])
def test_an_object_that_shows_its_address_only_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^option 'x' is <.* at 0x\w+>, which another process cannot compare with its"):
        plain("x", value)
    suite = avil.Suite(
        name="x", target="left", task_names=small.TASKS, tasks=small.draw, model=nn.Identity, options={"x": value}
    )
    with pytest.raises(UserError, match=r"^option 'x' is <"):
        avil.train(suite, avil.Equal(), output=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_an_option_that_refers_to_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UserError, match=r"^option 'x' refers to itself"):
        plain("x", loop)


def test_how_the_suite_is_learned_is_a_part_of_it() -> None:
    small_batches, large_batches = (
        describe(small.small_suite(batch_size=size), avil.Equal(), 1, 1, 0, 1) for size in (4, 8)
    )
    assert {name for name in large_batches if large_batches[name] != small_batches[name]} == {"learning.batch_size"}
