import json
import logging
import pickle
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from avil_ray.errors import UserError
from avil_ray.tracking.exported import pack_model
from avil_ray.tracking.items import Parameters, Table, Tag, Text, Totals, round_metrics, trial_items
from avil_ray.tracking.store import open_store
from avil_ray.tracking.writer import Tracker

KEY = "equal/c000/s0"
TRIAL = {
    "key": KEY,
    "label": "equal",
    "method": "static",
    "configuration": 0,
    "seed": 0,
    "options": {"weights": {"a": 0.5}},
}
SUMMARY = {"sweep": "first sweep", "methods": [{"label": "equal", "trials": 1}], "comparisons": []}


def rows(*rounds):
    return [round_metrics({"select/accuracy": number / 10}, number) for number in rounds]


def sql(store, statement):
    """Run a statement in the database itself, behind MLflow's back."""
    with sqlite3.connect(store.path) as connection:
        connection.execute(statement)
    connection.close()


def test_a_relative_store_is_refused_at_once():
    with pytest.raises(UserError, match="relative path"):
        Tracker("sqlite:///mlflow.db", "moons", "first")


def test_a_trial_gets_one_run_below_its_sweeps(store):
    tracker = store.tracker()
    tracker.start(KEY, trial_items(TRIAL))
    tracker.send(KEY, rows(0, 1))
    child, parent = store.run(KEY), store.run(None)
    assert tracker.trouble is None
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["avil.label"] == "equal"
    assert child.data.params == {"weights.a": "0.5"}
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.1)]
    assert (child.info.status, parent.info.status) == ("RUNNING", "RUNNING")


@pytest.mark.parametrize("again", ["same writer", "new writer"])
def test_a_trial_that_starts_again_goes_on_in_its_run(store, again):
    tracker = store.tracker()
    tracker.start(KEY, trial_items(TRIAL))
    tracker.send(KEY, rows(0, 1))
    tracker.end(KEY, "FAILED")
    assert store.run(KEY).info.status == "FAILED"

    tracker = tracker if again == "same writer" else store.tracker()
    tracker.start(KEY, trial_items(TRIAL))
    assert store.run(KEY).info.status == "RUNNING"
    tracker.send(KEY, rows(1, 2))
    tracker.send(KEY, rows(2))
    tracker.end(KEY, "FINISHED")
    assert tracker.trouble is None
    assert set(store.runs()) == {store.sweep, f"{store.sweep}/{KEY}"}
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.1), (2, 0.2)]
    finished = store.run(KEY)
    assert finished.info.status == "FINISHED"
    assert finished.info.end_time is not None


def test_a_round_that_came_late_fills_its_gap(store):
    tracker = store.tracker()
    tracker.send(KEY, rows(0, 2))
    store.tracker().send(KEY, rows(0, 1, 2))
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.1), (2, 0.2)]


def test_a_parameter_keeps_its_first_value(store):
    store.tracker().send(KEY, [Parameters({"a": "1"})])
    again = store.tracker()
    again.send(KEY, [Parameters({"a": "2", "b": "3"})])
    assert again.trouble is None
    assert store.run(KEY).data.params == {"a": "1", "b": "3"}


def test_totals_and_tags_are_sent_again_only_where_they_changed(store):
    tracker = store.tracker()
    for value in (1.0, 1.0, 2.0):
        tracker.send(KEY, [Totals({"test/accuracy": value}), Tag("avil.status", str(value))])
    store.tracker().send(KEY, [Totals({"test/accuracy": 2.0})])
    assert store.history(KEY, "test/accuracy") == [(0, 1.0), (0, 2.0)]
    assert store.run(KEY).data.tags["avil.status"] == "2.0"


def test_more_than_one_request_can_take(store):
    many = {f"m{number}": float(number) for number in range(1700)}
    tracker = store.tracker()
    tracker.send(KEY, [round_metrics(many, 0), Parameters({f"p{number}": "x" for number in range(250)})])
    run = store.run(KEY)
    assert tracker.trouble is None
    assert run.data.metrics == {**many, "round": 0.0}
    assert len(run.data.params) == 250


def test_keys_with_quotes_find_their_run(store):
    tracker = Tracker(store.uri, store.experiment, "it's")
    tracker.prepare()
    tracker.start(KEY)
    again = Tracker(store.uri, store.experiment, "it's")
    again.prepare()
    again.start(KEY)
    assert set(store.runs()) == {"it's", f"it's/{KEY}"}


def test_a_pickled_tracker_goes_on(store):
    tracker = store.tracker()
    tracker.start(KEY, trial_items(TRIAL))
    pickle.loads(pickle.dumps(tracker)).send(KEY, rows(0))
    assert set(store.runs()) == {store.sweep, f"{store.sweep}/{KEY}"}
    assert store.history(KEY, "select/accuracy") == [(0, 0.0)]


