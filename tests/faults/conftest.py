"""Every test here is a fault: it takes half a minute or more, and needs both of two cores."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disturbed import Sweep, end


@pytest.fixture
def sweep(migrated_store: Path) -> Iterator[Callable[..., Sweep]]:
    """`sweep(seeds=[0])` -> a sweep of `disturbed.SPACE` with these changes; no process outlives the test."""
    made: list[Sweep] = []

    def make(**changes: Any) -> Sweep:
        # short, as Ray's sockets stand in there
        made.append(Sweep(migrated_store.parent, changes, Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))))
        return made[-1]

    yield make
    for one in made:
        for process in one.processes():
            end(process)
        shutil.rmtree(one.temporary, ignore_errors=True)
