import logging
import os
import subprocess
import sys

import pytest

from avil_ray.errors import UserError
from avil_ray.tracking.store import (
    check_uri,
    experiment_name,
    first_line,
    open_experiment,
    open_store,
    quiet,
    shown,
    tracking_uri,
)


def test_the_default_store_stands_in_the_storage_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(tmp_path / "results") == f"sqlite:///{tmp_path}/results/mlflow.db"
    relative = type(tmp_path)("results")
    assert tracking_uri(relative) == f"sqlite:///{tmp_path}/results/mlflow.db"


def test_the_environment_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert tracking_uri(tmp_path) == "http://127.0.0.1:5000"
    assert experiment_name("moons") == "mine"
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    assert experiment_name("moons") == "moons"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///mlflow.db", "give sqlite:////"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite://", "in memory"),
        ("mlruns", "no longer keeps runs in plain files"),
        ("./mlruns", "no longer keeps runs in plain files"),
        ("file:///tmp/mlruns", "give sqlite:////tmp/mlruns/mlflow.db"),
    ],
)
def test_a_store_that_cannot_work_is_refused_with_what_would(uri, said):
    with pytest.raises(UserError, match=said):
        check_uri(uri)


@pytest.mark.parametrize(
    "uri", ["sqlite:////tmp/a.db", "sqlite:////tmp/a.db?timeout=9", "https://host/path", "databricks"]
)
def test_absolute_stores_and_servers_are_taken(uri):
    check_uri(uri)


def test_a_relative_store_from_the_environment_is_found_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"give sqlite:///{tmp_path}/mlflow.db"):
        tracking_uri(tmp_path)


def test_passwords_are_not_shown():
    assert shown("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert "secret" not in first_line(RuntimeError("no route to postgresql://me:secret@host/db\nmore"))


def test_a_long_error_keeps_what_it_is_and_why():
    said = first_line(RuntimeError("cannot send " + "x" * 500 + " connection refused\nmore"))
    assert said.startswith("RuntimeError: cannot send")
    assert said.endswith("connection refused")
    assert len(said) == 300


def test_a_server_that_is_not_there_is_the_users_to_start(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"cannot be opened: .*; start or repair it"):
        open_store("http://127.0.0.1:9")  # the discard port: nothing listens there


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database")
    with pytest.raises(UserError, match="cannot be opened"):
        open_store(f"sqlite:///{tmp_path}/mlflow.db")


def test_experiments_keep_their_files_beside_the_database(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    client = open_store(store.uri)
    identifier = open_experiment(client, store.uri, "moons")
    assert open_experiment(client, store.uri, "moons") == identifier
    run = client.create_run(identifier)
    client.log_text(run.info.run_id, "x", "note.txt")
    assert list((store.path.parent / "mlflow-artifacts").rglob("note.txt"))
    assert not (tmp_path / "mlruns").exists()


def test_a_deleted_experiment_is_restored_and_said(store, caplog):
    client = open_store(store.uri)
    identifier = open_experiment(client, store.uri, "moons")
    client.delete_experiment(identifier)
    assert open_experiment(client, store.uri, "moons") == identifier
    assert "experiment 'moons' was deleted in MLflow; it is restored" in caplog.text
    assert client.get_experiment(identifier).lifecycle_stage == "active"


def test_quiet_leaves_levels_and_environment_as_they_were(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    before, level = dict(os.environ), logging.getLogger("mlflow.store.db.utils").level
    with quiet():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3"
        assert not logging.getLogger("mlflow.store.db.utils").isEnabledFor(logging.INFO)
    assert dict(os.environ) == before
    assert logging.getLogger("mlflow.store.db.utils").level == level


def test_processes_may_open_a_new_store_at_once_and_say_nothing(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    work = f"from avil_ray.tracking.store import open_store; print(len(open_store({uri!r}).search_experiments()))"
    processes = [
        subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert said == [("1\n", "")] * 3
