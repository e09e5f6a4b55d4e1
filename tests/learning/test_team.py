"""A sum over a team has the bits of the same tree in one process; between real processes, over gloo."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from avil_ray.learning.team import Team, middle, shares
from avil_ray.learning.world import World, join, listen

LENGTH, GONE = 100, "gone"


def vector(unit: int) -> Tensor:
    """Vectors of very different scales: their sum shows the order in which they are added."""
    return torch.randn(LENGTH, generator=torch.Generator().manual_seed(unit)) * 10.0 ** ((7 * unit) % 5)


def tree(first: int, last: int) -> Tensor:
    """The definition, written out."""
    if last - first == 1:
        return vector(first)
    return tree(first, middle(first, last)) + tree(middle(first, last), last)


def summed(team: Team, units: int) -> Tensor:
    total = torch.zeros(LENGTH)
    team.sum(units, lambda unit: total.add_(vector(unit)), total)
    return total


@pytest.mark.parametrize("units", [1, 2, 3, 5, 8, 13])
def test_one_worker_sums_the_tree(units: int) -> None:
    assert summed(Team(), units).equal(tree(0, units))


def test_the_test_would_detect_another_order_of_the_sum() -> None:
    one_by_one = torch.stack([vector(unit) for unit in range(13)]).sum(0)
    assert not one_by_one.equal(tree(0, 13))


@pytest.mark.parametrize("units", range(1, 12))
@pytest.mark.parametrize("workers", range(1, 8))
def test_shares_cover_all_units_in_order_and_are_whole_nodes(units: int, workers: int) -> None:
    found = shares(0, units, workers)
    assert [unit for share in found for unit in share] == list(range(units))
    assert len(found) <= workers
    nodes = {(0, units)}
    for first, last in [(0, units)] * units:
        nodes |= {half for node in nodes if node[1] - node[0] > 1 for half in _halves(*node)}
        assert first < last
    assert all((share.start, share.stop) in nodes for share in found)
    more = shares(0, units, workers + 1)
    assert max(map(len, more)) <= max(map(len, found))


def test_shares_of_hundreds_of_workers_are_computed_quickly() -> None:
    assert shares(5, 261, 256) == tuple(range(unit, unit + 1) for unit in range(5, 261))


def _halves(first: int, last: int) -> list[tuple[int, int]]:
    return [(first, middle(first, last)), (middle(first, last), last)]


def in_processes(size: int, work: Callable[[World, int], Any]) -> list[Any]:
    """What `work` gives in each of so many processes that have met."""
    context, listening = multiprocessing.get_context("fork"), listen("127.0.0.1")
    port, answers, done = listening.getsockname()[1], context.Queue(), context.Event()

    def run(rank: int) -> None:
        torch.set_num_threads(1)
        own = socket.socket(fileno=os.dup(listening.fileno())) if rank == 0 else None
        world = join(rank, size, "127.0.0.1", port, 20.0, listening=own)
        found = work(world, rank)
        answers.put((rank, found))
        if found != GONE:
            done.wait(60)  # who leaves early takes its connections with it

    processes = [context.Process(target=run, args=(rank,)) for rank in range(size)]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=60) for _ in processes)
    done.set()
    for process in processes:
        process.join()
    listening.close()
    return [found[rank] for rank in range(size)]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_several_processes_sum_the_same_tree_and_all_of_them_have_it(size: int) -> None:
    def work(world: World, rank: int) -> list[list[float]]:
        return [summed(Team(tuple(range(size)), rank, world), units).tolist() for units in (1, 2, 4, 7, 8)]

    expected = [tree(0, units).tolist() for units in (1, 2, 4, 7, 8)]
    assert in_processes(size, work) == [expected] * size


def test_a_team_may_be_a_part_of_the_world() -> None:
    def work(world: World, rank: int) -> list[float]:
        ranks = (0, 2) if rank in (0, 2) else (1, 3)
        team = Team(ranks, ranks.index(rank), world)
        assert team.tell({"from": rank} if team.place == 1 else None, 1) == {"from": ranks[1]}
        return summed(team, 5 + ranks[0]).tolist()

    found = in_processes(4, work)
    assert found == [tree(0, 5 + first).tolist() for first in (0, 1, 0, 1)]


def test_all_reduce_agrees_up_to_rounding() -> None:
    def work(world: World, rank: int) -> list[float]:
        return summed(Team((0, 1, 2), rank, world, "all_reduce"), 7).tolist()

    found = in_processes(3, work)
    assert found[0] == found[1] == found[2]
    torch.testing.assert_close(torch.tensor(found[0]), tree(0, 7), rtol=1e-5, atol=1e-2)


def test_the_owners_values_reach_every_member() -> None:
    def work(world: World, rank: int) -> list[float]:
        team, values = Team((0, 1, 2), rank, world), torch.full((3,), float(rank))
        assert team.waited == 0
        team.share(values, 2)
        assert team.waited > 0
        return values.tolist()

    assert in_processes(3, work) == [[2.0] * 3] * 3


def test_a_member_that_dies_ends_the_sum_of_the_others() -> None:
    def work(world: World, rank: int) -> str:
        if rank == 1:
            return GONE
        with pytest.raises(RuntimeError):
            summed(Team((0, 1), rank, world), 2)
        return "told"

    assert in_processes(2, work) == ["told", GONE]
