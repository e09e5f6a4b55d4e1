"""What a trial says of itself ends no sweep and steers no terminal."""

from __future__ import annotations

import io
import pickle
import time
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from test_plain import NASTY

from avil_ray.interruption import Interruption
from avil_ray.plain import plain
from avil_ray.spaces.entries import TrialPlan
from avil_ray.sweeps.progress import Entry, Progress
from avil_ray.sweeps.watch import EVERY, Watch

KEY = "equal/c000/s0"


def trial(error: str) -> Any:
    return SimpleNamespace(
        config={"trial": {"key": KEY}}, error_file=None, get_error=lambda: error, last_result={"time_total_s": 1.0}
    )


def watch(terminal: bool, label: str = "equal", quiet: bool = False) -> tuple[Watch, io.StringIO]:
    plans = [TrialPlan(f"equal/c000/s{seed}", label, "equal", 0, {}, seed) for seed in range(2)]
    progress = Progress({label: Entry(2, 100.0, {"CPU": 2.0})}, {"CPU": 4.0}, "accuracy", "max")
    progress.expect(plans, {})
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=200, quiet=quiet)
    return Watch(progress, 4, console, Interruption("resume with --resume")), file


def told(number: int, score: float) -> dict[str, Any]:
    """What a trial reports of a round to Tune."""
    row = {"time/device": 0.5, "time/reserved": 1.0}
    return {"round": number, "score": score, "row": pickle.dumps(row)}


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("word", ["[/mnt/data] is missing", "[red]", "$x_{$ :smile:", "\x1b[2J", "[link=x]"])
def test_a_reason_is_shown_as_it_is(word: str, terminal: bool) -> None:
    shown, file = watch(terminal)
    with shown:
        shown.on_trial_start(0, [], trial(""))
        shown.on_trial_error(0, [], trial(f"Traceback\nWorkFailed: no file {word}"))
    assert shown.failed == {KEY: f"no file {plain(word)}"}
    if not terminal:
        assert file.getvalue() == f"   1 of 2  {KEY}  failed: no file {plain(word)}\n"


def test_labels_and_rounds_are_shown_as_they_are_in_the_table() -> None:
    shown, file = watch(terminal=True, label="[/mnt/data] \x1b[2J:smile:")
    shown._console.print(shown._shown())
    assert r"[/mnt/data] \x1b[2J:smile:" in file.getvalue()


def test_a_reason_of_many_nasty_lines_is_one_plain_line() -> None:
    shown, _ = watch(terminal=False)
    shown.on_trial_error(0, [], trial(f"first\n{NASTY}"))
    reason = shown.failed[KEY]
    assert "\n" not in reason
    assert plain(reason) == reason


def test_without_a_terminal_each_ended_trial_is_a_line_and_the_sweep_one_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, file = watch(terminal=False)
    with shown:
        shown.on_trial_start(0, [], trial(""))
        shown.on_trial_result(0, [], trial(""), told(1, 0.75))
        shown.on_step_begin(0, [])
        assert file.getvalue() == "", "not a minute has gone by"
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + EVERY + 1)
        shown.on_step_begin(0, [])
        shown.on_step_begin(0, [])
        shown.on_trial_complete(0, [], trial(""))
    minute, ended = file.getvalue().splitlines()
    assert minute.startswith("0 of 2 trials, 25 % of all gradient steps; ")
    assert minute.endswith("left; select accuracy so far: equal 0.75; 2 of 4 CPU reserved, 50 % busy")
    assert ended == f"   1 of 2  {KEY}  1.0 s, select accuracy 0.75"


def test_a_terminal_shows_time_left_the_best_so_far_devices_and_the_answer_to_an_interruption() -> None:
    shown, file = watch(terminal=True)
    with shown:
        assert shown._interruption.shown
        shown.on_trial_start(0, [], trial(""))
        shown.on_trial_result(0, [], trial(""), told(1, 0.75))
        shown._interruption.asked = True
        file.truncate(0)
        shown._console.print(shown._shown())
        text = file.getvalue()
    for part in ("about", "select accuracy", "0.75", "c000/s0: round 2", "2 of 4 CPU reserved, 50 % busy"):
        assert part in text
    assert "stopping: resume with --resume" in text
    assert not shown._interruption.shown
    assert "stopping: resume with --resume" in file.getvalue().splitlines()[-1], "it outlives the display"


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_is_quiet(terminal: bool) -> None:
    shown, file = watch(terminal, quiet=True)
    with shown:
        assert not shown._interruption.shown, "it is answered without a display"
        shown.on_trial_start(0, [], trial(""))
        shown.on_trial_complete(0, [], trial(""))
    assert file.getvalue() == ""


def test_a_stored_watch_holds_nothing() -> None:
    assert pickle.loads(pickle.dumps(watch(terminal=False)[0])).__dict__ == {}
