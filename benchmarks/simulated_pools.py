"""Pools of simulated workers, many to a process.

Ray's calls, the object store, messages between ranks, plans, the fit of alpha and what the driver does with vectors are
real; training, evaluation and the sums inside a team are left out. A worker of the `ray` pool takes the calls that a
real one takes, but shares its process with others; a rank of the `train` pool is a thread that meets the others by
gloo.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.cloudpickle import dumps
from torch import Tensor

import avil_ray as avil
from avil_ray.learning.world import World, join, listen
from avil_ray.pools.crew import Crew, Slots
from avil_ray.pools.rank import Rank, serve
from avil_ray.pools.ray_pool import RayPool
from avil_ray.pools.train_pool import TrainPool
from avil_ray.pools.worker import LOOPBACK, Answer, Worker
from benchmarks.simulated import MICRO, Simulated, right

HOSTS, AT_ONCE, PATIENCE = 4, 64, 300.0
"""Processes that hold the workers, calls that each takes at a time, and seconds to wait for an answer."""


class SimulatedWorker(Worker):
    """A worker whose member is simulated. It meets nobody, as sums inside a team are left out."""

    def prepare(self, suite: avil.Suite, seed: int, threads: int, rank: int = 0, folder: str = "") -> int:
        """Load nothing."""
        self._member = Simulated(rank)  # type: ignore[assignment]  # it has what is called
        return os.getpid()

    def listen(self, address: str) -> tuple[str, int]:
        """Nowhere."""
        return address, 0

    def join(self, size: int, address: str, port: int, timeout: float) -> None:
        """Meet nobody."""


class Host:
    """A process with many workers; it counts what they answer where that is asked."""

    def __init__(self) -> None:
        right(MICRO)
        self._workers: dict[int, SimulatedWorker] = {}
        self._count, self._bytes, self._vectors = False, 0, 0

    def start(self, *, count: bool) -> None:
        """Begin anew."""
        self._count, self._bytes, self._vectors = count, 0, 0

    def call(self, rank: int, name: str, *arguments: Any) -> Any:
        """Call a method of a worker, which is made where it is not there yet."""
        value = getattr(self._workers.setdefault(rank, SimulatedWorker()), name)(*arguments)
        if self._count and name != "state":
            small = value
            if isinstance(value, Answer):
                small = replace(value, thetas=[one for one in value.thetas if not isinstance(one, ray.ObjectRef)])
                self._vectors += len(value.thetas) - len(small.thetas)
            self._bytes += len(dumps(small))
        return value

    def answered(self) -> tuple[int, int]:
        """Bytes, and vectors put into the store, so far."""
        return self._bytes, self._vectors


@dataclass
class Given:
    """What a pool's calls have given to workers so far.

    Attributes
    ----------
    count
        Whether anything is counted.
    calls, small
        Calls, and the bytes of arguments that travel with them.
    vectors
        Those in the object store that calls name, each once: a node fetches it once, however many workers read it.
    """

    count: bool
    calls: int = 0
    small: int = 0
    vectors: set[str] = field(default_factory=set)

    def note(self, arguments: Sequence[Any]) -> None:
        """Count a call."""
        self.calls += 1
        for one in arguments:
            if isinstance(one, ray.ObjectRef):
                self.vectors.add(one.hex())
            else:
                self.small += len(dumps(one))


@dataclass(frozen=True)
class Handle:
    """A worker of a host, to be called as Ray's handles are: `handle.perform.remote(…)`."""

    host: Any
    rank: int
    given: Given
    name: str = ""

    def __getattr__(self, name: str) -> Handle:
        return replace(self, name=name)

    def remote(self, *arguments: Any) -> Any:
        """Call the method of this name."""
        if self.given.count:
            self.given.note(arguments)
        return self.host.call.remote(self.rank, self.name, *arguments)


class SimulatedCrew(Crew):
    """A crew whose workers are spread over a few hosts, which outlive it."""

    hosts: Sequence[Any] = ()
    given: Given = Given(count=False)

    def end(self, *, keep_warm: bool = False) -> None:
        """Leave the hosts."""
        self.workers = []

    def _started(self, slot: int) -> Any:
        return Handle(self.hosts[slot % len(self.hosts)], slot, self.given)


@contextmanager
def ray_hosts() -> Iterator[list[Any]]:
    """Processes for the workers of `ray` pools, one pool after another; Ray must be connected."""
    options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": AT_ONCE}
    hosts: list[Any] = [ray.remote(Host).options(**options).remote() for _ in range(HOSTS)]
    yield hosts
    for host in hosts:
        ray.kill(host)


@contextmanager
def ray_workers(made: avil.Suite, count: int, hosts: Sequence[Any], given: Given) -> Iterator[RayPool]:
    """A `ray` pool of so many workers on the hosts."""
    ray.get([host.start.remote(count=given.count) for host in hosts])
    crew = SimulatedCrew(made, 0, 1, Slots(count, {}), PATIENCE)
    crew.hosts, crew.given = hosts, given
    pool = RayPool(made, 0, 1, crew.slots, PATIENCE)
    pool.crew = crew
    with pool:
        yield pool


@dataclass
class Counted:
    """A process group that counts the bytes which it sends and receives."""

    group: Any
    sent: int = 0
    received: int = 0

    def send(self, tensors: Sequence[Tensor], rank: int, tag: int) -> Any:
        """As of the group."""
        self.sent += sum(tensor.nbytes for tensor in tensors)
        return self.group.send(tensors, rank, tag)

    def recv(self, tensors: Sequence[Tensor], rank: int, tag: int) -> Any:
        """As of the group."""
        self.received += sum(tensor.nbytes for tensor in tensors)
        return self.group.recv(tensors, rank, tag)


@contextmanager
def train_ranks(count: int) -> Iterator[tuple[TrainPool, Counted]]:
    """A `train` pool of so many ranks, of which this process is the first, and what that one sends and receives."""
    spawn, listening = multiprocessing.get_context("spawn"), listen(LOOPBACK)
    port = listening.getsockname()[1]
    others = range(1, count)
    hosts = [spawn.Process(target=_host, args=(others[at::HOSTS], count, port), daemon=True) for at in range(HOSTS)]
    for host in hosts:
        host.start()
    try:
        counted = Counted(join(0, count, LOOPBACK, port, PATIENCE, listening=listening)._group)  # noqa: SLF001
        pool = TrainPool(Rank(Simulated(0), World(counted, 0, count), _report))  # type: ignore[arg-type]
        yield pool, counted
        pool.end()
        for host in hosts:
            host.join(PATIENCE)
    finally:
        for host in hosts:
            host.kill()


def _host(ranks: Sequence[int], count: int, port: int) -> None:
    """Serve as these ranks until the run is over."""
    right(MICRO)

    def one(rank: int) -> None:
        world = join(rank, count, LOOPBACK, port, PATIENCE)
        serve(Rank(Simulated(rank), world, _report))  # type: ignore[arg-type]  # it has what is called

    threads = [threading.Thread(target=one, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _report(row: Mapping[str, Any]) -> None:
    """Nobody looks at rounds."""
