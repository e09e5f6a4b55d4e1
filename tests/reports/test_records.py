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
from avil_ray.reports.records import Cost, TrialRecord, read_record, read_records, trial_folder, trial_key, write_record


def test_a_record_and_its_history_come_back_exactly(tmp_path: Path) -> None:
    rounds = history(0.9, np.random.default_rng(3), alpha={"left": 1.3, "noise": 0.1}, fine_tuning=2)
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


def stored(tmp_path: Path) -> Path:
    """A trial's folder beside that of another one."""
    for seed in (1, 2):
        record = make_record(
            "a-static", seed, 3, method="static", history=history(0.9, np.random.default_rng(0), rounds=3)
        )
        write_record(trial_folder(tmp_path, record.key), record)
    return trial_folder(tmp_path, "a-static/c003/s1")


def damaged(tmp_path: Path) -> str:
    """What is said of the one trial that cannot be read; the other one is whole."""
    first, second = read_records(tmp_path)
    assert (second.status, first.status) == ("finished", "failed")
    assert (first.key, first.label, first.method) == ("a-static/c003/s1", "a-static", "static")
    assert (first.configuration, first.seed) == (3, 1)
    with pytest.raises(WorkFailed) as caught:
        read_record(trial_folder(tmp_path, first.key))
    assert first.reason == f"{caught.value}; --resume runs the trial again"
    assert "\n" not in first.reason
    return first.reason


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"{}", b"null", b"7", b'"x"', b'{"key": 1}', b'{"cost": {"gradient_steps": -1}}'),
        *(b"\xff\xfe{}", b"[" * 100_000, b'{"cost": {"not_finite": []}}'),
    ],
)
def test_a_damaged_result_costs_one_trial(tmp_path: Path, content: bytes) -> None:
    (stored(tmp_path) / "result.json").write_bytes(content)
    assert f"{stored(tmp_path / 'other').name}/result.json: unreadable (" in damaged(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": "1"}, "seed: Input should be a valid integer"),
        ({"select": "high"}, "select: Input should be a valid number"),
        ({"select": [0.5]}, "select: Input should be a valid number"),
        ({"test": {"accuracy": None}}, "test.accuracy: Input should be a valid number"),
        ({"test": 0.5}, "test: Input should be an object"),
        ({"cost": None}, "cost: Input should be an object"),
        ({"cost": {"gradient_steps": -1}}, "gradient_steps must be a number from 0 up, not -1"),
        ({"options": []}, "options: Input should be an object"),
        ({"status": "done"}, "status: Input should be 'finished'"),
        ({"more": 1}, "more: Unexpected keyword argument"),
        ({"key": "a-static/c003/s2"}, "it is the record of a-static/c003/s2"),
    ],
)
def test_a_value_of_another_kind_costs_one_trial(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    """Also where the record has no checksum, as those of version 0.1."""
    path = stored(tmp_path) / "result.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    path.write_text(json.dumps(content))
    assert all(record.status == "finished" for record in read_records(tmp_path))
    path.write_text(json.dumps({**content, **changes}))
    assert said in damaged(tmp_path)


@pytest.mark.parametrize("name", ["result.json", "history.csv"])
def test_a_changed_digit_or_a_lost_line_is_found(tmp_path: Path, name: str) -> None:
    path = stored(tmp_path) / name
    text = path.read_text()
    path.write_text(text.replace("0.8", "0.9") if name == "result.json" else text[: text.rindex("\n", 0, -1) + 1])
    assert path.read_text() != text
    assert "the checksum of the record and history.csv is wrong" in damaged(tmp_path)


def test_a_lost_history_is_found(tmp_path: Path) -> None:
    (stored(tmp_path) / "history.csv").unlink()
    assert "the checksum of the record and history.csv is wrong" in damaged(tmp_path)


@pytest.mark.parametrize("name", ["result.json", "history.csv"])
def test_a_folder_in_the_place_of_a_file_costs_one_trial(tmp_path: Path, name: str) -> None:
    path = stored(tmp_path) / name
    path.unlink()
    path.mkdir()
    assert "Is a directory" in damaged(tmp_path)


def test_a_history_that_is_none_costs_one_trial_of_version_0_1(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    content = json.loads((folder / "result.json").read_text())
    del content["checksum"]
    (folder / "result.json").write_text(json.dumps(content))
    for rows in (b"\xff\xfe", b'"round\n', b"round,x\n1,2,3\n4,5,6,7\n", b"junk\n1\n"):
        (folder / "history.csv").write_bytes(rows)
        assert "unreadable" in damaged(tmp_path)


def test_a_trial_of_which_no_record_can_be_read_is_called_by_its_label(tmp_path: Path) -> None:
    for path in (stored(tmp_path).parent).glob("*/result.json"):
        path.write_bytes(b"")
    assert {record.method for record in read_records(tmp_path)} == {"a-static"}


def test_a_folder_that_no_trial_is_called_by_is_passed_over(tmp_path: Path) -> None:
    copy = stored(tmp_path).with_name("copy of a trial")
    copy.mkdir()
    (copy / "result.json").write_bytes((stored(tmp_path) / "result.json").read_bytes())
    assert len(read_records(tmp_path)) == 2


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
    assert Cost(1, 2.0, 3.0, 8.0) + Cost(10, 20.0, 30.0, 80.0) == Cost(11, 22.0, 33.0, 88.0)
    assert Cost(1, 2.0, 3.0, 8.0).busy == 0.25
    assert Cost(1, 2.0, 3.0).busy is None, "a record of avil_ray 0.1 does not say what was reserved"
    with pytest.raises(ValueError, match="device_seconds"):
        Cost(1, -0.1, 1.0)
    with pytest.raises(ValueError, match="wall_seconds"):
        Cost(1, 0.1, math.nan)


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown status"):
        TrialRecord("a/c000/s0", "a", "a", 0, {}, 0, "done")  # type: ignore[arg-type]
