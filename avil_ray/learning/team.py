"""Several workers on one assignment: who computes which part of a step, and a sum whose bits do not depend on it.

A step's gradients are summed along one fixed binary tree over its units (a task's micro-batch, or a task). Each worker
of a team has the units below one node of the tree and adds them locally; one vector is sent for each node above. A team
of one sums along the same tree.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from avil_ray.learning.world import World

Reduction = Literal["tree", "all_reduce"]
"""How a team sums gradients. tree: bit-identical to a single worker. all_reduce: sums the workers' local sums in the
order that the communication library chooses; faster for large teams and on GPUs."""


def middle(first: int, last: int) -> int:
    """The index at which the tree splits the units `first` … `last - 1`; the left half is never the smaller one."""
    return first + (last - first + 1) // 2


def shares(first: int, last: int, workers: int) -> tuple[range, ...]:
    """The units of each worker, in order: whole nodes of the tree, with the largest share as small as possible.

    There are fewer shares than workers if more would not make the largest smaller.

    Examples
    --------
    >>> shares(0, 5, 2)
    (range(0, 3), range(3, 5))
    """
    ends = list(accumulate(_sizes(last - first, workers), initial=first))
    return tuple(map(range, ends, ends[1:]))


@lru_cache(maxsize=1 << 16)
def _sizes(units: int, workers: int) -> tuple[int, ...]:
    """The lengths of the shares; they do not depend on the first unit."""
    if workers == 1 or units <= 1:
        return (units,)
    left = middle(0, units)
    parted = [_sizes(left, here) + _sizes(units - left, workers - here) for here in range(1, workers)]
    return min([(units,), *parted], key=lambda found: (max(found), len(found)))


@dataclass
class Team:
    """A worker's place in the team that runs one assignment.

    Attributes
    ----------
    ranks
        The members' ranks in the world, in the order of their shares.
    place
        This worker's index in `ranks`; the first one leads and returns theta.
    waited
        Seconds spent waiting for other members so far.
    """

    ranks: tuple[int, ...] = (0,)
    place: int = 0
    world: World | None = None
    reduction: Reduction = "tree"
    waited: float = 0.0
    _stash: list[Tensor] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self.ranks)

    @property
    def leads(self) -> bool:
        """Whether this member leads the team."""
        return self.place == 0

    def shares(self, units: int) -> tuple[range, ...]:
        """The units of each member that has some."""
        return shares(0, units, self.size)

    def owner(self, unit: int, units: int) -> int:
        """The place of the member that has the unit."""
        return next(place for place, share in enumerate(self.shares(units)) if unit in share)

    def mine(self, units: int) -> range:
        """The units of this member; none if there are more members than shares."""
        found = self.shares(units)
        return found[self.place] if self.place < len(found) else range(0)

    def sum(self, units: int, add: Callable[[int], None], total: Tensor) -> None:
        """Leave the sum over all units in `total` [P], which must be zero; the result is the same on every member.

        `add(unit)` adds a unit's vector to `total`, in place; it is called for this member's units only.
        """
        parts = self.shares(units)
        local = self.reduction == "all_reduce" and self.size > 1
        if self.place < len(parts):
            mine = parts[self.place]
            self._sum((mine.start, mine.stop) if local else (0, units), parts, add, total)
        if local:
            assert self.world is not None
            self._wait(lambda: self.world.all_reduce(total, self.ranks))  # type: ignore[union-attr]
        elif len(parts) < self.size:  # members without units receive the sum from the others
            self._spread(total, len(parts))

    def _sum(self, node: tuple[int, int], parts: tuple[range, ...], add: Callable[[int], None], total: Tensor) -> None:
        """Compute the sum below a node of the tree that this member has a part of."""
        (first, last), mine = node, parts[self.place]
        if last - first == 1:
            add(first)
            return
        at = middle(first, last)
        if mine.start <= first and last <= mine.stop:
            self._sum((first, at), parts, add, total)
            if last - at == 1:  # adding in place gives the same bits as adding two sums
                add(at)
            else:
                self.apart(lambda: self._sum((at, last), parts, add, total), total)
            return
        left = mine.stop <= at
        self._sum((first, at) if left else (at, last), parts, add, total)
        sides = [
            [i for i, part in enumerate(parts) if lower <= part.start and part.stop <= upper]
            for lower, upper in ((first, at), (at, last))
        ]
        self._exchange(total, *(sides if left else sides[::-1]))

    def apart(self, add: Callable[[], None], total: Tensor) -> None:
        """Add to `total` what `add` sums up starting from zero: (a) + (b + c), not (a + b) + c."""
        before = self._stash.pop() if self._stash else torch.empty_like(total)
        before.copy_(total)
        total.zero_()
        add()
        total.add_(before)
        self._stash.append(before)

    def _exchange(self, total: Tensor, own: list[int], other: list[int]) -> None:
        """Add the other side's sum; each member sends its own to those that depend on it for it."""
        world, index = self.world, own.index(self.place)
        assert world is not None
        received = self._stash.pop() if self._stash else torch.empty_like(total)
        receivers = [self.ranks[place] for at, place in enumerate(other) if at % len(own) == index]
        source = self.ranks[other[index % len(other)]]
        self._wait(lambda: world.exchange(total, receivers, received, source))
        total.add_(received)
        self._stash.append(received)

    def _spread(self, total: Tensor, having: int) -> None:
        """Send the sum of the first `having` members to the remaining ones."""
        world = self.world
        assert world is not None
        if self.place >= having:
            source = self.ranks[self.place % having]
            self._wait(lambda: world.exchange(None, [], total, source))
            return
        receivers = [self.ranks[place] for place in range(having, self.size) if place % having == self.place]
        self._wait(lambda: world.exchange(total, receivers, None, 0))

    def share(self, values: Tensor, owner: int) -> Tensor:
        """The owner's values, written into `values` of the other members."""
        world = self.world
        if self.size > 1:
            assert world is not None
            self._wait(lambda: world.spread(values, [self.ranks[(owner + i) % self.size] for i in range(self.size)]))
        return values

    def tell(self, value: Any, owner: int) -> Any:
        """The owner's value, a small plain object, on all members."""
        if self.size == 1:
            return value
        mine = self.place == owner
        text = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8) if mine else torch.empty(0)
        length = self.share(torch.tensor([len(text)]), owner)
        text = text if mine else torch.empty(int(length), dtype=torch.uint8)
        # only from members of the same run, never from a file
        return pickle.loads(self.share(text, owner).numpy().tobytes())  # noqa: S301

    def _wait(self, communicate: Callable[[], None]) -> None:
        started = time.perf_counter()
        communicate()
        self.waited += time.perf_counter() - started


ALONE = Team()
"""A team of one."""
