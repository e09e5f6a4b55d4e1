"""What a worker is asked: an order without what others do."""

from __future__ import annotations

import torch

from avil_ray.learning.assignment import NOTHING
from avil_ray.learning.judging import Piece
from avil_ray.pools.worker import Order


def test_an_order_sends_each_worker_only_its_own_pieces() -> None:
    pieces = {place: (place % 3, Piece(("select",), (torch.tensor([place]),), place, NOTHING), 0) for place in range(7)}
    order = Order(4, (), {}, pieces)
    mine = order.of(1)
    assert mine.pieces == {place: pieces[place] for place in (1, 4)}
    assert (mine.number, mine.jobs, mine.tracks) == (order.number, order.jobs, order.tracks)
