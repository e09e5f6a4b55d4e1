"""What a run takes before its first round has ended, beyond what it takes in this process: part of `make bench`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import avil_ray as avil
from avil_ray.pools.connection import connected
from benchmarks.measured import Row

RUN: dict[str, Any] = {"rounds": 10, "steps_per_round": 24}


def times(**where: Any) -> tuple[float, float]:
    """Seconds until the first round has ended, and from then to the end of the last."""
    ends = [time.perf_counter()]
    avil.train(
        avil.suites.synthetic(), avil.AlphaVIL(), **RUN, **where, on_round=lambda _: ends.append(time.perf_counter())
    )
    return ends[1] - ends[0], ends[-1] - ends[1]


def rows() -> Iterator[Row]:
    """Cold (Ray starts too) and with Ray there; and the rounds after the first, which should not be slower."""
    times()
    first, rest = times()
    cold, _ = times(pool="ray", workers=2)
    with connected("local", cpus=4):
        warm, on_ray = times(pool="ray", workers=2)
        train, on_train = times(pool="train", workers=2)
    yield Row("synthetic: start of two Ray workers, Ray not running", cold - first, "s")
    yield Row("synthetic: start of two Ray workers, Ray running", warm - first, "s")
    yield Row("synthetic: start of two ranks of Ray Train, Ray running", train - first, "s")
    yield Row("synthetic, alpha-vil: rounds on two Ray workers / in one process", on_ray / rest, most=1)
    yield Row("synthetic, alpha-vil: rounds on two ranks of Ray Train / in one process", on_train / rest)
