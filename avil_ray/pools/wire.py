"""The vectors that a pool has in Ray's object store: each is sent once, however many workers read it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from avil_ray.learning.assignment import NOTHING
from avil_ray.learning.judging import Piece
from avil_ray.learning.member import Job
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import Track
from avil_ray.pools.worker import Order, Wired, wired


@dataclass
class Sent:
    """Tracks which vectors are in the store, as long as the vector itself is referenced."""

    _known: dict[int, Any] = field(default_factory=dict)

    def order(
        self, jobs: Sequence[Job], tracks: Mapping[str, Track], number: int, asked: Sequence[tuple[int, Piece]]
    ) -> tuple[Order, list[Wired]]:
        """An order and its vectors; each piece comes with the rank that evaluates it."""
        vectors: list[Wired] = []
        places: dict[int, int] = {}

        def place(theta: Vector) -> int:
            if id(theta) not in places:
                places[id(theta)] = len(vectors)
                vectors.append(self.sent(theta))
            return places[id(theta)]

        used = {job.assignment.track for job in jobs}
        bare = {
            name: (replace(track, theta=NOTHING, best=None), place(track.theta) if name in used else None)
            for name, track in tracks.items()
        }
        pieces = {
            index: (rank, replace(piece, theta=NOTHING), place(piece.theta))
            for index, (rank, piece) in enumerate(asked)
        }
        return Order(number, tuple(jobs), bare, pieces), vectors

    def sent(self, theta: Vector) -> Wired:
        """The vector in the form in which it is sent."""
        if id(theta) not in self._known:
            self._keep(theta, wired(theta))
        known: Wired = self._known.get(id(theta), theta)
        return known

    def received(self, theta: Wired, answers: Callable[[list[Any]], list[Any]]) -> Vector:
        """A vector sent by a worker; `answers` fetches it from the store if needed, or reports its loss."""
        if isinstance(theta, ray.ObjectRef):
            found: Vector = answers([theta])[0]
            self._keep(found, theta)
            return found
        return theta

    def forget(self) -> None:
        """Forget all vectors, as the store may have lost some with a worker."""
        self._known.clear()

    def _keep(self, theta: Vector, wire: Wired) -> None:
        if isinstance(wire, ray.ObjectRef):
            self._known[id(theta)] = wire
            weakref.finalize(theta, self._known.pop, id(theta), None)
