"""Which examples a suite holds out: parts that share no source item, in a task and across tasks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def text_key(text: str) -> int:
    """Equal for texts that differ in case, spaces and punctuation only: 63 bits of their letters and digits."""
    letters = re.sub(r"[\W_]+", "", text.lower()) or text
    return int.from_bytes(hashlib.blake2b(letters.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def text_keys(texts: Iterable[str]) -> Integers:
    """The keys of texts, [N]."""
    return np.fromiter(map(text_key, texts), dtype=np.int64)


def cut(groups: Integers, counts: Sequence[int], generator: np.random.Generator) -> list[Integers]:
    """Parts of the examples, each of so many, and the rest; no group has examples in two of them.

    Groups are shuffled and dealt out whole. What is left of the last group of a part goes to none. A part has fewer
    examples where there are no more. The rest is shuffled, so that its first examples are of many groups.

    Parameters
    ----------
    groups
        [N]: examples of one number stay together.
    counts
        How many examples each part has.

    Returns
    -------
    list of arrays
        Row numbers: a part for each count, then the rest.
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
    """The rows of `keys`, [N] or [N, k], none of whose keys is held out."""
    found = np.isin(keys, held_out)
    return np.flatnonzero(~(found if keys.ndim == 1 else found.any(axis=1)))
