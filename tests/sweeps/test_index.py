"""How trials ended is known without reading what they did, and never from an index that is out of date."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avil_ray.errors import WorkFailed
from avil_ray.reports import histories
from avil_ray.reports.records import HISTORY, RESULT, trial_folder, write_record
from avil_ray.sweeps.index import INDEX, Index
from avil_ray.sweeps.trial import THETA, make_record, save_theta

KEY = "equal/c000/s1"
FACTS = {"key": KEY, "label": "equal", "method": "equal", "configuration": 0, "options": {}, "seed": 1}
ROW = {"round": 0, "cost/gradient_steps": 5, "time/device": 1.0, "time/reserved": 2.0, "time/round": 2.0}


def leave(folder: Path, status: Any = "finished", **found: Any) -> Path:
    """A trial's folder, as the trial leaves it."""
    place = trial_folder(folder, KEY)
    write_record(place, make_record(FACTS, status, [ROW], **found))
    save_theta(place, np.arange(3, dtype=np.float32))
    return place


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def test_a_trial_whose_files_are_damaged_has_not_ended(tmp_path: Path) -> None:
    index = Index(tmp_path)
    assert index.look(KEY) is None
    for status, well in (("failed", False), ("stopped", True), ("finished", True)):
        place = leave(tmp_path, status, select=0.5, test={"accuracy": 0.5})
        ended = index.look(KEY)
        assert ended is not None
        assert (ended.status, ended.well, ended.select) == (status, well, 0.5)
    for name in (THETA, HISTORY, RESULT):
        leave(tmp_path)
        assert index.look(KEY) is not None
        spoil(place / name)
        with pytest.raises(WorkFailed, match=f"{THETA if name == THETA else RESULT}: unreadable"):
            index.look(KEY)
    leave(tmp_path)
    (place / THETA).unlink()
    with pytest.raises(WorkFailed, match=r"theta.safetensors: unreadable .*No such file"):
        index.look(KEY)


def test_what_the_index_knows_is_read_nowhere_else(tmp_path: Path) -> None:
    place = leave(tmp_path, select=0.5)
    known = Index(tmp_path).look(KEY)
    kept = [place / name for name in (RESULT, HISTORY)]
    times = [path.stat() for path in kept]
    for path, time in zip(
        kept, times, strict=True
    ):  # other bytes, same sizes and times: only who reads them would know
        path.write_bytes(b"x" * time.st_size)
        os.utime(path, ns=(time.st_atime_ns, time.st_mtime_ns))
    assert Index(tmp_path).look(KEY) == known


def test_no_history_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path)
    monkeypatch.setattr(histories, "read_history", lambda _: pytest.fail("the history was read"))
    monkeypatch.setattr("avil_ray.reports.records.read_history", histories.read_history)
    assert Index(tmp_path).look(KEY) is not None


@pytest.mark.parametrize("content", [b"", b"{", b"[]\n\xff", b'{"key": "equal/c000/s1", "status": "odd"}\n'])
def test_an_index_that_says_nothing_is_made_again(tmp_path: Path, content: bytes) -> None:
    leave(tmp_path, select=math.nan)
    known = Index(tmp_path).look(KEY)
    whole = (tmp_path / INDEX).read_bytes()
    (tmp_path / INDEX).write_bytes(content)
    again = Index(tmp_path)
    assert repr(again.look(KEY)) == repr(known), "NaN is not equal to itself"
    again.write()
    assert (tmp_path / INDEX).read_bytes() == whole
    (tmp_path / INDEX).unlink()
    assert repr(Index(tmp_path).look(KEY)) == repr(known)


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    leave(tmp_path)
    (tmp_path / INDEX).write_text('{"key": "equal/c0')
    Index(tmp_path).look(KEY)
    assert (tmp_path / INDEX).read_text().count(KEY) == 1
    assert Index(tmp_path)._known.keys() == {KEY}
