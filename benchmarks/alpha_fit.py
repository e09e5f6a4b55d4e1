"""What one evaluation of alpha's objective costs, beside a plain pass over the same batch: part of `make bench`.

An encoder of 22.6M parameters, 4 and 8 deltas, a batch of 16 or 64 texts of 64 tokens: what deltas add depends on P and
n alone, so it weighs less beside a larger batch. A plain pass is forward and backward of an ordinary module in
evaluation mode. The two take turns; a ratio is the median over turns. On a GPU where there is one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch
from torch import nn

from avil_ray.learning.line import Dev, Line, LocalLine, Points
from avil_ray.learning.line import Row as Scaled
from avil_ray.learning.parameters import FlatModel
from avil_ray.learning.passes import Source
from avil_ray.models.multitask import MultitaskModel
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.task import Task
from benchmarks.encoder import Encoder
from benchmarks.measured import Row

LENGTH, TURNS = 64, 9
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def model() -> MultitaskModel:
    """The encoder with one task's head."""
    return MultitaskModel(Encoder(), {"a": nn.Linear(384, 2)}).to(DEVICE)


def plain(examples: Examples) -> Callable[[], object]:
    """A pass of an ordinary module, whose gradients are zeroed in place."""
    network, tokens, labels = model().eval(), examples.inputs.to(DEVICE), examples.labels.to(DEVICE)

    def run() -> None:
        network.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(network(tokens, "a"), labels).backward()

    return run


def ours(examples: Examples, deltas: int) -> Callable[[], object]:
    """One evaluation as the fit makes it: a point on the line, a pass, and a slope for each delta."""
    flat = FlatModel(model(), DEVICE)
    start, generator = flat.vector(), np.random.default_rng(0)
    ends = [start + 1e-3 * generator.standard_normal(len(start), dtype=np.float32) for _ in range(deltas)]
    line = Line(tuple(Scaled(index, (slice(0, len(start)),)) for index in range(deltas)))
    learning = Learning(evaluation_batch=len(examples))
    dev = Dev(Source(Task("a", examples), "train"), torch.arange(len(examples)), learning, 0)
    along, alpha = LocalLine(flat, Points(line, start, ends, DEVICE), dev), torch.full((deltas,), 1 / deltas)
    return lambda: along.evaluate(alpha)


def seconds(run: Callable[[], object]) -> float:
    """Seconds of one call, until the device has done all that it was given."""
    started = time.perf_counter()
    run()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def rows() -> Iterator[Row]:
    """The ratios."""
    torch.set_num_threads(1)
    for deltas, size in product((4, 8), (16, 64)):
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(1000, 30_000, (size, LENGTH), generator=generator)
        examples = Examples(tokens, tokens[:, 1] % 2)
        pair = plain(examples), ours(examples, deltas)
        turns = [(seconds(pair[0]), seconds(pair[1])) for _ in range(TURNS + 1)][1:]
        ratio = statistics.median(own / bare for bare, own in turns)
        yield Row(f"an evaluation of alpha / a plain pass, {deltas} deltas, {size} texts", ratio)
