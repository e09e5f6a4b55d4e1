import pickle
import tempfile
import time
from pathlib import Path

import pytest
from ray import tune
from ray.tune.experiment import Trial

from avil_ray.tracking.callback import TrackingCallback
from avil_ray.tracking.outbox import Outbox

SUMMARY = {"sweep": "first sweep", "methods": [], "comparisons": []}
CLEAN, TWICE, FAILING = (f"equal/c000/s{seed}" for seed in range(3))


def facts(key):
    seed = int(key[-1])
    return {
        "key": key,
        "label": "equal",
        "method": "static",
        "configuration": 0,
        "seed": seed,
        "options": {"rate": 0.5},
    }


def trainable():
    # defined in here, as Ray's workers cannot import this module and so must get the function itself
    def train(config):
        """Three rounds; the trial TWICE fails once after its second, FAILING whenever its repair is missing."""
        key, first = config["trial"]["key"], 0
        checkpoint = tune.get_checkpoint()
        if checkpoint:
            with checkpoint.as_directory() as folder:
                first = int(
                    Path(folder, "round").read_text()
                )  # the last round again: it may have been cut off in there
        for number in range(first, 3):
            if key == FAILING and number == 1 and not Path(config["repair"]).exists():
                raise RuntimeError("diverged")
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "round").write_text(str(number))
                row = {"round": number, "select/accuracy": number / 10, "dev/loss": float("nan")}
                tune.report(
                    {"round": number, "row": pickle.dumps(row)}, checkpoint=tune.Checkpoint.from_directory(folder)
                )
            if key == TWICE and number == 1 and not checkpoint:
                raise RuntimeError("out of memory")

    return tune.with_resources(train, {"cpu": 1})


@pytest.fixture
def outbox(store, tmp_path):
    with Outbox(store.uri, store.experiment, store.sweep, tmp_path) as outbox:
        outbox.prepare()
        yield outbox


@pytest.fixture
def callback(outbox):
    return TrackingCallback(outbox)


def sent(callback):
    """Wait until all is there."""
    callback.outbox.finish(SUMMARY, "FINISHED")
    assert callback.outbox.trouble is None


@pytest.mark.slow
def test_retries_and_resumed_sweeps_go_on_in_the_same_runs(ray_session, store, outbox, callback, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = {"trial": tune.grid_search([facts(key) for key in (CLEAN, TWICE, FAILING)])}
    run = tune.RunConfig(
        name="moons",
        storage_path=str(tmp_path / "tune"),
        verbose=0,
        callbacks=[callback],
        failure_config=tune.FailureConfig(max_failures=1),
    )
    tune.Tuner(trainable(), param_space={**keys, "repair": str(tmp_path / "repaired")}, run_config=run).fit()
    sent(callback)
    assert {key: store.run(key).info.status for key in (CLEAN, TWICE, FAILING)} == {
        CLEAN: "FINISHED",
        TWICE: "FINISHED",
        FAILING: "FAILED",
    }
    assert store.run(CLEAN).data.metrics == {"round": 2.0, "select/accuracy": 0.2}
    for key in (CLEAN, TWICE):
        assert store.history(key, "select/accuracy") == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert store.history(FAILING, "select/accuracy") == [(0, 0.0)]

    (tmp_path / "repaired").touch()
    again = tune.RunConfig(
        name="again",
        storage_path=str(tmp_path / "tune"),
        verbose=0,
        callbacks=[TrackingCallback(outbox)],
    )
    space = {"trial": tune.grid_search([facts(FAILING)]), "repair": str(tmp_path / "repaired")}
    tune.Tuner(trainable(), param_space=space, run_config=again).fit()
    sent(callback)
    assert len(store.runs()) == 4  # one each, and the sweep's
    assert store.run(FAILING).info.status == "FINISHED"
    assert store.run(FAILING).data.params["rate"] == "0.5"
    for key in (CLEAN, TWICE, FAILING):
        assert store.history(key, "select/accuracy") == [(0, 0.0), (1, 0.1), (2, 0.2)]


def as_trial(key):
    return Trial("train", config={"trial": facts(key)}, stub=True)


def test_what_a_sweeps_end_cuts_off_was_killed(store, callback):
    for key in (CLEAN, TWICE):
        callback.on_trial_start(0, [], as_trial(key))
    callback.on_trial_complete(1, [], as_trial(CLEAN))
    callback.on_experiment_end([])
    sent(callback)
    assert (store.run(CLEAN).info.status, store.run(TWICE).info.status) == ("FINISHED", "KILLED")
    callback.on_trial_start(2, [], as_trial(TWICE))
    callback.outbox._ask("prepare", None)  # answered once what came before it was heard
    until = time.monotonic() + 20
    while store.run(TWICE).info.status != "RUNNING" and time.monotonic() < until:
        time.sleep(0.1)
    assert store.run(TWICE).info.status == "RUNNING"


def test_a_trial_that_fails_before_it_starts_has_a_whole_run(store, callback):
    callback.on_trial_error(0, [], as_trial(CLEAN))
    sent(callback)
    run = store.run(CLEAN)
    assert run.info.status == "FAILED"
    assert run.data.tags["avil.method"] == "static"


def test_what_tune_stores_of_a_callback_holds_no_password():
    callback = TrackingCallback(Outbox("postgresql://me:secret@host/db", "moons", "first", Path("/nowhere")))
    assert b"secret" not in pickle.dumps(callback)
