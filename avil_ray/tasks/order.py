"""In what order examples come: a pure function of the seed, the purpose and the step."""

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

    The stream is one fresh permutation of the rows after another, cut into batches of exactly `batch_size`; a batch may
    span two of them, or more where there are fewer rows than places in it. With `replacement`, each place of a batch is
    drawn from all rows by itself instead. Batch k depends only on (seed, purpose, k), so a run may stop after any step
    and go on elsewhere.
    """
    if replacement:
        for step in range(first, first + steps):
            drawn = numpy_generator(seed, *purpose, "replacement", step).integers(len(rows), size=batch_size)
            yield rows[torch.from_numpy(drawn)]
        return
    epochs: dict[int, Tensor] = {}

    def epoch(number: int) -> Tensor:
        if number not in epochs:
            order = numpy_generator(seed, *purpose, "order", number).permutation(len(rows))
            epochs[number] = rows[torch.from_numpy(order)]
        return epochs[number]

    for step in range(first, first + steps):
        places = torch.arange(step * batch_size, (step + 1) * batch_size)
        passes = places // len(rows)
        yield torch.cat([epoch(int(number))[places[passes == number] % len(rows)] for number in passes.unique()])
        for finished in [number for number in epochs if number < int(passes[-1])]:
            del epochs[finished]
