"""An evaluator of several workers, for tests: each has its own model and data, and pieces come in any order."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

import avil_ray as avil
from avil_ray.learning.judging import Judged, Piece, judge
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.passes import Source


class Worker:
    """Draws the tasks and builds the model for itself, and starts from another theta than the one it will be given."""

    def __init__(self, suite: avil.Suite, seed: int) -> None:
        self.suite, self.seed = suite, seed
        self.task = suite.draw(seed)[suite.target]
        self.flat = initial_model(suite, seed + 1)

    def judge(self, piece: Piece) -> Judged:
        return judge(self.flat, Source(self.task, *piece.splits), piece, self.suite.learning, self.seed)


@dataclass
class Sharing:
    """Deals pieces to workers in an order of its own; what they come to travels as bytes.

    Attributes
    ----------
    calls
        For each call, the different thetas that it was asked about.
    """

    suite: avil.Suite
    seed: int
    workers: int = 3
    order: int = 0
    calls: list[list[np.ndarray]] = field(default_factory=list)

    def judge(self, pieces: Sequence[Piece], /) -> list[Judged]:
        self.calls.append(list({id(piece.theta): piece.theta for piece in pieces}.values()))
        workers = [Worker(self.suite, self.seed) for _ in range(self.workers)]
        generator, found = random.Random(self.order), {}
        for place in generator.sample(range(len(pieces)), len(pieces)):
            piece = replace(pieces[place], theta=np.array(pieces[place].theta))
            found[place] = pickle.loads(pickle.dumps(generator.choice(workers).judge(piece)))
        return [found[place] for place in range(len(pieces))]

    def line(self, *_: object) -> None:
        return None
