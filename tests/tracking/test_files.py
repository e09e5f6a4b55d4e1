"""The files of a trial's run."""

import pandas as pd
from simulated import make_facts

from avil_ray.reports.records import HISTORY, RESULT, write_record
from avil_ray.storage import at
from avil_ray.tracking.files import trial_files

FACTS = make_facts(("equal",))


def test_a_trial_keeps_its_record_history_and_curves(record, tmp_path):
    write_record(tmp_path, record())
    found = {item.name: item.content for item in trial_files(at(tmp_path), record(), FACTS)}
    assert set(found) == {"record/result.json", "record/history.csv", "figures/curves.svg"}
    assert found["record/history.csv"] == (tmp_path / HISTORY).read_text()
    assert found["record/result.json"] == (tmp_path / RESULT).read_text()
    assert "accuracy on select" in found["figures/curves.svg"]


def test_a_trial_that_failed_before_its_first_round_has_its_record_alone(record, tmp_path):
    failed = record(status="failed", history=pd.DataFrame())
    write_record(tmp_path, failed)
    assert [item.name for item in trial_files(at(tmp_path), failed, FACTS)] == ["record/result.json"]


def test_curves_are_left_out_where_nobody_has_time_for_them(record, tmp_path):
    write_record(tmp_path, record())
    names = [item.name for item in trial_files(at(tmp_path), record(), FACTS, drawn=False)]
    assert names == ["record/result.json", "record/history.csv"]
