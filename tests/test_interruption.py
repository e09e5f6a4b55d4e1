"""The first signal is answered at once and asks for the end; the second does not wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avil_ray.interruption import SIGNALS, Interruption, end_the_command, interrupted_with

WORDS = "\navil-ray: stopping; press Ctrl-C again to quit now\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_answered_and_the_block_goes_on_the_second_ends_it(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        signal.raise_signal(number)
        assert interruption.asked
        assert capfd.readouterr().err == WORDS
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


SAID = "avil-ray: stopping: it is stored; resume with --resume; press Ctrl-C again to quit now\n"


def test_the_answer_says_what_happens_and_how_to_resume(capfd: pytest.CaptureFixture[str]) -> None:
    plan = "it is stored; resume with --resume"
    with Interruption(plan):
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == f"\n{SAID}"
    before = signal.signal(signal.SIGTERM, end_the_command)
    both = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with interrupted_with(plan), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in (both | {signal.SIGTERM: before}).items():
            signal.signal(number, handler)
    assert capfd.readouterr().err == f"\n{SAID}"


def test_a_live_display_shows_the_answer_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with Interruption() as interruption:
        interruption.shown = True
        signal.raise_signal(signal.SIGINT)
    assert interruption.asked
    assert capfd.readouterr().err == ""


def test_tune_is_told_only_after_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "0")
    before = signal.signal(signal.SIGUSR1, lambda number, _: told.append(number))
    try:
        with Interruption() as interruption:
            assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
            interruption.tell_tune()
            assert told == []
            signal.raise_signal(signal.SIGTERM)
            interruption.tell_tune()
            assert told == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "0"


COMMAND = """
import signal, subprocess, sys, time
from avil_ray.interruption import end_the_command
signal.signal(signal.SIGTERM, end_the_command)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
try:
    print(child.pid, flush=True)
    time.sleep(60)
finally:
    print("unwinding", flush=True)
    time.sleep(60)
"""


def test_a_second_signal_ends_the_command_and_all_that_it_started() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "unwinding\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (1, WORDS)
    for _ in range(100):
        if not _runs(child):
            return
        time.sleep(0.02)
    raise AssertionError("its child is still there")


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