def test_two_processes_share_a_prepared_store(store):
    store.tracker()
    work = f"""
import sys
from avil_ray.tracking.items import round_metrics
from avil_ray.tracking.writer import Tracker
tracker = Tracker({store.uri!r}, {store.experiment!r}, {store.sweep!r})
for number in range(20):
    tracker.send(sys.argv[1], [round_metrics({{"loss": 1.0}}, number)])
print(tracker.trouble)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", work, f"e/c000/s{seed}"], stdout=subprocess.PIPE, text=True)
        for seed in (0, 1)
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["None\n", "None\n"]
    assert [len(store.history(f"e/c000/s{seed}", "loss")) for seed in (0, 1)] == [20, 20]


def test_a_record_brings_a_run_up_to_date_once(store, record):
    tracker = store.tracker()
    tracker.send(KEY, rows(0))  # as seen while it ran; the rest was missed
    for _ in range(2):
        store.tracker().log_record(record())
    run = store.run(KEY)
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.7), (2, 0.6)]
    assert store.history(KEY, "alpha/a") == [(2, 0.3)]
    assert store.history(KEY, "test/accuracy") == [(0, 0.65)]
    assert run.data.tags["avil.status"] == "finished"
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("status", "expected"),
    [("finished", "FINISHED"), ("stopped", "FINISHED"), ("failed", "FAILED"), ("unfinished", "KILLED")],
)
def test_a_trials_status_is_its_runs(store, record, status, expected):
    store.tracker().log_record(record(status=status))
    assert store.run(KEY).info.status == expected


def test_a_trial_that_failed_and_then_finished_shows_no_reason(store, record):
    store.tracker().log_record(record(status="failed", reason="diverged"))
    assert store.run(KEY).data.tags["avil.reason"] == "diverged"
    store.tracker().log_record(record())
    assert store.run(KEY).data.tags["avil.reason"] == ""
    assert store.run(KEY).data.tags["avil.status"] == "finished"


def test_a_table_is_replaced_not_continued(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)  # load_table asks it, not its own client's store
    for accuracy in (0.1, 0.2):
        store.tracker().send(None, [Table("comparison.json", ("label", "test"), (("equal", accuracy),))])
    experiment = open_store(store.uri).get_experiment_by_name(store.experiment).experiment_id
    shown = open_store(store.uri).load_table(experiment, "comparison.json", [store.run(None).info.run_id])
    pd.testing.assert_frame_equal(shown, pd.DataFrame({"label": ["equal"], "test": [0.2]}))


def test_the_end_of_a_sweep(store, record, tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("report.md", "report.html", "figures/curves.png"):
        (tmp_path / name).write_text("content")
    tracker = store.tracker()
    tracker.finish_sweep(SUMMARY, tmp_path, [record(), record(1, key="equal/c000/s1", status="failed")], "FAILED")
    assert tracker.trouble is None
    assert {key: run.info.status for key, run in store.runs().items()} == {
        store.sweep: "FAILED",
        f"{store.sweep}/equal/c000/s0": "FINISHED",
        f"{store.sweep}/equal/c000/s1": "FAILED",
    }
    client, parent = open_store(store.uri), store.run(None).info.run_id
    names = {file.path for file in client.list_artifacts(parent)}
    assert names == {"summary.json", "comparison.json", "report.md", "report.html", "figures"}
    folder = client.download_artifacts(parent, "summary.json", str(tmp_path))
    assert json.loads(Path(folder).read_text()) == SUMMARY


def test_a_store_that_fails_is_told_once_and_made_good_at_the_end(store, record, tmp_path, caplog):
    tracker = store.tracker()
    tracker.start(KEY, trial_items(TRIAL))
    sql(store, "ALTER TABLE metrics RENAME TO gone")
    with caplog.at_level(logging.WARNING):
        tracker.send(KEY, rows(0))
        tracker.send(KEY, rows(1))
        tracker.end(KEY, "FINISHED")
    assert len(caplog.records) == 1
    assert "the sweep goes on" in caplog.text
    assert "no such table" in tracker.trouble
    assert store.run(KEY).info.status == "RUNNING"

    sql(store, "ALTER TABLE gone RENAME TO metrics")
    tracker.log_model(KEY, partial(pack_model, nn.Linear(3, 2), torch.ones(4, 3)))  # while the store is left alone
    assert "avil.model" not in store.run(KEY).data.tags
    tracker.finish_sweep(SUMMARY, tmp_path, [record()], "FINISHED")
    assert tracker.trouble is None
    assert store.run(KEY).data.tags["avil.model"].startswith("models:/")
    assert [step for step, _ in store.history(KEY, "select/accuracy")] == [0, 1, 2]
    assert {run.info.status for run in store.runs().values()} == {"FINISHED"}


def test_trouble_that_lasts_is_there_at_the_end(store, record, tmp_path):
    tracker = store.tracker()
    sql(store, "ALTER TABLE metrics RENAME TO gone")
    tracker.finish_sweep(SUMMARY, tmp_path, [record()], "FINISHED")
    assert "no such table" in tracker.trouble


def test_a_failed_store_is_left_alone_for_a_while(store):
    tracker = store.tracker()
    sql(store, "ALTER TABLE metrics RENAME TO gone")
    tracker.send(KEY, rows(0))
    sql(store, "ALTER TABLE gone RENAME TO metrics")
    tracker.send(KEY, rows(1))
    assert store.history(KEY, "select/accuracy") == []


def test_a_store_that_cannot_be_used_stops_the_sweep_before_it_starts(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database")
    with pytest.raises(UserError, match="cannot be opened"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", "moons", "first").prepare()


def test_texts_replace_each_other(store, tmp_path):
    tracker = store.tracker()
    for content in ("one", "two"):
        tracker.send(None, [Text("note.txt", content)])
    path = open_store(store.uri).download_artifacts(store.run(None).info.run_id, "note.txt", str(tmp_path))
    assert Path(path).read_text() == "two"


class OfTheData(nn.Module):
    """Its path depends on its input, which no graph can follow."""

    def forward(self, inputs):
        return inputs if inputs.sum() > 0 else -inputs


def test_a_run_has_one_model(store):
    tracker = store.tracker()
    for _ in range(2):
        tracker.log_model(KEY, partial(pack_model, nn.Linear(3, 2), torch.ones(4, 3)))
        tracker = store.tracker()
    assert tracker.trouble is None
    run = open_store(store.uri).get_run(store.run(KEY).info.run_id)
    (output,) = run.outputs.model_outputs
    assert run.data.tags["avil.model"] == f"models:/{output.model_id}"
    assert str(open_store(store.uri).get_logged_model(output.model_id).status) == "READY"


def test_a_model_that_cannot_be_exported_is_no_failure(store, caplog, tmp_path):
    tracker, weights = store.tracker(), tmp_path / "model.safetensors"
    weights.write_bytes(b"content")
    tracker.log_model(KEY, partial(pack_model, OfTheData(), torch.ones(4, 3), files=[weights]))
    assert [file.path for file in open_store(store.uri).list_artifacts(store.run(KEY).info.run_id)] == [weights.name]
    assert tracker.trouble is None
    assert "cannot be exported" in caplog.text
    assert store.run(KEY).data.tags["avil.model"].startswith("the model cannot be exported")


@pytest.mark.parametrize("what", ["run", "runs", "experiment", "for good"])
def test_what_was_deleted_in_mlflow_is_found_again(store, record, what):
    store.tracker().log_record(record())
    client = open_store(store.uri)
    before = store.runs()
    parent, trial = store.run(None), store.run(record().key)
    if what == "experiment":
        client.delete_experiment(parent.info.experiment_id)
    else:
        for run in (parent, trial) if what == "runs" else (parent,):
            client.delete_run(run.info.run_id)
    if what == "for good":
        client._tracking_client.store._hard_delete_run(parent.info.run_id)
    tracker = store.tracker()
    tracker.log_record(record())
    after = store.runs()
    assert tracker.trouble is None
    assert set(after) == set(before)
    again = store.run(None)
    assert (again.info.run_id == parent.info.run_id) == (what != "for good")
    assert store.run(record().key).info.run_id == trial.info.run_id
    assert store.run(record().key).data.tags["mlflow.parentRunId"] == again.info.run_id


def test_a_fresh_sweep_takes_none_of_the_deleted_runs(store, record):
    store.tracker().log_record(record())
    before = {run.info.run_id for run in store.runs().values()}
    open_store(store.uri).delete_run(store.run(record().key).info.run_id)
    tracker = store.tracker()
    tracker.forget()
    tracker.prepare()
    tracker.log_record(record())
    assert before.isdisjoint(run.info.run_id for run in store.runs().values())


def test_a_store_is_reached_before_anything_is_made_in_it(store):
    Tracker(store.uri, store.experiment, store.sweep).reach()
    assert open_store(store.uri).get_experiment_by_name(store.experiment) is None


def test_the_link_names_the_sweeps_run(store):
    tracker = Tracker(store.uri, store.experiment, store.sweep)
    assert tracker.link is None
    tracker.prepare()
    info = store.run(None).info
    assert tracker.link == f"#/experiments/{info.experiment_id}/runs/{info.run_id}"
