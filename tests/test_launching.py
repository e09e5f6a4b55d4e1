"""What passes between the first rank and the caller through files: each round once, whole lines only."""

from __future__ import annotations

from pathlib import Path

import pytest

from avil_ray.errors import UserError
from avil_ray.launching import Listener, Teller, Told
from avil_ray.rounds import Round


def row(number: int) -> dict[str, float]:
    return {"round": number, "select/accuracy": 0.5 + number / 100}


def test_a_round_is_told_once_however_often_it_runs_and_whoever_tells_it(tmp_path: Path) -> None:
    heard: list[Round] = []
    listener = Listener(tmp_path / "rows", heard.append)
    listener.listen()
    assert heard == []
    first = Teller(tmp_path / "rows", 2)
    for number in (0, 1, 2, 3, 3):
        first.tell(row(number))
    listener.listen()
    again = Teller(tmp_path / "rows", 2)  # the run went back to the end of its round 2
    for number in (2, 3, 4):
        again.tell(row(number))
    listener.listen()
    assert [one.row for one in heard] == [row(2), row(3), row(4)]


def test_a_line_that_was_cut_off_is_not_heard_and_is_told_again(tmp_path: Path) -> None:
    heard: list[Round] = []
    listener = Listener(tmp_path / "rows", heard.append)
    Teller(tmp_path / "rows", 0).tell(row(0))
    with (tmp_path / "rows").open("ab") as file:
        file.write(b'{"round": 1, "sel')
    listener.listen()
    Teller(tmp_path / "rows", 0).tell(row(1))
    listener.listen()
    assert [one.number for one in heard] == [0, 1]


def test_a_round_that_was_told_has_its_row_and_says_where_its_parameters_are() -> None:
    done = Told(row(3))
    assert (done.number, done.row) == (3, row(3))
    assert repr(done) == f"Told({row(3)})"
    for part in ("run", "theta", "score"):
        with pytest.raises(UserError, match="round 3: with pool='train'"):
            getattr(done, part)
