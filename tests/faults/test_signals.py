"""A sweep is told to stop, or killed: what is done is kept, nothing stays behind, and --resume completes it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from disturbed import ALPHA, DRIVER, WORKER, Sweep, end, until

pytestmark = pytest.mark.faults

Make = Callable[..., Sweep]


def test_sigterm_ends_a_sweep_in_order_and_resume_completes_it(sweep: Make) -> None:
    one = sweep()
    process = one.started()
    one.reach(process, 1)
    end(process.pid, signal.SIGTERM)
    assert one.ended(process) == 1
    assert "stopping: running trials keep their last checkpoints" in one.words()
    assert "no result yet: continue with --resume" in one.words()
    assert 1 <= one.results() < one.count
    assert one.run("--resume") == 0, one.words()
    one.check()


def test_a_second_control_c_ends_at_once_and_a_second_driver_is_refused(sweep: Make) -> None:
    one = sweep()
    process = one.started()
    until((one.folder / ".lock").exists, 60, one.words)
    assert one.started().wait(timeout=120) == 2
    assert "in use by process" in one.words()
    one.reach(process, 0)
    end(process.pid, signal.SIGINT)
    time.sleep(0.2)
    end(process.pid, signal.SIGINT)
    began = time.monotonic()
    assert one.ended(process) == 1
    assert time.monotonic() - began < 10
    assert one.results() < one.count
    assert one.run("--resume") == 0, one.words()
    one.check()


def test_signals_to_the_sweep_a_trial_and_its_workers_change_nothing(sweep: Make) -> None:
    one = sweep(seeds=[0], rounds=40)
    process = one.started()
    one.reach(process, 0)
    end(process.pid, signal.SIGKILL)
    process.wait()
    process = one.started("--resume")
    one.reach(process, 0)
    for kind, how in ((WORKER, signal.SIGTERM), (DRIVER, signal.SIGKILL), (WORKER, signal.SIGKILL)):
        one.reach(process, 0, ALPHA)
        end(until(lambda kind=kind: one.processes(kind), 60)[0], how)
        time.sleep(2)
    assert one.ended(process) == 0, one.words()
    one.check()
