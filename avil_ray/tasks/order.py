"""The order of examples: a pure function of the seed, the purpose and the step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from avil_ray.randomness import numpy_generator


def batches(
    rows: Tensor,
    batch_size: int,
    first: int,
    steps: int,
    seed: int,
    *purpose: str | int,
    replacement: bool = False,
) -> Iterator[Tensor]:
    """Batches `first` … `first + steps - 1` of an endless shuffled stream over `rows`.

    The stream is a sequence of random permutations of the rows, split into batches of exactly `batch_size`; a batch may
    span two permutations, or more if it is larger than the number of rows. With `replacement`, each position of a batch
    is drawn independently from all rows instead. Batch k depends only on (seed, purpose, k), so a run can stop after
    any step and continue elsewhere.
    """
    if replacement:
        for step in range(first, first + steps):
            drawn = numpy_generator(seed, *purpose, "replacement", step).integers(len(rows), size=batch_size)
            yield rows[torch.from_numpy(drawn)]
        return
    number, permuted = -1, rows
    for step in range(first, first + steps):
        place, parts, missing = step * batch_size, [], batch_size
        while missing:
            if place // len(rows) != number:
                number = place // len(rows)
                order = numpy_generator(seed, *purpose, "order", number).permutation(len(rows))
                permuted = rows[torch.from_numpy(order)]
            start = place % len(rows)
            part = permuted[start : start + missing]
            parts.append(part)
            place, missing = place + len(part), missing - len(part)
        yield parts[0] if len(parts) == 1 else torch.cat(parts)
