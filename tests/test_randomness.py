"""Randomness derives from (seed, purpose) alone, and leaves PyTorch's own generators as they were."""

import hashlib
import itertools
from contextlib import suppress

import numpy as np
import torch

from avil_ray.randomness import derive, numpy_generator, torch_seeded

PURPOSES = [(), ("a",), ("b",), ("a", "b"), ("ab",), ("a", 1), ("a1",), (1, "a"), (11,), (1, 1)]


def test_a_seed_is_the_hash_of_its_purpose() -> None:
    """Against hashing by hand: other numbers would change every result ever published."""
    digest = hashlib.blake2b(b"7\x1fround\x1f3", digest_size=8).hexdigest()
    assert derive(7, "round", 3) == int(digest, 16) // 2
    assert derive(0) == 4761921975702974394


def test_purposes_do_not_collide() -> None:
    seeds = {derive(seed, *purpose) for seed, purpose in itertools.product(range(200), PURPOSES)}
    assert len(seeds) == 200 * len(PURPOSES)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_look_uniform() -> None:
    top = np.bincount([derive(seed, "x") >> 60 for seed in range(4000)], minlength=8)
    assert top.min() > 400
    assert len(top) == 8


def test_generators_of_one_purpose_are_equal_and_independent() -> None:
    first, second = numpy_generator(1, "order", 2), numpy_generator(1, "order", 2)
    expected = first.random(5)
    assert np.array_equal(second.random(5), expected)
    assert not np.array_equal(numpy_generator(1, "order", 3).random(5), expected)


def test_inside_the_block_only_seed_and_purpose_count() -> None:
    drawn = []
    for before in (1, 2):
        torch.manual_seed(before)
        with torch_seeded(5, "dropout"):
            drawn.append(torch.rand(4))
    with torch_seeded(5, "other"):
        assert not torch.equal(torch.rand(4), drawn[0])
    assert torch.equal(*drawn)


def test_after_the_block_the_generator_goes_on_as_if_nothing_had_been() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with torch_seeded(5, "x"):
        torch.rand(100)
    assert torch.equal(torch.rand(4), expected)


def test_an_error_inside_the_block_restores_too() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with suppress(ZeroDivisionError), torch_seeded(5, "x"):
        torch.rand(int(1 / 0))
    assert torch.equal(torch.get_rng_state(), before)
