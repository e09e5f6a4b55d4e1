"""A record comes back from its folder as it was written, and a folder is never half written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import history, make_record

from avil_ray.errors import UserError, WorkFailed
from avil_ray.reports import records
from avil_ray.reports.records import Cost, TrialRecord, read_record, read_records, trial_folder, trial_key, write_record


def test_a_record_and_its_history_come_back_exactly(tmp_path: Path) -> None:
    rounds = history(0.9, np.random.default_rng(3), alpha={"left": 1.3, "noise": 0.1}, finish=2)
    rounds["tiny"] = np.nextafter(0.1, 1) * 10.0 ** -np.arange(len(rounds))
    options = {"weights.right": 0.1 + 0.2, "grid": [1, 2], "clip": math.inf, "name": "ä", "none": None}
    written = make_record(
        "static", 2, 7, options=options,
        select=1 / 3, test={"accuracy": 2 / 3, "loss": 1e-300}, history=rounds, cost=Cost(12, 0.1 + 0.7, 1e9 / 3),
    )  # fmt: skip
    write_record(tmp_path / "trial", written)
    found = read_record(tmp_path / "trial")
    assert found == written
    pd.testing.assert_frame_equal(found.history, rounds, check_exact=True)


def test_numbers_that_are_not_finite_stand_in_strict_json(tmp_path: Path) -> None:
    write_record(tmp_path, make_record("equal", select=math.nan, test={"accuracy": -math.inf}))
    text = (tmp_path / "result.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    found = read_record(tmp_path)
    assert found.select is not None
    assert math.isnan(found.select)
    assert found.test == {"accuracy": -math.inf}


def test_numpy_numbers_and_single_precision_keep_their_value(tmp_path: Path) -> None:
    rounds = pd.DataFrame({"round": [0, 1], "select/accuracy": np.array([0.1, 1 / 3], dtype=np.float32)})
    write_record(tmp_path, make_record("equal", options={"rate": np.float64(0.1), "size": np.int64(3)}, history=rounds))
    found = read_record(tmp_path)
    assert found.options == {"rate": 0.1, "size": 3}
    np.testing.assert_array_equal(found.history["select/accuracy"], rounds["select/accuracy"].astype(np.float64))


def test_a_failed_trial_keeps_its_reason_and_leaves_no_old_history(tmp_path: Path) -> None:
    write_record(tmp_path, make_record("equal", history=history(0.9, np.random.default_rng(0))))
    write_record(tmp_path, make_record("equal", status="failed", reason="it diverged", select=None, test=None))
    found = read_record(tmp_path)
    assert (found.status, found.reason, found.test) == ("failed", "it diverged", None)
    assert found.history.empty
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json"]


def test_a_write_that_is_cut_off_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path, make_record("equal", select=0.5))

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(records.os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_record(tmp_path, make_record("equal", select=0.9))
    assert read_record(tmp_path).select == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_sweeps_records_come_in_order_and_those_without_a_result_are_left_out(tmp_path: Path) -> None:
    for label, configuration, seed in (("static", 10, 0), ("static", 2, 1), ("static", 2, 0), ("equal", 0, 0)):
        record = make_record(label, seed, configuration)
        write_record(trial_folder(tmp_path, record.key), record)
    (tmp_path / "trials" / "static-c003-s0" / "checkpoint").mkdir(parents=True)
    assert [record.key for record in read_records(tmp_path)] == [
        "equal/c000/s0", "static/c002/s0", "static/c002/s1", "static/c010/s0",
    ]  # fmt: skip


def test_a_key_names_its_folder(tmp_path: Path) -> None:
    assert trial_key("static", 3, 1) == "static/c003/s1"
    assert trial_folder(tmp_path, "static/c003/s1") == tmp_path / "trials" / "static-c003-s1"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"key": 1}', '{"cost": {"gradient_steps": -1}}'])
def test_a_damaged_result_is_named_and_says_what_to_do(tmp_path: Path, content: str) -> None:
    folder = trial_folder(tmp_path, "static/c003/s1")
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(content)
    with pytest.raises(WorkFailed, match=r"static-c003-s1.*remove the folder and resume"):
        read_records(tmp_path)


def test_a_folder_that_is_not_there_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_records(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "success"),
    [
        ({}, True),
        ({"status": "failed"}, False),
        ({"status": "stopped"}, False),
        ({"status": "unfinished"}, False),
        ({"select": None}, False),
        ({"select": math.nan}, False),
        ({"test": None}, False),
        ({"test": {"loss": 0.1}}, False),
        ({"test": {"accuracy": math.nan}}, False),
        ({"test": {"accuracy": math.inf}}, False),
    ],
)
def test_only_a_finished_trial_with_both_figures_is_a_success(changes: dict[str, object], success: bool) -> None:
    assert make_record("equal", **changes).success("accuracy") is success


def test_costs_add_up_and_are_never_negative() -> None:
    assert Cost(1, 2.0, 3.0) + Cost(10, 20.0, 30.0) == Cost(11, 22.0, 33.0)
    with pytest.raises(ValueError, match="device_seconds"):
        Cost(1, -0.1, 1.0)
    with pytest.raises(ValueError, match="wall_seconds"):
        Cost(1, 0.1, math.nan)


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(ValueError, match="no such status"):
        TrialRecord("a/c000/s0", "a", "a", 0, {}, 0, "done")  # type: ignore[arg-type]
