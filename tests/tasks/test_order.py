"""In what order examples come."""

from __future__ import annotations

import pytest
import torch

from avil_ray.tasks.order import batches

ROWS = torch.tensor([3, 5, 8, 13, 21, 34, 55])


def stream(first: int, steps: int, size: int, seed: int = 0, purpose: str = "x") -> list[list[int]]:
    return [rows.tolist() for rows in batches(ROWS, size, first, steps, seed, purpose)]


@pytest.mark.parametrize("size", [1, 3, 7, 8, 20])
def test_the_stream_is_one_permutation_after_another(size: int) -> None:
    rows = [row for batch in stream(0, 42, size) for row in batch]
    passes = [tuple(rows[start : start + 7]) for start in range(0, len(rows) - 6, 7)]
    assert all(sorted(one) == ROWS.tolist() for one in passes)
    assert len(set(passes)) > len(passes) / 2, "passes differ in their order"
    assert all(len(batch) == size for batch in stream(0, 42, size))


@pytest.mark.parametrize("size", [1, 3, 8, 20])
@pytest.mark.parametrize("first", [1, 2, 7, 30])
def test_the_stream_starts_anywhere(first: int, size: int) -> None:
    assert stream(first, 5, size) == stream(0, first + 5, size)[first:]


def test_seed_and_purpose_make_the_order() -> None:
    assert stream(0, 3, 4) == stream(0, 3, 4)
    assert stream(0, 3, 4, seed=1) != stream(0, 3, 4)
    assert stream(0, 3, 4, purpose="y") != stream(0, 3, 4)


def test_no_steps_no_batches() -> None:
    assert stream(4, 0, 4) == []
