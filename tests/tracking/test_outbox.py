"""The process that writes beside a sweep: told without waiting, and it leaves nothing behind, whatever happens."""

import os
import pickle
import signal
import time

import pytest

from avil_ray.errors import UserError
from avil_ray.reports.records import trial_folder, write_record
from avil_ray.tracking.outbox import UNSENT, Outbox, unsent

KEY = "equal/c000/s0"
SUMMARY = {"sweep": "first sweep", "methods": [{"label": "equal", "trials": 1}], "comparisons": []}


def facts(seed):
    return {"label": "equal", "method": "static", "configuration": 0, "seed": seed, "options": {"rate": 0.5}}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "first sweep"
    place.mkdir()
    return place


def box(store, folder):
    return Outbox(store.uri, store.experiment, store.sweep, folder)


def test_a_sweeps_trials_are_there_at_its_end(store, folder, record):
    with box(store, folder) as outbox:
        outbox.reach()
        outbox.prepare()
        assert unsent(folder) == "KILLED", "should this process die now"
        outbox.start(KEY, facts(0))
        for number in range(3):
            outbox.row(KEY, number, pickle.dumps({"round": number, "select/accuracy": number / 10}))
        write_record(trial_folder(folder, KEY), record())
        outbox.end(KEY, "FINISHED")
        assert outbox.finish(SUMMARY, "FINISHED", [KEY]) == [KEY]
        outbox.log_model(KEY, None, [], "it cannot be exported")
        outbox.settled()
        process = outbox._process
    assert process.returncode == 0
    assert outbox.trouble is None
    assert unsent(folder) is None
    assert {run.info.status for run in store.runs().values()} == {"FINISHED"}
    assert [step for step, _ in store.history(KEY, "select/accuracy")] == [0, 1, 2]
    assert store.run(KEY).data.tags["avil.model"] == "it cannot be exported"


@pytest.mark.slow
def test_news_do_not_wait_for_a_process_that_stands_still(store, folder):
    with box(store, folder) as outbox:
        outbox.prepare()
        os.kill(outbox._process.pid, signal.SIGSTOP)
        began = time.monotonic()
        for seed in range(2000):
            outbox.start(f"equal/c000/s{seed}", facts(seed))
            outbox.row(f"equal/c000/s{seed}", 0, pickle.dumps({"round": 0, "select/accuracy": 0.5}))
        outbox.listen()
        assert time.monotonic() - began < 1
        os.kill(outbox._process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_where_the_other_process_dies_the_end_of_the_sweep_sends_what_the_folder_has(store, folder, record, caplog):
    with box(store, folder) as outbox:
        outbox.prepare()
        outbox.start(KEY, facts(0))
        os.kill(outbox._process.pid, signal.SIGKILL)
        outbox._process.wait()
        outbox.end(KEY, "FINISHED")
        outbox.listen()
        outbox.listen()
        assert caplog.text.count("has died") == 1
        write_record(trial_folder(folder, KEY), record())
        outbox.finish(SUMMARY, "FINISHED")
    assert outbox.trouble is None
    assert [step for step, _ in store.history(KEY, "select/accuracy")] == [0, 1, 2]


def test_a_store_that_cannot_be_used_is_the_users_mistake(tmp_path, folder):
    (tmp_path / "bad.db").write_text("not a database")
    bad = Outbox(f"sqlite:///{tmp_path}/bad.db", "moons", "first", folder)
    with bad, pytest.raises(UserError, match="cannot be opened"):
        bad.reach()


def test_a_relative_store_is_refused_at_once(folder):
    with pytest.raises(UserError, match="relative path"):
        Outbox("sqlite:///mlflow.db", "moons", "first", folder)


@pytest.mark.slow
def test_a_second_process_waits_for_the_first(store, folder):
    with box(store, folder) as first, box(store, folder) as second:
        first.prepare()
        second._news.put(("prepare", None))
        assert not second._pipe.poll(2), "it does not answer while the first holds the lock"
        first._stop()
        assert second._pipe.recv() == ("answer", first.link)


@pytest.mark.parametrize(("content", "status"), [('{"status": "FAILED"}', "FAILED"), ("[]", "KILLED"), ("{", "KILLED")])
def test_the_word_that_is_left_may_be_damaged(folder, content, status):
    (folder / UNSENT).write_text(content)
    assert unsent(folder) == status
