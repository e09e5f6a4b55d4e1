"""Every random choice derives from (seed, purpose), never from global state or the order of events."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: equal arguments give equal seeds on every machine and Python version."""
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    return np.random.default_rng(derive(seed, *purpose))


def drawn() -> int:
    """A mark of the global generators' state: the same after the same number of draws from the same seed."""
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    states = [torch.random.get_rng_state().numpy(), np.append(keys, position)]
    return hash((tuple(zlib.crc32(state.tobytes()) for state in states), random.getstate()))


def reseed(seed: int, *purpose: str | int) -> None:
    """Seed the global generators of PyTorch, NumPy and Python without restoring them: for use inside `seeded`."""
    derived = derive(seed, *purpose)
    torch.default_generator.manual_seed(derived)
    if torch.cuda.is_available():  # torch.manual_seed does the same, but takes 0.1 ms without a GPU
        torch.cuda.manual_seed_all(derived)
    np.random.seed(derived % 2**32)  # noqa: NPY002
    random.seed(derived)


@contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed the global generators of PyTorch, NumPy and Python inside the block and restore them after it.

    Initialisation, dropout and augmentation draw from them.
    """
    before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002 (third-party code draws from it)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        reseed(seed, *purpose)
        try:
            yield
        finally:
            np.random.set_state(numpy_before)  # noqa: NPY002
            random.setstate(before)
