"""The workers of a pool as a PyTorch process group: they exchange vectors without Ray."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed
from torch import Tensor

_dist: Any = torch.distributed  # its type stubs lack many of its classes


class PeerLost(RuntimeError):
    """Another rank no longer answers: it died, hangs, or failed."""


@contextmanager
def _among_peers() -> Iterator[None]:
    """A context for communication between ranks; PyTorch has no specific error for a lost rank."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(str(error)) from error


class World:
    """One rank of a process group. Its methods raise `PeerLost` if another rank does not answer.

    Parameters
    ----------
    group
        A `torch.distributed` process group.
    rank, size
        This process's number in the group, and the number of processes.
    store
        The store through which smaller groups of its members connect; None if there are none.
    """

    def __init__(self, group: Any, rank: int, size: int, store: Any = None) -> None:
        self.rank, self.size = rank, size
        self._group, self._store = group, store
        self._teams: dict[tuple[int, ...], Any] = {}

    @_among_peers()
    def exchange(self, sent: Tensor | None, receivers: Sequence[int], received: Tensor | None, source: int) -> None:
        """Send one tensor to some ranks while receiving another from `source`."""
        works = [] if received is None else [self._group.recv([received], source, 0)]
        works += [self._group.send([sent], rank, 0) for rank in receivers]
        for work in works:
            work.wait()

    @_among_peers()
    def spread(self, values: Tensor, ranks: Sequence[int]) -> None:
        """Broadcast `values` from the first of these ranks into the others' `values`, along a tree."""
        place, reach = ranks.index(self.rank), 1
        while reach < len(ranks):
            if place < reach and place + reach < len(ranks):
                self._group.send([values], ranks[place + reach], 0).wait()
            elif reach <= place < 2 * reach:
                self._group.recv([values], ranks[place - reach], 0).wait()
            reach *= 2

    @_among_peers()
    def all_reduce(self, values: Tensor, ranks: tuple[int, ...]) -> None:
        """Replace `values` on each of these ranks by the sum over all of them, in an order that the library chooses."""
        self._team(ranks).allreduce([values]).wait()

    def _team(self, ranks: tuple[int, ...]) -> Any:
        """The group of these ranks; all of them must call this at the same time."""
        if len(ranks) == self.size:
            return self._group
        if ranks not in self._teams:
            assert self._store is not None
            store = _dist.PrefixStore(f"team {ranks}", self._store)
            self._teams[ranks] = type(self._group)(store, ranks.index(self.rank), len(ranks), self._group.options)
        return self._teams[ranks]


def listen(address: str) -> socket.socket:
    """A socket on which the first rank waits for the others, bound to one address of this machine."""
    listening = socket.create_server((address, 0))
    listening.setblocking(True)
    return listening


@_among_peers()
def join(
    rank: int,
    size: int,
    address: str,
    port: int,
    timeout: float,
    *,
    own: str = "127.0.0.1",
    device: str = "cpu",
    listening: socket.socket | None = None,
) -> World:
    """Join the other ranks at the first one's address: with gloo on CPU, with NCCL on GPUs.

    Parameters
    ----------
    address, port
        The address and port of the first rank.
    timeout
        Seconds after which a rank that does not answer is considered lost.
    own
        This machine's address, at which the other ranks reach this one.
    listening
        The first rank's own socket.

    Raises
    ------
    PeerLost
        They do not join in time.
    """
    patience = timedelta(seconds=timeout)
    file = None if listening is None else listening.detach()
    store = _dist.TCPStore(address, port, size, rank == 0, patience, False, master_listen_fd=file)
    if device == "cpu":
        options = _dist.ProcessGroupGloo._Options()  # noqa: SLF001 (the only way to choose the listening address)
        options._devices = [_dist.ProcessGroupGloo.create_device(hostname=own)]  # noqa: SLF001
        options._timeout = patience  # noqa: SLF001
        group: Any = _dist.ProcessGroupGloo(_dist.PrefixStore("world", store), rank, size, options)
    else:
        options = _dist.ProcessGroupNCCL.Options()
        options._timeout = patience  # noqa: SLF001
        group = _dist.ProcessGroupNCCL(_dist.PrefixStore("world", store), rank, size, options)
    return World(group, rank, size, store)
