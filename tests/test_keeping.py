"""Where a run without storage goes back to."""

from __future__ import annotations

import time

import numpy as np
import small

from avil_ray.checkpoint_writer import SMALL
from avil_ray.keeping import InMemory
from avil_ray.learning.track import MAIN, Track
from avil_ray.methods.method import Memory, Run, Setting

SUITE = small.constant_suite()
SETTING = Setting(SUITE, SUITE.draw(0), 3, 1)


def of_size(size: int) -> Run:
    return Run(SETTING, {MAIN: Track(np.zeros(size, np.float32))}, Memory())


def test_a_small_run_is_kept_after_every_round_but_the_last() -> None:
    start, later = of_size(SMALL - 1), of_size(SMALL - 1)
    keeper = InMemory(start, 3600.0)
    assert keeper.last() is start
    assert keeper.due(later, last=False)
    assert not keeper.due(later, last=True)
    keeper.store(later)
    assert keeper.last() is later


def test_a_large_run_is_kept_again_once_the_time_has_passed() -> None:
    run = of_size(SMALL)
    keeper = InMemory(run, 0.25)
    assert not keeper.due(run, last=False), "it was kept as it began"
    time.sleep(0.3)
    assert keeper.due(run, last=False)
    keeper.store(run)
    assert not keeper.due(run, last=False)
