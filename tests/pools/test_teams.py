"""Teams of several workers give the bits of one, for every method, with BatchNorm, dropout, clipping, micro-batches."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import pytest
import ray
import small
from torch import nn

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method
from avil_ray.methods.method import Method
from avil_ray.pools.planner import Planner
from avil_ray.pools.ray_pool import RayPool, Slots

pytestmark = pytest.mark.usefixtures("ray_session")

RUN: dict[str, Any] = {"rounds": 7, "steps_per_round": 3, "seed": 4}


def hard() -> nn.Module:
    return nn.Sequential(nn.Linear(small.WIDTH, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU())


SUITE = small.small_suite(hard, clip=0.5, micro_batch=3)


@dataclass
class Eager(Planner):
    """Forms teams wherever it can, as if they cost nothing."""

    @property
    def exchange(self) -> float | None:
        return 0.0

    @exchange.setter
    def exchange(self, seconds: float | None) -> None:
        """What was measured does not count."""


def opened(workers: int, suite: avil.Suite = SUITE) -> RayPool:
    return RayPool(suite, RUN["seed"], 1, Slots(workers, {"CPU": 0.25}), _planner=Eager())


@pytest.fixture(scope="module", params=[2, 3, 4])
def pool(request: pytest.FixtureRequest) -> Iterator[RayPool]:
    with opened(request.param) as pool:
        yield pool
        assert pool._joined


def same(found: avil.Result, expected: avil.Result) -> None:
    assert found.theta.tobytes() == expected.theta.tobytes()
    columns = [name for name in expected.history if not name.startswith("time/")]
    pd.testing.assert_frame_equal(found.history[columns], expected.history[columns], check_exact=True)
    assert found.test == expected.test


@pytest.mark.parametrize("name", [name for name in METHODS if name != "alignment"])
def test_every_method_gives_the_bits_of_one_process(name: str, pool: RayPool) -> None:
    method = build_method(name, {"weights": {"right": 0.5}} if name == "static" else {})
    same(avil.train(SUITE, method, **RUN, pool=partial(nullcontext, pool)), avil.train(SUITE, method, **RUN))
