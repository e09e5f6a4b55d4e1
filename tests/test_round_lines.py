"""Rounds are plain lines on stdout, whoever reads them; only a terminal has a bar, on stderr."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from small import small_suite

import avil_ray as avil
from avil_ray import round_lines
from avil_ray.launching import Told
from avil_ray.round_lines import Rounds, best

LINE = "round   0  select: accuracy 0.5000  alpha: left 0.250\n"
ROW = {"round": 0, "select/accuracy": 0.5, "alpha/left": 0.25}


def test_a_round_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Rounds(3, quiet=False) as rounds:
        rounds.show(Told(ROW))
    assert capsys.readouterr() == (LINE, "")


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Rounds(3, quiet=True) as rounds:
        rounds.show(Told(ROW))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar_on_stderr_beside_plain_lines_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        round_lines, "Console", lambda **more: Console(**more, force_terminal=True, width=100, color_system=None)
    )
    with Rounds(2, quiet=False) as rounds:
        rounds.show(Told(ROW))
        rounds._bar.refresh()
    said = capsys.readouterr()
    assert said.out == LINE
    assert "1/2" in said.err


def test_the_best_so_far_is_the_runs_and_is_left_out_where_the_run_is_elsewhere() -> None:
    told: list[Any] = []
    run: dict[str, Any] = {"rounds": 2, "steps_per_round": 2, "on_round": lambda done: told.append(best(done))}
    result = avil.train(small_suite(), avil.Equal(), **run)
    assert told[-1] == f"best {result.select:.4g} (round {result.best_round})"
    assert best(Told(ROW)) == ""
