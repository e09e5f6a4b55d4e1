"""What a grid of static weights costs in one stacked model, beside a plain PyTorch loop: part of `make bench`.

K configurations of one seed, 20 rounds of 20 steps, every task with a weight, evaluation on select after each round
included: a stack of K (with its building and checks), a loop as anyone would write it (without), and `avil_ray.train`
take turns on one thread. Each ratio is the throughput of the stack over theirs, the median over turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

import avil_ray as avil
from avil_ray.learning.stack.stackable import pays
from avil_ray.stacked import Member, train_stack
from benchmarks.measured import Row
from benchmarks.step import PlainLoop

ROUNDS, STEPS, TURNS, STACKED = 20, 20, 5, 32

SUITES = {
    "synthetic": avil.suites.synthetic(),
    "synthetic, separate heads": avil.suites.synthetic(head="separate"),
    "MLP 100-100": avil.suites.synthetic(inputs=100, width=100),
    "MLP 200-200": avil.suites.synthetic(inputs=200, width=200),
    "MLP 300-300": avil.suites.synthetic(inputs=300, width=300),
    "MLP 500-1000": avil.suites.synthetic(inputs=500, width=1000),
    "multimnist 18 x 18 (CNN)": avil.suites.multimnist(target="left", target_labels=300, size=18),
}


def members(suite: avil.Suite, rows: int) -> list[Member]:
    """Configurations with random weights and rates."""
    drawn = np.random.default_rng(0)
    return [
        Member(
            replace(suite, learning=replace(suite.learning, learning_rate=float(drawn.uniform(0.01, 0.1)))),
            avil.Static(weights={task: float(drawn.uniform(0.1, 2)) for task in suite.auxiliaries}),
            seed=0,
        )
        for _ in range(rows)
    ]


def stacked(grid: Sequence[Member], rounds: int) -> float:
    """Seconds of a configuration in a stack of all."""
    began = time.perf_counter()
    ended = list(train_stack(grid, rounds=rounds, steps_per_round=STEPS))
    assert all(one.how == "finished" for one in ended)
    return (time.perf_counter() - began) / len(grid)


def plain(loop: PlainLoop, rounds: int) -> float:
    """Seconds of a configuration in a loop."""
    began = time.perf_counter()
    for _ in range(rounds):
        for _ in range(STEPS):
            loop.step(summed=True)
        loop.evaluate()
    return time.perf_counter() - began


def single(member: Member, rounds: int) -> float:
    """Seconds of a configuration by itself, as `train` runs it."""
    began = time.perf_counter()
    avil.train(member.suite, member.method, rounds=rounds, steps_per_round=STEPS)
    return time.perf_counter() - began


def rows() -> Iterator[Row]:
    """The throughput of a stack of 32 over that of the loop and of `train`."""
    torch.set_num_threads(1)
    for name, suite in SUITES.items():
        pays_here = pays(suite) is None
        rounds = ROUNDS if pays_here else ROUNDS // 5
        grid, loop = members(suite, STACKED), PlainLoop(suite)
        turns = [(stacked(grid, rounds), plain(loop, rounds), single(grid[0], rounds)) for _ in range(TURNS + 1)][1:]
        over_loop = statistics.median(loop / stack for stack, loop, _ in turns)
        over_train = statistics.median(one / stack for stack, _, one in turns)
        what = f"a stack of {STACKED} on {name} ({'on' if pays_here else 'off'} by default)"
        yield Row(f"{what} beside a plain loop, configurations a second", over_loop, least=5 if pays_here else None)
        yield Row(f"{what} beside `train`, configurations a second", over_train)
