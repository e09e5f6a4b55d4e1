import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from avil_ray.errors import UserError
from avil_ray.tracking.contents import trial_items
from avil_ray.tracking.items import Data, Note, Origin, Parameters, Table, Tag, Text, Totals, round_metrics
from avil_ray.tracking.runs import _batches
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


def rows(*rounds):
    return [round_metrics({"select/accuracy": number / 10}, number) for number in rounds]


def test_a_relative_store_is_refused_at_once():
    with pytest.raises(UserError, match="relative path"):
        Tracker("sqlite:///mlflow.db", "moons", "first")


def test_a_trial_gets_one_run_below_its_sweeps(store):
    tracker = store.tracker()
    tracker.bring(KEY, trial_items(TRIAL), "RUNNING")
    tracker.bring(KEY, rows(0, 1))
    child, parent = store.run(KEY), store.run(None)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["avil.label"] == "equal"
    assert child.data.params == {"weights.a": "0.5", "label": "equal", "method": "static", "seed": "0"}
    assert child.info.run_name == "equal · seed 0"
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.1)]
    assert (child.info.status, parent.info.status) == ("RUNNING", "RUNNING")


@pytest.mark.parametrize("again", ["same writer", "new writer"])
def test_a_trial_that_starts_again_goes_on_in_its_run(store, again):
    tracker = store.tracker()
    tracker.bring(KEY, trial_items(TRIAL), "RUNNING")
    tracker.bring(KEY, rows(0, 1))
    tracker.bring(KEY, [], "FAILED")
    assert store.run(KEY).info.status == "FAILED"

    tracker = tracker if again == "same writer" else store.tracker()
    tracker.bring(KEY, trial_items(TRIAL), "RUNNING")
    assert store.run(KEY).info.status == "RUNNING"
    tracker.bring(KEY, rows(1, 2))
    tracker.bring(KEY, rows(2))
    tracker.bring(KEY, [], "FINISHED")
    assert set(store.runs()) == {store.sweep, f"{store.sweep}/{KEY}"}
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.1), (2, 0.2)]
    finished = store.run(KEY)
    assert finished.info.status == "FINISHED"
    assert finished.info.end_time is not None


def test_a_round_that_came_late_fills_its_gap(store):
    tracker = store.tracker()
    tracker.bring(KEY, rows(0, 2))
    store.tracker().bring(KEY, rows(0, 1, 2))
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.1), (2, 0.2)]


def test_a_parameter_keeps_its_first_value(store):
    store.tracker().bring(KEY, [Parameters({"a": "1"})])
    again = store.tracker()
    again.bring(KEY, [Parameters({"a": "2", "b": "3"})])
    assert store.run(KEY).data.params == {"a": "1", "b": "3"}


def test_totals_and_tags_are_sent_again_only_where_they_changed(store):
    tracker = store.tracker()
    for value in (1.0, 1.0, 2.0):
        tracker.bring(KEY, [Totals({"test/accuracy": value}), Tag("avil.status", str(value))])
    store.tracker().bring(KEY, [Totals({"test/accuracy": 2.0})])
    assert store.history(KEY, "test/accuracy") == [(0, 1.0), (0, 2.0)]
    assert store.run(KEY).data.tags["avil.status"] == "2.0"


def test_more_than_one_request_can_take(store):
    many = {f"m{number}": float(number) for number in range(1700)}
    tracker = store.tracker()
    tracker.bring(KEY, [round_metrics(many, 0), Parameters({f"p{number}": "x" for number in range(250)})])
    run = store.run(KEY)
    assert run.data.metrics == {**many, "round": 0.0}
    assert len(run.data.params) == 250


def test_keys_with_quotes_find_their_run(store):
    tracker = Tracker(store.uri, store.experiment, "it's")
    tracker.prepare()
    tracker.bring(KEY, [], "RUNNING")
    again = Tracker(store.uri, store.experiment, "it's")
    again.prepare()
    again.bring(KEY, [], "RUNNING")
    assert set(store.runs()) == {"it's", f"it's/{KEY}"}


