"""Plain objects between processes: what arrives is what was sent, and large arrays are not pickled."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from torch.distributed import HashStore, PrefixStore, ProcessGroupGloo  # type: ignore[attr-defined]

from avil_ray.learning.world import World
from avil_ray.pools import messages
from avil_ray.pools.messages import receive, send, tell

VALUES: list[Any] = [
    {"name": "left", "steps": 3, "nothing": None},
    np.arange(10_000, dtype=np.float32),
    [np.arange(5000.0), np.arange(3), {"inner": np.ones((40, 50), np.float32)}],
    (),
]


def worlds(size: int, run: Any) -> list[Any]:
    """What `run` gives on each rank of a world of threads."""
    store, found = HashStore(), [None] * size

    def one(rank: int) -> None:
        group = ProcessGroupGloo(PrefixStore("test", store), rank, size)
        found[rank] = run(World(group, rank, size, store))

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def same(found: Any, expected: Any) -> None:
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize("size", [2, 3])
def test_all_ranks_receive_the_first_ranks_value(size: int) -> None:
    def run(world: World) -> list[Any]:
        return [tell(world, value if world.rank == 0 else None) for value in VALUES]

    for found in worlds(size, run):
        same(found, VALUES)


def test_one_rank_sends_to_another_and_what_arrives_may_be_written_to() -> None:
    def run(world: World) -> list[Any]:
        if world.rank == 1:
            for value in VALUES:
                send(world, value, 0)
            return []
        return [receive(world, 1) for _ in VALUES]

    found = worlds(2, run)[0]
    same(found, VALUES)
    found[1][0] = 7
    assert found[1][0] == 7


def test_an_array_that_appears_twice_is_sent_once_and_long_arrays_are_not_pickled() -> None:
    theta = np.arange(10_000, dtype=np.float32)
    head, *arrays = messages._taken_apart({"track": theta, "question": theta, "small": np.arange(3)})
    assert [len(array) for array in arrays] == [theta.nbytes]
    assert len(head) < messages.SMALL
    assert arrays[0].data_ptr() == theta.ctypes.data
