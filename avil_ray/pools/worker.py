"""A Ray actor that is one member of a pool, and the messages to and from it.

Long vectors are put into the object store, where every worker on the node reads them in place; short ones are sent with
the call.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import ObjectRef
from torch import Tensor

from avil_ray.learning.assignment import NOTHING, OptimizerState, Part
from avil_ray.learning.judging import Judged, Piece
from avil_ray.learning.learner import Learner
from avil_ray.learning.line import Line, Share
from avil_ray.learning.member import Job, Member
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import Track
from avil_ray.learning.world import join, listen
from avil_ray.pools.reserved import own_device
from avil_ray.tasks.suite import Suite

LARGE = 100_000
"""Vectors of at least this many bytes go through the object store; Ray uses the same limit for results."""

LOOPBACK = "127.0.0.1"
"""The address at which workers on one node connect; no one else can reach it."""

Wired = Vector | ObjectRef[Any]
"""A vector in the form in which it is sent."""


@dataclass(frozen=True)
class Order:
    """A request to all workers, for a round or between rounds; its vectors are sent alongside it.

    Parameters
    ----------
    number
        The round.
    jobs
        All jobs of the round; each worker takes part in those that name it.
    tracks
        Name -> the track without its theta, and theta's index among the vectors; None if no job starts from it.
    pieces
        Place -> the rank that evaluates a piece, the piece without its theta, and theta's index among the vectors.
    """

    number: int
    jobs: Sequence[Job]
    tracks: Mapping[str, tuple[Track, int | None]]
    pieces: Mapping[int, tuple[int, Piece, int]]

    def of(self, rank: int) -> Order:
        """The same order without the pieces of other ranks."""
        return replace(self, pieces={place: piece for place, piece in self.pieces.items() if piece[0] == rank})


@dataclass(frozen=True)
class Answer:
    """A worker's answer: its parts of jobs, their thetas separately, the results of its pieces and their duration."""

    parts: Sequence[Part]
    thetas: Sequence[Wired]
    judged: Mapping[int, tuple[Judged, float]]


class Worker:
    """A member in its own process."""

    def __init__(self) -> None:
        # Ray's handler raises SystemExit, even in a model's forward pass, where it would be taken for the model's error
        signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
        self._member: Member | None = None
        self._listening: socket.socket | None = None

    def prepare(self, suite: Suite, seed: int, threads: int, rank: int = 0, folder: str = "") -> int:
        """Load the model and the data, replacing any previous ones; returns the process id.

        `folder` is the driver's current folder, used for the suite's relative paths if it exists on this node.
        """
        if folder and Path(folder).is_dir():
            os.chdir(folder)
        self._member = Member(Learner(suite, suite.draw(seed), seed, own_device(), threads), rank)
        return os.getpid()

    @property
    def member(self) -> Member:
        """The prepared member."""
        assert self._member is not None
        return self._member

    def node(self) -> str:
        """The id of its node."""
        return str(ray.get_runtime_context().get_node_id())

    def listen(self, address: str) -> tuple[str, int]:
        """Open the address at which the first worker waits for the others: `address`, or this node's if ""."""
        address = address or ray.util.get_node_ip_address()
        self._listening = listen(address)
        return address, self._listening.getsockname()[1]

    def join(self, size: int, address: str, port: int, timeout: float) -> None:
        """Connect to the other workers of the pool, so that teams can be formed."""
        member, listening, self._listening = self.member, self._listening, None
        own = address if address == LOOPBACK else ray.util.get_node_ip_address()
        device = member.learner.flat.device.type
        member.world = join(member.rank, size, address, port, timeout, own=own, device=device, listening=listening)

    def exchange_seconds(self, ranks: tuple[int, ...]) -> float:
        """See `Member.exchange_seconds`."""
        return self.member.exchange_seconds(ranks)

    def state(self, key: str) -> OptimizerState:
        """An optimizer's state kept by this worker."""
        return self.member.kept[key]

    def take_state(self, key: str, state: OptimizerState) -> None:
        """Keep an optimizer's state copied from another worker."""
        self.member.kept[key] = state

    def open_line(self, line: Line, rows: Tensor, start: Vector, *ends: Vector) -> None:
        """See `Member.open_line`."""
        self.member.open_line(line, rows, start, ends)

    def shares(self, alpha: Tensor, numbers: Sequence[int], slope: bool) -> tuple[list[Share], float]:
        """See `Member.shares`; also returns the seconds spent."""
        started = time.perf_counter()
        return self.member.shares(alpha, numbers, slope=slope), time.perf_counter() - started

    def close_line(self) -> None:
        """See `Member.close_line`."""
        self.member.close_line()

    def perform(self, order: Order, *vectors: Vector) -> Answer:
        """Take part in a round: run this worker's jobs, then its pieces."""
        member = self.member
        tracks = {
            name: track if place is None else replace(track, theta=vectors[place])
            for name, (track, place) in order.tracks.items()
        }
        parts, thetas = list[Part](), list[Wired]()
        for part in member.perform(order.jobs, tracks, order.number) if order.jobs else ():
            thetas.append(wired(part.update.theta))
            parts.append(replace(part, update=replace(part.update, theta=NOTHING)))
        judged: dict[int, Any] = {}
        for place, (rank, piece, at) in order.pieces.items():
            if rank == member.rank:
                started = time.perf_counter()
                found = member.judge(replace(piece, theta=vectors[at]))
                judged[place] = found, time.perf_counter() - started
        return Answer(parts, thetas, judged)


def wired(theta: Vector) -> Wired:
    """The vector in the form that is fastest to send."""
    return ray.put(theta) if theta.nbytes >= LARGE else theta
