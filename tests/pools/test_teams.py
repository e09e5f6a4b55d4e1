"""Teams of several workers give the bits of one, for every method, with BatchNorm, dropout, clipping, micro-batches."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import small
from torch import nn

import avil_ray as avil
from avil_ray.catalog import METHODS, build_method
from avil_ray.pools.crew import Slots
from avil_ray.pools.planner import Planner
from avil_ray.pools.ray_pool import RayPool
from avil_ray.rounds import Round

pytestmark = pytest.mark.usefixtures("ray_session")

RUN: dict[str, Any] = {"rounds": 7, "steps_per_round": 3, "seed": 4}


def hard() -> nn.Module:
    return nn.Sequential(nn.Linear(small.WIDTH, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU())


SUITE = small.small_suite(hard, clip=0.5, micro_batch=3, evaluation_batch=5)


@dataclass
class Eager(Planner):
    """Forms teams wherever it can, as if they cost nothing."""

    @property
    def exchange(self) -> float | None:
        return 0.0

    def seconds_of(self, batches: float) -> float:
        """So long that workers are asked."""
        return 1.0

    @exchange.setter
    def exchange(self, seconds: float | None) -> None:
        """What was measured does not count."""


def opened(workers: int, suite: avil.Suite = SUITE) -> RayPool:
    return RayPool(suite, RUN["seed"], 1, Slots(workers, {"CPU": 0.25}), _planner=Eager())


@pytest.fixture(scope="module", params=[3, *(pytest.param(count, marks=pytest.mark.slow) for count in (2, 4))])
def pool(request: pytest.FixtureRequest) -> Iterator[RayPool]:
    with opened(request.param) as pool:
        yield pool
        assert pool.crew.joined


def same(found: avil.Result, expected: avil.Result) -> None:
    assert found.theta.tobytes() == expected.theta.tobytes()
    columns = [name for name in expected.history if not name.startswith("time/")]
    pd.testing.assert_frame_equal(found.history[columns], expected.history[columns], check_exact=True)
    assert found.test == expected.test


@pytest.mark.parametrize("name", [name for name in METHODS if name != "alignment"])
def test_every_method_is_bit_identical_to_one_process(name: str, pool: RayPool) -> None:
    method = build_method(name, {"weights": {"right": 0.5}} if name == "static" else {})
    same(avil.train(SUITE, method, **RUN, pool=partial(nullcontext, pool)), avil.train(SUITE, method, **RUN))


def test_a_gradient_is_summed_in_another_order_on_request() -> None:
    """By `all_reduce`, which is faster on GPUs: the same within rounding over a round."""
    method, run = build_method("equal", {}), {**RUN, "rounds": 1}
    suite = replace(SUITE, learning=replace(SUITE.learning, reduction="all_reduce"))
    with opened(3, suite) as pool:
        found = avil.train(suite, method, **run, pool=partial(nullcontext, pool))
    np.testing.assert_allclose(found.theta, avil.train(SUITE, method, **run).theta, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["equal", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gcs", "alpha-vil"))]
)
@pytest.mark.slow
def test_a_worker_killed_in_a_teams_step_changes_nothing_and_no_round_is_reported_twice(
    name: str, tmp_path: Path
) -> None:
    method, told = build_method(name, {}), []
    run = {**RUN, "steps_per_round": 30}
    expected = avil.train(SUITE, method, **run)
    with opened(2) as pool:
        victim = ray.get(pool.crew.workers[1].prepare.remote(pool.crew.sent, RUN["seed"], 1, 1))

        def tell(done: Round) -> None:
            told.append(done.number)
            if done.number == 2:
                threading.Timer(0.05, os.kill, (victim, signal.SIGKILL)).start()

        found = avil.train(SUITE, method, **run, pool=partial(nullcontext, pool), output=tmp_path, on_round=tell)
        assert pool.crew.replaced == 1
    same(found, expected)
    assert told == list(range(len(expected.rows)))
