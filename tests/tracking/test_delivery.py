"""What is sent, and what happens where the store takes nothing: in this process, on a real store."""

import json
import pickle
import sqlite3
import time
from pathlib import Path

import pytest

from avil_ray.reports.records import RESULT, trial_folder, write_record
from avil_ray.storage import at
from avil_ray.tracking import delivery as module
from avil_ray.tracking.delivery import Delivery
from avil_ray.tracking.store import open_store

KEY, OTHER = "equal/c000/s0", "equal/c000/s1"
PARAMETERS = {"rate": "0.5", "label": "equal", "method": "static"}
SUMMARY = {"sweep": "first sweep", "methods": [{"label": "equal", "trials": 1}], "comparisons": []}


def facts(key):
    return {"label": "equal", "method": "static", "configuration": 0, "seed": int(key[-1]), "options": {"rate": 0.5}}


def row(number):
    return pickle.dumps({"round": number, "select/accuracy": number / 10, "dev/loss": float("nan")})


def sql(store, statement):
    """Run a statement in the database itself, behind MLflow's back."""
    with sqlite3.connect(store.path) as connection:
        connection.execute(statement)
    connection.close()


@pytest.fixture
def told():
    return []


@pytest.fixture
def delivery(store, told, tmp_path):
    return make(store, told, tmp_path)


def make(store, told, folder):
    return Delivery(store.tracker(), at(folder), told.append)


def send_all(delivery):
    while delivery.backlog:
        time.sleep(delivery.rest)
        delivery.send_one()


def test_a_trial_that_is_behind_is_sent_in_three_requests(store, delivery, monkeypatch):
    """However long the store was slow: the run is made, all of it is logged, its end is told."""
    delivery.start(KEY, facts(KEY))
    for number in range(20):
        delivery.row(KEY, number, row(number))
    delivery.end(KEY, "FINISHED")
    asked = []
    client = delivery.tracker._client._tracking_client.store
    for name in ("create_run", "log_batch", "update_run_info", "_search_runs", "get_metric_history"):
        method = getattr(client, name)
        monkeypatch.setattr(client, name, lambda *a, _n=name, _m=method, **k: (asked.append(_n), _m(*a, **k))[1])
    assert delivery.tracker.running() == []  # what runs there are is asked once
    asked.clear()
    delivery.send_one()
    assert asked == ["create_run", "log_batch", "update_run_info"]
    assert not delivery.backlog
    assert [step for step, _ in store.history(KEY, "select/accuracy")] == list(range(20))
    assert store.run(KEY).info.status == "FINISHED"
    assert store.run(KEY).data.params == PARAMETERS | {"seed": "0"}


def test_of_a_trial_that_left_its_record_all_is_read_from_there(store, delivery, record, tmp_path):
    delivery.start(KEY, facts(KEY))
    delivery.row(KEY, 0, row(0))
    send_all(delivery)
    write_record(trial_folder(tmp_path, KEY), record())
    delivery.row(KEY, 1, row(1))
    delivery.end(KEY, "FINISHED")
    assert delivery.backlog.waiting[KEY].rounds == (), "what the record says takes no memory"
    send_all(delivery)
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.7), (2, 0.6)]
    assert store.history(KEY, "test/accuracy") == [(0, 0.65)]
    assert store.run(KEY).data.tags["avil.status"] == "finished"
    assert store.tracker().shows(
        KEY, "finished", json.loads((trial_folder(tmp_path, KEY) / RESULT).read_text())["checksum"]
    )


