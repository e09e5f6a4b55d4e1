"""Plain joint training, to see whether a suite can be learned, and small files in the forms that data come in."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avil_ray.tasks.suite import Suite

Learn = Callable[..., float]
WriteIdx = Callable[..., None]

IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture
def learn() -> Learn:
    return _learn


@pytest.fixture
def write_idx() -> WriteIdx:
    return _write_idx


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file holds it."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def _write_idx(folder: Path, *arrays: np.ndarray, ending: str = "") -> None:
    """Train images, train labels, test images and test labels under their standard names."""
    for name, array in zip(IDX_NAMES, arrays, strict=True):
        content = idx(array)
        (folder / f"{name}{ending}").write_bytes(gzip.compress(content) if ending == ".gz" else content)


def _learn(suite: Suite, seed: int, tasks: Sequence[str], steps: int = 400) -> float:
    """Train on the mean loss of some tasks, dev added to the target's train split; the target's accuracy on test."""
    drawn, generator = suite.draw(seed), torch.Generator().manual_seed(seed)
    target = drawn[suite.target]
    torch.manual_seed(seed)
    model, settings = suite.model(), suite.learning
    data = {name: drawn[name].train.join(target.dev) if name == suite.target else drawn[name].train for name in tasks}
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    for _ in range(steps):
        optimizer.zero_grad()
        for name, examples in data.items():
            rows = torch.randint(len(examples), (settings.batch_size,), generator=generator)
            inputs, labels = examples.batch(rows)
            (F.cross_entropy(model(inputs, name), labels) / len(data)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
    with torch.no_grad():
        return float((model(target.test.inputs, target.name).argmax(dim=1) == target.test.labels).float().mean())
