"""The dev loss along a round's deltas, computed by a pool's workers: only alpha and the slopes are sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from torch import Tensor

from avil_ray.learning.line import Dev, Line, LineLoss, Share
from avil_ray.learning.parameters import Vector
from avil_ray.pools.crew import Crew
from avil_ray.pools.wire import Sent


class RayLine(LineLoss):
    """Distributes the pieces of the dev rows over the workers; the vectors are read in place from the object store.

    Parameters
    ----------
    spent
        Called after each evaluation with the seconds that workers have worked and that the driver has waited.
    """

    def __init__(
        self,
        crew: Crew,
        sent: Sent,
        line: Line,
        start: Vector,
        ends: Sequence[Vector],
        dev: Dev,
        spent: Callable[[float, float], None],
    ) -> None:
        super().__init__(len(dev.rows))
        self._crew, self._spent = crew, spent
        numbers, size = range(len(dev.pieces)), len(crew.workers)
        self._numbers = {rank: numbers[rank::size] for rank in range(min(size, len(numbers)))}
        vectors = [sent.sent(vector) for vector in (start, *ends)]
        workers = [crew.workers[rank] for rank in self._numbers]
        crew.answers([worker.open_line.remote(line, dev.rows, *vectors) for worker in workers])

    def shares(self, alpha: Tensor, *, slope: bool) -> list[Share]:
        """The share of each piece at theta(alpha), in the order of the pieces."""
        started, workers = time.perf_counter(), self._crew.workers
        asked = [workers[rank].shares.remote(alpha, list(part), slope) for rank, part in self._numbers.items()]
        answers = self._crew.answers(asked)
        self._spent(sum(seconds for _, seconds in answers), time.perf_counter() - started)
        found: dict[int, Share] = {}
        for part, (each, _) in zip(self._numbers.values(), answers, strict=True):
            found.update(zip(part, each, strict=True))
        return [found[number] for number in sorted(found)]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let the workers release the vectors."""
        if kind is None:
            self._crew.answers([self._crew.workers[rank].close_line.remote() for rank in self._numbers])
