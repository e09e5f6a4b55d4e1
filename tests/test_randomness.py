"""Randomness derives from (seed, purpose) alone, and leaves PyTorch's own generators as they were."""

import hashlib
import itertools
import random
from contextlib import suppress

import numpy as np
import torch

from avil_ray.randomness import derive, numpy_generator, reseed, seeded

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


def drawn() -> list[float]:
    """A few numbers from each global generator."""
    return [*torch.rand(2).tolist(), *np.random.random(2), random.random(), random.random()]  # noqa: NPY002


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def test_inside_the_block_only_seed_and_purpose_count() -> None:
    found = []
    for before in (1, 2):
        seed_all(before)
        with seeded(5, "dropout"):
            found.append(drawn())
    with seeded(5, "other"):
        assert not set(drawn()) & set(found[0])
    assert found[0] == found[1]


def test_after_the_block_the_generators_go_on_as_if_nothing_had_been() -> None:
    seed_all(3)
    expected = drawn()
    seed_all(3)
    with seeded(5, "x"):
        drawn()
    assert drawn() == expected


def test_an_error_inside_the_block_restores_too() -> None:
    seed_all(3)
    expected = drawn()
    seed_all(3)
    with suppress(ZeroDivisionError), seeded(5, "x"):
        torch.rand(int(1 / 0))
    assert drawn() == expected


def test_inside_the_block_torch_draws_as_after_its_own_seeding() -> None:
    with seeded(5, "x"):
        found = torch.rand(4)
    torch.manual_seed(derive(5, "x"))
    assert torch.equal(torch.rand(4), found)


def test_seeding_again_within_a_block_gives_what_a_block_of_its_own_gives() -> None:
    blocks = []
    for number in range(3):
        with seeded(5, "evaluation", number):
            blocks.append(drawn())
    seed_all(3)
    expected = drawn()
    seed_all(3)
    again = {}
    with seeded(5, "evaluation"):
        for number in (2, 0, 1):
            reseed(5, "evaluation", number)
            again[number] = drawn()
    assert [again[number] for number in range(3)] == blocks
    assert drawn() == expected, "what was before the block comes after it"
