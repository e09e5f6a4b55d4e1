"""Held-out examples: parts that share no source item, within a task and across tasks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def text_key(text: str) -> int:
    """A 63-bit key of a text's letters and digits: equal for texts that differ only in case, spaces and punctuation."""
    letters = re.sub(r"[\W_]+", "", text.lower()) or text
    return int.from_bytes(hashlib.blake2b(letters.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def text_keys(texts: Iterable[str]) -> Integers:
    """The keys of texts, [N]."""
    return np.fromiter(map(text_key, texts), dtype=np.int64)


def cut(groups: Integers, counts: Sequence[int], generator: np.random.Generator) -> list[Integers]:
    """Divide the examples into parts of given sizes and the rest; no group has examples in two of them.

    Groups are shuffled and distributed whole. Surplus examples of a part's last group are dropped. A part is smaller if
    there are not enough examples. The rest is shuffled, so that its first examples come from many groups.

    Parameters
    ----------
    groups
        [N], the group of each example; groups stay together.
    counts
        The number of examples in each part.

    Returns
    -------
    list of arrays
        Row numbers of the part for each count, then of the rest.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    places = generator.permutation(int(numbers.max()) + 1) if len(numbers) else numbers
    order = np.argsort(places[numbers], kind="stable")
    dealt, parts, start = places[numbers][order], [], 0
    for count in counts:
        end = min(start + count, len(order))
        parts.append(order[start:end])
        start = int(np.searchsorted(dealt, dealt[end - 1], side="right")) if end > start else start
    return [*parts, generator.permutation(order[start:])]


def without(keys: Integers, held_out: Integers) -> Integers:
    """The rows of `keys`, [N] or [N, k], without any held-out key."""
    found = np.isin(keys, held_out)
    return np.flatnonzero(~(found if keys.ndim == 1 else found.any(axis=1)))