@pytest.mark.slow
def test_two_processes_share_a_prepared_store(store):
    store.tracker()
    work = f"""
import sys
from avil_ray.tracking.items import round_metrics
from avil_ray.tracking.writer import Tracker
tracker = Tracker({store.uri!r}, {store.experiment!r}, {store.sweep!r})
for number in range(20):
    tracker.bring(sys.argv[1], [round_metrics({{"loss": 1.0}}, number)])
print('done')
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", work, f"e/c000/s{seed}"], stdout=subprocess.PIPE, text=True)
        for seed in (0, 1)
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["done\n", "done\n"]
    assert [len(store.history(f"e/c000/s{seed}", "loss")) for seed in (0, 1)] == [20, 20]


def test_a_record_brings_a_run_up_to_date_once(store, record):
    tracker = store.tracker()
    tracker.bring(KEY, rows(0))  # as seen while it ran; the rest was missed
    for _ in range(2):
        store.tracker().bring_record(record())
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
    store.tracker().bring_record(record(status=status))
    assert store.run(KEY).info.status == expected


def test_a_trial_that_failed_and_then_finished_shows_no_reason(store, record):
    store.tracker().bring_record(record(status="failed", reason="diverged"))
    assert store.run(KEY).data.tags["avil.reason"] == "diverged"
    store.tracker().bring_record(record())
    assert store.run(KEY).data.tags["avil.reason"] == ""
    assert store.run(KEY).data.tags["avil.status"] == "finished"


def test_a_table_is_replaced_not_continued(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)  # load_table asks it, not its own client's store
    for accuracy in (0.1, 0.2):
        store.tracker().bring(None, [Table("comparison.json", ("label", "test"), (("equal", accuracy),))])
    experiment = open_store(store.uri).get_experiment_by_name(store.experiment).experiment_id
    shown = open_store(store.uri).load_table(experiment, "comparison.json", [store.run(None).info.run_id])
    pd.testing.assert_frame_equal(shown, pd.DataFrame({"label": ["equal"], "test": [0.2]}))


def test_a_store_that_cannot_be_used_stops_the_sweep_before_it_starts(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database")
    with pytest.raises(UserError, match="cannot be opened"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", "moons", "first").prepare()


def test_texts_replace_each_other(store, tmp_path):
    tracker = store.tracker()
    for content in ("one", "two"):
        tracker.bring(None, [Text("note.txt", content)])
    path = open_store(store.uri).download_artifacts(store.run(None).info.run_id, "note.txt", str(tmp_path))
    assert Path(path).read_text() == "two"


@pytest.mark.parametrize("what", ["run", "runs", "experiment", "for good"])
def test_what_was_deleted_in_mlflow_is_found_again(store, record, what):
    store.tracker().bring_record(record())
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
    tracker.bring_record(record())
    after = store.runs()
    assert set(after) == set(before)
    again = store.run(None)
    assert (again.info.run_id == parent.info.run_id) == (what != "for good")
    assert store.run(record().key).info.run_id == trial.info.run_id
    assert store.run(record().key).data.tags["mlflow.parentRunId"] == again.info.run_id


def test_a_fresh_sweep_takes_none_of_the_deleted_runs(store, record):
    store.tracker().bring_record(record())
    before = {run.info.run_id for run in store.runs().values()}
    open_store(store.uri).delete_run(store.run(record().key).info.run_id)
    tracker = store.tracker()
    tracker.forget()
    tracker.prepare()
    tracker.bring_record(record())
    assert before.isdisjoint(run.info.run_id for run in store.runs().values())


def test_a_store_is_reached_before_anything_is_made_in_it(store):
    Tracker(store.uri, store.experiment, store.sweep).reach()
    assert open_store(store.uri).get_experiment_by_name(store.experiment) is None


def test_what_a_run_shows_is_known_from_its_mark(store, record):
    store.tracker().bring_record(record(), "abc")
    again = store.tracker()
    assert again.shows(KEY, "finished", "abc")
    assert not again.shows(KEY, "finished", "other")
    assert not again.shows(KEY, "failed", "abc")
    assert not again.shows(KEY, "finished", ""), "a record without a checksum has no mark"
    assert not again.shows("equal/c000/s1", "finished", "abc")


def test_names_that_match_as_patterns_are_told_apart(store, record):
    """`_` in a search matches any letter, and a search knows no cases."""
    for sweep in ("first_sweep", "first-sweep", "First_sweep"):
        tracker = Tracker(store.uri, store.experiment, sweep)
        tracker.prepare()
        tracker.bring_record(record(), sweep)
    for sweep in ("first_sweep", "first-sweep", "First_sweep"):
        again = Tracker(store.uri, store.experiment, sweep)
        again.prepare()
        assert again.shows(KEY, "finished", sweep)
    assert len(store.runs()) == 6


def test_more_runs_than_one_page_are_found(store, record, monkeypatch):
    monkeypatch.setattr("avil_ray.tracking.finding.RUNS_AT_ONCE", 2)
    tracker = store.tracker()
    for seed in range(5):
        tracker.bring_record(record(seed, key=f"equal/c000/s{seed}"), "abc")
    again = store.tracker()
    assert all(again.shows(f"equal/c000/s{seed}", "finished", "abc") for seed in range(5))


def test_after_a_doubt_the_store_is_asked_what_arrived(store):
    tracker = store.tracker()
    tracker.bring(KEY, rows(0))
    store.tracker().bring(KEY, rows(0, 1))  # as if a request of the first had arrived without an answer
    tracker.doubt(KEY)
    tracker.bring(KEY, rows(0, 1, 2))
    assert store.history(KEY, "select/accuracy") == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert set(store.runs()) == {store.sweep, f"{store.sweep}/{KEY}"}


def test_a_request_holds_whole_rounds(store):
    """MLflow takes all metrics of a request or none, so the mark of a round says that all of it is there."""
    many = {f"m{number}": float(number) for number in range(500)}
    tracker = store.tracker()
    tracker.bring(KEY, [round_metrics(many, number) for number in range(3)])
    assert [len(batch) for batch in _batches([(n, {**many, "round": n}) for n in range(3)])] == [501, 501, 501]
    assert [len(batch) for batch in _batches([(0, {f"m{n}": 0.0 for n in range(900)})])] == [800, 100]
    assert store.history(KEY, "m499") == [(0, 499.0), (1, 499.0), (2, 499.0)]


def test_trials_that_are_said_to_run_are_known(store):
    store.tracker().bring(KEY, trial_items(TRIAL), "RUNNING")
    again = store.tracker()
    assert again.running() == [KEY]
    again.bring(KEY, [], "KILLED")
    assert again.running() == []


def test_the_link_names_the_sweeps_run(store):
    tracker = Tracker(store.uri, store.experiment, store.sweep)
    assert tracker.link is None
    tracker.prepare()
    info = store.run(None).info
    assert tracker.link == f"#/experiments/{info.experiment_id}/runs/{info.run_id}?workflowType=machine_learning"


def test_a_run_keeps_the_name_that_a_user_gave_it(store):
    store.tracker().bring(KEY, [Origin("first", {"mlflow.user": "somebody"})])
    run = store.run(KEY)
    assert (run.info.run_name, run.data.tags["mlflow.user"]) == ("first", "somebody")
    open_store(store.uri).update_run(run.info.run_id, name="mine")
    store.tracker().bring(KEY, [Origin("second", {"mlflow.user": "somebody else"})])
    run = store.run(KEY)
    assert (run.info.run_name, run.data.tags["mlflow.user"]) == ("mine", "somebody")


def test_a_description_is_renewed_until_a_user_edits_it(store):
    for content in ("one", "two"):
        store.tracker().bring(KEY, [Note(content)])
        assert store.run(KEY).data.tags["mlflow.note.content"] == content
    open_store(store.uri).set_tag(store.run(KEY).info.run_id, "mlflow.note.content", "mine")
    store.tracker().bring(KEY, [Note("three")])
    assert store.run(KEY).data.tags["mlflow.note.content"] == "mine"


def test_a_description_too_long_for_mlflow_is_cut(store):
    store.tracker().bring(KEY, [Note("x" * 9000)])
    assert len(store.run(KEY).data.tags["mlflow.note.content"]) == 8000


def test_data_are_inputs_once(store, monkeypatch):
    found = [Data("moons", f"d{split}", split, {"a": 40, "b": None}, "{}") for split in ("train", "test")]
    store.tracker().bring(KEY, found)
    tracker = store.tracker()
    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "log_inputs", lambda *_: pytest.fail("asked again"))
        tracker.bring(KEY, found)
    inputs = store.run(KEY).inputs.dataset_inputs
    assert {one.tags[0].value: (one.dataset.name, one.dataset.digest) for one in inputs} == {
        "train": ("moons", "dtrain"),
        "test": ("moons", "dtest"),
    }
    assert json.loads(inputs[0].dataset.profile) == {"num_rows": 40, "rows_of_each_task": {"a": 40, "b": None}}


def test_where_a_store_fails_half_way_no_mark_says_that_all_is_there(store, record, monkeypatch):
    tracker = store.tracker()
    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "log_text", lambda *_: pytest.fail("the disk is full"))
        with pytest.raises(pytest.fail.Exception):
            tracker.bring_record(record(), "abc", [Text("record/result.json", "{}")])
    assert not store.tracker().shows(KEY, "finished", "abc")


def test_views_of_a_sweep(store, record):
    tracker = store.tracker()
    tracker.bring_record(record())
    found, parent = tracker.views([KEY]), store.run(None).info.run_id
    assert set(found) == {"trials", "charts", "comparison", "report"}
    assert store.run(KEY).info.run_id in found["comparison"]
    assert all(parent in found[name] for name in ("trials", "charts", "report"))
    assert "comparison" not in tracker.views([])
