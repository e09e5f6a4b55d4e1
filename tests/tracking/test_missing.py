"""What a sweep could not send is sent from its folder."""

from dataclasses import replace

import pytest
from simulated import SETUP, START, make_facts

from avil_ray.locking import locked
from avil_ray.reports.comparison import compare
from avil_ray.reports.records import read_records, trial_folder, write_record
from avil_ray.storage import at
from avil_ray.tracking.missing import send_missing
from avil_ray.tracking.outbox import UNSENT, unsent
from avil_ray.tracking.store import open_store

KEY = "equal/c000/s0"
UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture
def folder(store, record, tmp_path):
    """A sweep that was killed: one trial has ended, and another has not."""
    place = tmp_path / store.sweep
    write_record(trial_folder(place, KEY), record())
    store.tracker().bring("equal/c000/s1", [], "RUNNING")
    (place / UNSENT).write_text('{"status": "KILLED"}')
    return place


def comparison(store, folder):
    setup = replace(SETUP, configuration={"suite.target_labels": 300}, digest="abc")
    told = {"name": store.sweep, "suite": store.experiment, "setup": setup, "starts": (START,)}
    facts = make_facts(("equal",), seeds=(0,), **told)
    return compare(read_records(folder), facts)


def test_a_killed_sweeps_runs_say_what_its_folder_says(store, folder):
    assert send_missing(store.uri, at(folder), comparison(store, folder)) is None
    assert unsent(folder) is None
    assert {key: run.info.status for key, run in store.runs().items()} == {
        store.sweep: "KILLED",
        f"{store.sweep}/{KEY}": "FINISHED",
        f"{store.sweep}/equal/c000/s1": "KILLED",
    }
    assert [step for step, _ in store.history(KEY, "select/accuracy")] == [0, 1, 2]
    require_complete(store)


def require_complete(store):
    """What is sent later is as complete as what is sent at once."""
    trial, parent = store.run(KEY), store.run(None)
    assert trial.info.run_name == "equal · seed 0"
    assert trial.data.params["suite.target_labels"] == "300"
    assert trial.data.tags["mlflow.source.git.commit"] == "0123abc"
    assert [one.tags[0].value for one in trial.inputs.dataset_inputs] == ["train", "dev", "select", "test"]
    files = open_store(store.uri).list_artifacts(trial.info.run_id)
    assert {file.path for file in files} == {"record", "figures"}
    assert parent.data.metrics["test/equal"] == 0.65
    assert trial.info.run_id in parent.data.tags["mlflow.note.content"], "the best trials are compared there"


def test_a_sweep_that_sent_all_costs_a_report_nothing(store, folder):
    (folder / UNSENT).unlink()
    assert send_missing(UNREACHABLE, at(folder), comparison(store, folder)) is None


def test_a_sweep_that_runs_sends_for_itself(store, folder):
    with locked(folder):
        assert send_missing(store.uri, at(folder), comparison(store, folder)) is None
    assert unsent(folder) == "KILLED"


def test_a_store_that_does_not_answer_is_told_and_asked_again_next_time(store, folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert "cannot be opened" in str(send_missing(UNREACHABLE, at(folder), comparison(store, folder)))
    assert unsent(folder) == "KILLED"
