import logging
import os
import socket
import sqlite3
import subprocess
import sys

import pytest
from filelock import FileLock

from avil_ray.errors import UserError
from avil_ray.tracking.store import (
    check_uri,
    experiment_name,
    first_line,
    open_experiment,
    open_store,
    quiet,
    require_usable,
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


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:se@cr/et@host/db", "postgresql://me:***@host/db"),
        ("https://secret@host/x", "https://***@host/x"),
        ("no route to http://me:secret@host:80/x and more", "no route to http://me:***@host:80/x and more"),
        ("mysql://host/db?user=me&password=secret&x=1", "mysql://host/db?user=me&password=***&x=1"),
        ("https://host/x?access_token=secret", "https://host/x?access_token=***"),
        ("sqlite:////results/mlflow.db", "sqlite:////results/mlflow.db"),
    ],
)
def test_secrets_of_every_kind_are_not_shown(text, hidden):
    assert shown(text) == hidden


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


@pytest.mark.parametrize(
    "uri",
    [
        "htp://127.0.0.1:5000",
        "postgresql+nothing://me:secret@127.0.0.1:9/db",
        "postgresql://me:secret@127.0.0.1:9/db",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:9",
        "http://",
        "sqlite:///{folder}/file/mlflow.db",
        "sqlite:///{folder}/no/such/folder",
    ],
)
def test_a_wrong_store_is_one_line_and_leaves_nothing(uri, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "no").mkdir()
    if uri.endswith("no/such/folder"):
        (tmp_path / "no" / "such").mkdir()
        (tmp_path / "no" / "such" / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="tracking store") as caught:
        open_store(uri.format(folder=tmp_path))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr("avil_ray.tracking.store.ANSWER_SECONDS", 0.2)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        for ask in (open_store, require_usable):
            with pytest.raises(UserError, match=r"no answer within 0\.2 s"):
                ask(uri)


def test_a_locked_database_is_waited_for_with_a_word_and_a_limit(store, monkeypatch, caplog):
    monkeypatch.setattr("avil_ray.tracking.store.PATIENT_SECONDS", 0.1)
    monkeypatch.setattr("avil_ray.tracking.store.LOCK_SECONDS", 0.3)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match=r"another process has locked it for 0\.3 s"):
        open_store(store.uri)
    assert "which another process has locked; 0.3 s at most" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    open_store(store.uri)


def test_a_store_that_another_process_creates_is_waited_for_with_a_limit(store, monkeypatch, caplog):
    monkeypatch.setattr("avil_ray.tracking.store.CREATION_SECONDS", 0.1)
    monkeypatch.setattr("avil_ray.tracking.store.LOCK_SECONDS", 0.2)
    with FileLock(f"{store.path}.lock"), pytest.raises(UserError, match=r"another process has held .*mlflow\.db\.lock"):
        open_store(store.uri)
    assert "which another process has locked" in caplog.text


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


@pytest.mark.slow
def test_processes_may_open_a_new_store_at_once_and_say_nothing(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    work = f"from avil_ray.tracking.store import open_store; print(len(open_store({uri!r}).search_experiments()))"
    processes = [
        subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert said == [("1\n", "")] * 3
