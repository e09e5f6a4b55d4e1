"""What a run holds in memory, in vectors of its size, at 4 and 8 tasks: part of `make bench`.

A large encoder (22.6M parameters) and a small one train with SGD, on two workers. A thread looks every 20 ms at what
the kernel counts as private memory of the driver and of its workers, and at what Ray's object store has in use. What
the large run takes more than the small one at most, divided by what its theta takes more, is the number of vectors:
libraries and data take the same in both.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships none
import ray
import torch
from ray._private.internal_api import node_stats
from torch import nn

import avil_ray as avil
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.method import Method
from avil_ray.pools.connection import connected
from benchmarks.encoder import Encoder
from benchmarks.measured import Row
from benchmarks.workers import LEARNING

WORKERS, ROUNDS, EVERY, SMALL, LARGE = 2, 6, 0.02, 24, 384
"""Workers, rounds, seconds between two looks, and the widths of the two encoders."""
KINDS = ("driver", "worker", "store")


def suite(tasks: int, width: int) -> avil.Suite:
    """So many tasks on random tokens."""
    names = tuple("abcdefgh"[:tasks])

    def draw(seed: int) -> list[avil.Task]:
        generator = torch.Generator().manual_seed(seed)

        def examples(count: int) -> avil.Examples:
            tokens = torch.randint(0, 30_000, (count, 8), generator=generator)
            return avil.Examples(tokens, tokens[:, 1] % 2)

        target = avil.Task(names[0], examples(8), examples(8), examples(8), examples(8))
        return [target, *(avil.Task(name, examples(8)) for name in names[1:])]

    def build() -> nn.Module:
        return avil.MultitaskModel(Encoder(width), {name: nn.Linear(width, 2) for name in names})

    learning = replace(LEARNING, batch_size=4)
    return avil.Suite(name="texts", target="a", task_names=names, tasks=draw, model=build, learning=learning)


def private(process: psutil.Process) -> float:
    """Private bytes of a process."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return 1024 * float(next(line for line in lines if line.startswith("RssAnon")).split()[1])


@contextmanager
def watched(peaks: dict[str, float]) -> Iterator[None]:
    """Note the most bytes of the driver, of the worker that holds most, and of the object store, for the block."""
    over, me, node = threading.Event(), psutil.Process(), ray.nodes()[0]

    def look() -> None:
        while not over.wait(EVERY):
            stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
            found = {"driver": private(me), "store": float(stats.store_stats.object_store_bytes_used)}
            for one in me.children(recursive=True):
                try:
                    if one.cmdline()[0].startswith("ray::Worker"):
                        found["worker"] = max(found.get("worker", 0.0), private(one))
                except (OSError, IndexError, StopIteration, psutil.Error):  # it has just ended
                    continue
            for kind, held in found.items():
                peaks[kind] = max(peaks[kind], held)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


def peaks_of(method: Method, tasks: int, width: int) -> tuple[dict[str, float], int, int]:
    """The peaks in bytes, theta's bytes, and the most tracks that a round had."""
    peaks, tracks, made = dict.fromkeys(KINDS, 0.0), list[int](), suite(tasks, width)
    run = {"rounds": ROUNDS, "steps_per_round": 1, "pool": "ray", "workers": WORKERS}
    with connected("local", cpus=4), watched(peaks):
        avil.train(made, method, **run, on_round=lambda done: tracks.append(len(done.run.tracks)))  # type: ignore[arg-type]
    return peaks, 4 * initial_model(made, 0).space.size, max(tracks)


def rows() -> Iterator[Row]:
    """The vectors at most, beside what they should be."""
    methods: Mapping[str, Method] = {"equal": avil.Equal(), "alpha-vil": avil.AlphaVIL()}
    for tasks in (4, 8):
        for name, method in methods.items():
            small, least, _ = peaks_of(method, tasks, SMALL)
            large, most, tracks = peaks_of(method, tasks, LARGE)
            reach = {"driver": 3 * tracks + 2, "worker": 6, "store": WORKERS + tracks}
            for kind in KINDS:
                found = (large[kind] - small[kind]) / (most - least)
                yield Row(f"memory of {name}, {tasks} tasks, {kind}", found, "vectors", most=reach[kind])
