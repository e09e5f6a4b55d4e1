"""A run by itself, in a real store."""

import sqlite3
import time

import pytest
from simulated import START, make_facts

from avil_ray.errors import UserError, WorkFailed
from avil_ray.reports.records import write_record
from avil_ray.tracking.exported import Packed
from avil_ray.tracking.single import Follower
from avil_ray.tracking.store import open_store

TRIAL = {
    "key": "equal",
    "label": "equal",
    "method": "static",
    "configuration": 0,
    "seed": 0,
    "options": {"weights.a": 0.5},
}
REFUSING = "CREATE TRIGGER refuse BEFORE INSERT ON metrics BEGIN SELECT RAISE(ABORT, 'refused'); END"
PACKED = Packed(None, trouble="it cannot be exported")


def follower(store, resume=False):
    facts = make_facts(("equal",), seeds=(0,), starts=(START,))
    return Follower(store.uri, store.experiment, TRIAL, facts, resume)


def runs(store):
    client = open_store(store.uri)
    experiment = client.get_experiment_by_name(store.experiment)
    return [] if experiment is None else client.search_runs([experiment.experiment_id])


def rounds(store, run):
    found = open_store(store.uri).get_metric_history(run.info.run_id, "select/accuracy")
    return sorted(metric.step for metric in found)


def breaks(store, error):
    """A run that ends after its first round."""
    with follower(store) as one:
        one.row(0, row(0))
        raise error


def row(number):
    return {"round": number, "select/accuracy": number / 10}


def test_a_run_is_followed_and_finished(store, record, tmp_path):
    write_record(tmp_path, record())
    with follower(store) as one:
        one.row(0, row(0))
        one.finish(record(), tmp_path, PACKED)
    assert one.trouble is None
    (run,) = runs(store)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "equal · seed 0")
    assert run.data.params == {"weights.a": "0.5", "label": "equal", "method": "static", "seed": "0"}
    assert run.data.metrics["test/accuracy"] == 0.65
    assert "avil.reason" not in run.data.tags
    assert run.data.tags["avil.model"] == "it cannot be exported"
    assert rounds(store, run) == [0, 1, 2], "the rounds that nobody sent too, each once"
    assert {file.path for file in open_store(store.uri).list_artifacts(run.info.run_id)} == {"record", "figures"}
    assert one.link.startswith(f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?")


def test_wrong_input_leaves_no_run(store):
    with pytest.raises(UserError, match="rounds"), follower(store):
        raise UserError("rounds must be a whole number")
    assert runs(store) == []


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [(WorkFailed("diverged"), "FAILED", "WorkFailed: diverged"), (KeyboardInterrupt(), "KILLED", "interrupted")],
)
def test_a_run_that_does_not_end_well_says_why(store, error, status, reason):
    with pytest.raises(type(error)):
        breaks(store, error)
    (run,) = runs(store)
    assert (run.info.status, run.data.tags["avil.reason"]) == (status, reason)
    assert rounds(store, run) == [0]


@pytest.mark.parametrize(("resume", "expected"), [(True, 1), (False, 2)])
def test_a_resumed_run_goes_on_in_its_run_and_another_has_its_own(store, record, tmp_path, resume, expected):
    write_record(tmp_path, record())
    with pytest.raises(KeyboardInterrupt):
        breaks(store, KeyboardInterrupt())
    with follower(store, resume) as one:
        one.row(1, row(1))
        one.finish(record(), tmp_path, PACKED)
    found = runs(store)
    assert len(found) == expected
    assert found[0].info.status == "FINISHED"
    assert rounds(store, found[0]) == [0, 1, 2]


def test_a_store_that_fails_meanwhile_is_told_once_and_gets_all_at_the_end(store, record, tmp_path, caplog):
    write_record(tmp_path, record())
    with follower(store) as one:
        sql(store, REFUSING)
        for number in range(2):
            one.row(number, row(number))
        one._rows.put(None)
        one._thread.join()
        assert "refused" in one.trouble
        sql(store, "DROP TRIGGER refuse")
        one.finish(record(), tmp_path, PACKED)
    assert one.trouble is None
    assert caplog.text.count("training goes on") == 1
    (run,) = runs(store)
    assert rounds(store, run) == [0, 1, 2]


def test_what_a_store_still_lacks_at_the_end_is_told(store, record, tmp_path):
    write_record(tmp_path, record())
    with follower(store) as one:
        sql(store, REFUSING)
        one.finish(record(), tmp_path, PACKED)
    assert "refused" in one.trouble


def test_a_store_that_cannot_be_used_is_refused_before_training():
    one = Follower("http://127.0.0.1:1", "moons", TRIAL, make_facts(("equal",)), False)
    with pytest.raises(UserError, match="cannot be opened"), one:
        pytest.fail("it trains")


def test_the_machine_is_watched_where_that_is_asked(store, record, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    write_record(tmp_path, record())
    with follower(store) as one:
        one.row(0, row(0))
        until = time.monotonic() + 20
        while time.monotonic() < until and not any("system/" in name for name in names(store)):
            time.sleep(0.1)
        one.finish(record(), tmp_path, PACKED)
    assert "system/cpu_utilization_percentage" in names(store)
    assert runs(store)[0].info.status == "FINISHED"


def names(store):
    return [name for run in runs(store) for name in run.data.metrics]


def sql(store, statement):
    """Run a statement in the database itself, behind MLflow's back."""
    with sqlite3.connect(store.path) as connection:
        connection.execute(statement)
    connection.close()
