"""Workers that die again and again, or hang: replaced where that helps, and else the trial fails with the reason."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from disturbed import ALPHA, DRIVER, SPACE, WORKER, Sweep, end, until

pytestmark = pytest.mark.faults

Make = Callable[..., Sweep]


@contextmanager
def killing(one: Sweep) -> Iterator[list[int]]:
    """Kills each worker as soon as it is there, for the block."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.1):
            for worker in one.processes(WORKER):
                end(worker)
                killed.append(worker)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_a_trial_whose_workers_are_killed_again_and_again_fails_with_the_reason(sweep: Make) -> None:
    one = sweep(seeds=[0], resources={**SPACE["resources"], "retries": 0})
    process = one.started()
    with killing(one) as killed:
        until(lambda: ALPHA in one.records(), 180, one.words)
    assert len(set(killed)) >= 4
    assert one.ended(process) == 1
    reason = str(one.records()[ALPHA].reason)
    assert reason.startswith("the worker in slot ")
    assert "was replaced 3 times, and again died: " in reason
    one.check(failed=[ALPHA])
    assert one.run("--resume") == 0, one.words()
    one.check()


def test_a_trial_that_hangs_goes_on_from_its_checkpoint(sweep: Make) -> None:
    one = sweep(seeds=[0], methods=SPACE["methods"][1:], rounds=12, resources={**SPACE["resources"], "timeout": 5})
    process = one.started()
    one.reach(process, 0)
    [victim] = one.processes(DRIVER)
    os.kill(victim, signal.SIGSTOP)
    assert one.ended(process) == 0, one.words()
    one.check()
    assert "no report for 60 s; killing its process" in one.words()


def test_workers_that_hang_are_replaced_and_nothing_changes(sweep: Make) -> None:
    one = sweep(seeds=[0], rounds=12, resources={**SPACE["resources"], "timeout": 6})
    process = one.started()
    one.reach(process, 0, ALPHA)
    both = until(lambda: one.processes(WORKER), 60)
    for victim in both:
        os.kill(victim, signal.SIGSTOP)
        until(lambda victim=victim: victim not in one.processes(), 90, one.words)
        until(lambda: len(one.processes(WORKER)) == len(both), 60, one.words)
        time.sleep(1)
    assert one.ended(process) == 0, one.words()
    one.check()
