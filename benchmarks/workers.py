"""What more workers bring: part of `make bench`.

real: an encoder of 22.6M parameters, four tasks, batches of 16 texts of 64 tokens; 1 and 2 workers of one thread, and
one worker of two threads. simulated: passes sleep in place of computing, so that this machine can have eight workers;
all else is real (Ray, the teams' sums, the fit of alpha). Seconds are those of the rounds after the first one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import avil_ray as avil
from avil_ray.methods.method import Method
from avil_ray.pools.connection import connected
from benchmarks.encoder import Encoder
from benchmarks.measured import Row

FORWARD, BACKWARD = 0.010, 0.020
"""Seconds that a batch of a simulated task sleeps, forward and backward."""


class Sleep(torch.autograd.Function):
    """Gives its input back, later."""

    @staticmethod
    def forward(context: Any, features: Tensor, seconds: float) -> Tensor:
        """Sleep for the forward pass."""
        context.seconds = seconds
        time.sleep(FORWARD * seconds)
        return features.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Sleep for the backward pass."""
        time.sleep(BACKWARD * context.seconds)
        return gradient, None


class Slow(nn.Module):
    """A small layer whose passes take as long as the share of a batch of 16 that they see."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features [B, 8]."""
        found: Tensor = Sleep.apply(self.layer(inputs), len(inputs) / 16)  # type: ignore[no-untyped-call]
        return found


def texts(seed: int) -> list[avil.Task]:
    """Four tasks on random tokens."""
    generator = torch.Generator().manual_seed(seed)

    def examples(count: int) -> avil.Examples:
        tokens = torch.randint(0, 30_000, (count, 64), generator=generator)
        return avil.Examples(tokens, tokens[:, 1] % 2)

    target = avil.Task("a", examples(96), examples(64), examples(64), examples(64))
    return [target, *(avil.Task(name, examples(96)) for name in "bcd")]


def numbers(seed: int) -> list[avil.Task]:
    """Five tasks on random numbers, which they share."""
    generator = torch.Generator().manual_seed(seed)

    def examples(count: int) -> avil.Examples:
        inputs = torch.randn(count, 8, generator=generator)
        return avil.Examples(inputs, (inputs[:, 0] > 0).long())

    target = avil.Task("a", examples(96), examples(64), examples(64), examples(64))
    return [target, *(avil.Task(name, examples(96)) for name in "bcde")]


def encoder() -> nn.Module:
    """The encoder with a head for each task."""
    return avil.MultitaskModel(Encoder(), {name: nn.Linear(384, 2) for name in "abcd"})


def sleeper() -> nn.Module:
    """The model that sleeps."""
    return avil.MultitaskModel(Slow(), {name: nn.Linear(8, 2) for name in "abcde"})


LEARNING = avil.Learning(batch_size=16, learning_rate=0.01)
REAL = avil.Suite(name="texts", target="a", task_names=tuple("abcd"), tasks=texts, model=encoder, learning=LEARNING)
SIMULATED = avil.Suite(
    name="numbers", target="a", task_names=tuple("abcde"), tasks=numbers, model=sleeper, learning=LEARNING
)


def rounds_of(suite: avil.Suite, method: Method, workers: int, *, threads: int = 1, **run: Any) -> tuple[float, float]:
    """Seconds of the rounds after the first, and the share of the reserved time that was busy in them."""
    history = avil.train(suite, method, pool="ray", workers=workers, threads=threads, **run).history[1:]
    return history["time/round"].sum(), history["time/device"].sum() / history["time/reserved"].sum()


def real() -> Iterator[Row]:
    """2 workers and 1 worker of two threads beside 1 worker, on the encoder."""
    methods: Mapping[str, tuple[Method, float | None]] = {
        "equal": (avil.Equal(), 1.6),
        "static": (avil.Static(weights=dict.fromkeys("bcd", 0.5)), 1.6),
        "gcs": (avil.GCS(), None),
        "alpha-vil": (avil.AlphaVIL(), 1.5),
    }
    for name, (method, least) in methods.items():
        run = {"rounds": 6, "steps_per_round": 2} if name == "alpha-vil" else {"rounds": 3, "steps_per_round": 3}
        alone, _ = rounds_of(REAL, method, 1, **run)
        pair, busy = rounds_of(REAL, method, 2, **run)
        threads, _ = rounds_of(REAL, method, 1, threads=2, **run)
        yield Row(f"{name}, P = 22.6M: 2 workers beside 1, rounds a second", alone / pair, least=least)
        yield Row(f"{name}, P = 22.6M: 2 workers, reserved time that is busy", 100 * busy, "%")
        yield Row(f"{name}, P = 22.6M: 1 worker of two threads beside 1, rounds a second", alone / threads)


def simulated() -> Iterator[Row]:
    """1, 2, 4, 5 and 8 workers on passes that sleep."""
    for name, method in {"equal": avil.Equal(), "alpha-vil": avil.AlphaVIL()}.items():
        alone, _ = rounds_of(SIMULATED, method, 1, rounds=10, steps_per_round=8)
        for workers in (2, 4, 5, 8):
            seconds, busy = rounds_of(SIMULATED, method, workers, rounds=10, steps_per_round=8)
            promised = workers == 5
            what = f"{name}, 5 tasks, simulated: {workers} workers"
            yield Row(f"{what} beside 1, rounds a second", alone / seconds, least=3 if promised else None)
            yield Row(f"{what}, reserved time that is busy", 100 * busy, "%", least=60 if promised else None)


def rows() -> Iterator[Row]:
    """Both parts."""
    with connected("local", cpus=8):
        yield from real()
        yield from simulated()
