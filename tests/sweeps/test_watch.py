"""What a trial says of itself ends no sweep and steers no terminal."""

from __future__ import annotations

import io
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from test_plain import NASTY

from avil_ray.interruption import Interruption
from avil_ray.plain import plain
from avil_ray.spaces.entries import TrialPlan
from avil_ray.sweeps.watch import Watch

KEY = "equal/c000/s0"


def trial(error: str) -> Any:
    return SimpleNamespace(
        config={"trial": {"key": KEY}}, error_file=None, get_error=lambda: error, last_result={"time_total_s": 1.0}
    )


def watch(terminal: bool, label: str = "equal") -> tuple[Watch, io.StringIO]:
    plan = TrialPlan(key=KEY, label=label, method="equal", configuration=0, options={}, seed=0)
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=200)
    return Watch([plan], set(), console, Interruption()), file


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("word", ["[/mnt/data] is missing", "[red]", "$x_{$ :smile:", "\x1b[2J", "[link=x]"])
def test_a_reason_is_shown_as_it_is(word: str, terminal: bool) -> None:
    shown, file = watch(terminal)
    with shown:
        shown.on_trial_start(0, [], trial(""))
        shown.on_trial_error(0, [], trial(f"Traceback\nWorkFailed: no file {word}"))
    assert shown.failed == {KEY: f"no file {plain(word)}"}
    if not terminal:
        assert file.getvalue() == f"   1 of 1  {KEY}  failed: no file {plain(word)}\n"


def test_labels_and_rounds_are_shown_as_they_are_in_the_table() -> None:
    shown, file = watch(terminal=True, label="[/mnt/data] \x1b[2J:smile:")
    shown._console.print(shown._table())
    assert r"[/mnt/data] \x1b[2J:smile:" in file.getvalue()


def test_a_reason_of_many_nasty_lines_is_one_plain_line() -> None:
    shown, _ = watch(terminal=False)
    shown.on_trial_error(0, [], trial(f"first\n{NASTY}"))
    reason = shown.failed[KEY]
    assert "\n" not in reason
    assert plain(reason) == reason


def test_a_stored_watch_holds_nothing() -> None:
    assert pickle.loads(pickle.dumps(watch(terminal=False)[0])).__dict__ == {}