def test_the_end_of_a_sweep(store, delivery, record, tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("report.md", "report.html", "figures/curves.png"):
        (tmp_path / name).write_text("content")
    for key, status in ((KEY, "finished"), (OTHER, "failed")):
        write_record(trial_folder(tmp_path, key), record(int(key[-1]), key=key, status=status))
    delivery.start("equal/c000/s2", facts("equal/c000/s2"))  # of a process that was killed
    send_all(delivery)
    assert delivery.finish(SUMMARY, "FAILED", [KEY]) == [KEY], "whose model is not there yet"
    assert delivery.trouble == ""
    assert {key: run.info.status for key, run in store.runs().items()} == {
        store.sweep: "FAILED",
        f"{store.sweep}/{KEY}": "FINISHED",
        f"{store.sweep}/{OTHER}": "FAILED",
        f"{store.sweep}/equal/c000/s2": "KILLED",
    }
    client, parent = open_store(store.uri), store.run(None).info.run_id
    names = {file.path for file in client.list_artifacts(parent)}
    assert {file.path for file in client.list_artifacts(store.run(KEY).info.run_id)} == {"record", "figures"}
    assert names == {"summary.json", "comparison.json", "report.md", "report.html", "figures"}
    folder = client.download_artifacts(parent, "summary.json", str(tmp_path))
    assert json.loads(Path(folder).read_text()) == SUMMARY


def test_where_many_trials_wait_their_curves_are_not_drawn(store, told, record, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MANY", 1)
    for key in (KEY, OTHER):
        write_record(trial_folder(tmp_path, key), record(int(key[-1]), key=key))
    make(store, told, tmp_path).finish(SUMMARY, "FINISHED", [])
    client = open_store(store.uri)
    folders = [{file.path for file in client.list_artifacts(store.run(key).info.run_id)} for key in (KEY, OTHER)]
    assert folders == [{"record"}, {"record", "figures"}]


def test_a_trial_that_failed_without_a_record_has_failed_also_where_that_is_still_to_be_sent(store, delivery):
    for key in (KEY, OTHER):
        delivery.start(key, facts(key))
    send_all(delivery)
    delivery.end(KEY, "FAILED")  # and the sweep ends before that is sent
    assert delivery.finish(SUMMARY, "FAILED", []) == []
    assert (store.run(KEY).info.status, store.run(OTHER).info.status) == ("FAILED", "KILLED")


def test_what_the_store_shows_is_not_sent_again(store, told, record, tmp_path):
    write_record(trial_folder(tmp_path, KEY), record())
    make(store, told, tmp_path).finish(SUMMARY, "FINISHED", [])
    again = make(store, told, tmp_path)
    again._compare()
    assert not again.backlog
    write_record(trial_folder(tmp_path, KEY), record(select=0.8))
    again._compare()
    assert list(again.backlog.waiting) == [KEY]


def test_a_record_that_cannot_be_read_is_a_failed_run(store, delivery, record, tmp_path):
    write_record(trial_folder(tmp_path, KEY), record())
    (trial_folder(tmp_path, KEY) / RESULT).write_text("{")
    delivery.finish(SUMMARY, "FAILED", [])
    assert store.run(KEY).info.status == "FAILED"
    assert "unreadable" in store.run(KEY).data.tags["avil.reason"]


def test_a_store_that_fails_is_told_once_and_made_good(store, delivery, told, monkeypatch):
    monkeypatch.setattr(module, "FIRST_REST", 0.01)
    sql(store, "ALTER TABLE metrics RENAME TO gone")
    for key in (KEY, OTHER):
        delivery.start(key, facts(key))
        delivery.row(key, 0, row(0))
        delivery.send_one()
    delivery.row(KEY, 1, row(1))
    assert [kind for kind, _ in told] == ["trouble"]
    assert "no such table" in told[0][1]
    assert delivery.rest > 0
    assert set(delivery.backlog.waiting) == {KEY, OTHER}

    sql(store, "ALTER TABLE gone RENAME TO metrics")
    send_all(delivery)
    assert delivery.trouble == ""
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.1)]
    assert store.history(OTHER, "select/accuracy") == [(0, 0.0)]


def test_a_trial_that_the_store_never_takes_holds_up_no_other(store, delivery, monkeypatch):
    monkeypatch.setattr(module, "FIRST_REST", 0.01)
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    refuse = "BEFORE INSERT ON params WHEN NEW.value = 'bad' BEGIN SELECT RAISE(ABORT, 'refused'); END"
    sql(store, f"CREATE TRIGGER refuse {refuse}")
    delivery.start(KEY, {**facts(KEY), "options": {"rate": "bad"}})
    delivery.start(OTHER, facts(OTHER))
    assert delivery.finish(SUMMARY, "FINISHED", []) == []
    assert store.run(OTHER).data.params == PARAMETERS | {"seed": "1"}
    assert list(delivery.backlog.waiting) == [KEY]
    assert "refused" in delivery.trouble


def test_trouble_that_lasts_is_there_at_the_end(store, delivery, record, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    monkeypatch.setattr(module, "FIRST_REST", 0.05)
    write_record(trial_folder(tmp_path, KEY), record())
    sql(store, "ALTER TABLE metrics RENAME TO gone")
    assert delivery.finish(SUMMARY, "FINISHED", [KEY]) == []
    assert "no such table" in delivery.trouble
    assert store.run(None).info.status == "RUNNING"


def test_an_experiment_that_is_deleted_while_the_sweep_runs_comes_back(store, delivery, caplog):
    delivery.start(KEY, facts(KEY))
    delivery.send_one()
    open_store(store.uri).delete_experiment(store.run(KEY).info.experiment_id)
    delivery.row(KEY, 0, row(0))
    send_all(delivery)
    assert store.history(KEY, "select/accuracy") == [(0, 0.0)]
    assert "it is restored" in caplog.text
