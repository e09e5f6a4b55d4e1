"""Where runs are kept: which MLflow store, which experiment, and how to open them without a race or a stray file."""

from __future__ import annotations

import logging
import os
import re
import socket
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from avil_ray.errors import UserError
from avil_ray.plain import plain
from avil_ray.telemetry import no_calls_home

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger("avil_ray.tracking")

REACH_SECONDS, ANSWER_SECONDS = 5.0, 20.0
"""How long to wait for a connection to a server, and for its first answer."""
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Where servers of databases listen unless told otherwise."""
PATIENT_SECONDS, LOCK_SECONDS = 2.0, 60.0
"""How long to wait for a locked database without a word, and then with one."""
CREATION_SECONDS = 20.0
"""How long to wait without a word while another process may be creating the database."""

# What may be printed while we speak to a store: not a new store's every migration, not the traceback of an error that
# is raised as well, not every retry.
_LEVELS = {
    "alembic": logging.WARNING,
    "mlflow.transformers": logging.ERROR,  # that a model of one's own has no licence
    "mlflow.store.db.utils": logging.CRITICAL,
    "urllib3.connectionpool": logging.ERROR,
}
# While we send, unless the user set them: MLflow retries for four minutes, through which a sweep would stand still
# (what is missing at its end is sent again), and prints two lines and progress bars per run, through a live table.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def tracking_uri(storage: Path) -> str:
    """`MLFLOW_TRACKING_URI` where it is set, otherwise the database `mlflow.db` in the storage folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage.absolute()}/mlflow.db"
    check_uri(uri)
    return uri


def experiment_name(suite: str) -> str:
    """`MLFLOW_EXPERIMENT_NAME` where it is set, otherwise the suite's name."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or suite


def check_uri(uri: str) -> None:
    """UserError for a store that every process would look for elsewhere (a relative path), or that MLflow gave up."""
    where = f"tracking store {shown(uri)!r}"
    if uri.startswith("sqlite"):
        path = _database(uri)
        if path is None:
            raise UserError(
                f"{where}: it lives in memory, so nothing would stay; give sqlite:////absolute/path/mlflow.db"
            )
        if not path.is_absolute():
            right = f"sqlite:///{path.absolute()}"
            raise UserError(f"{where}: a relative path is another file in every process; give {right}")
    elif uri.startswith("file:") or ("://" not in uri and not uri.startswith(("databricks", "uc:"))):
        path = Path(re.sub(r"^file:(//)?", "", uri)).absolute()
        right = f"sqlite:///{path}/mlflow.db or a server's http://…"
        raise UserError(f"{where}: MLflow no longer keeps runs in plain files; give {right}")


def shown(uri: str) -> str:
    """A store's address, or a text with one in it, as it may be printed: without passwords and tokens."""
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", uri)
    text = re.sub(r"(https?://)[^:/@\s]+@", r"\1***@", text)
    return re.sub(r"(?i)([?&;][\w-]*(?:password|passwd|pwd|token|secret|key)=)[^&;\s'\"]*", r"\1***", text)


def open_store(uri: str) -> MlflowClient:
    """A client of the store, which is created and migrated first where it is new.

    Processes that open a fresh database at once would each migrate it and all but one would crash, so they queue up.
    Raises UserError where the store cannot be opened.
    """
    check_uri(uri)
    no_calls_home()
    from mlflow import MlflowClient

    try:
        with quiet(), _prepared(uri):
            client = MlflowClient(uri, registry_uri=uri)
            client.search_experiments(max_results=1)  # a server is not asked anything before the first request
            return client
    except Exception as error:  # whatever a driver, a server or a disk has to say
        raise _unusable(uri, error) from error


def require_usable(uri: str) -> None:
    """UserError, within seconds, where the server does not answer or the file is no database; nothing is made."""
    database = _database(uri)
    try:
        if database is None:
            _require_answer(uri)
        elif database.exists():
            _wait_for(database)
    except Exception as error:  # as above
        raise _unusable(uri, error) from error


def _unusable(uri: str, error: Exception) -> UserError:
    advice = "start or repair it, or unset MLFLOW_TRACKING_URI to keep the runs beside the results"
    return UserError(f"tracking store {shown(uri)!r} cannot be opened: {first_line(error)}; {advice}")


@contextmanager
def _prepared(uri: str) -> Iterator[None]:
    """While a store is opened: its server answers, or its database is ours alone. Where that fails nothing stays."""
    database = _database(uri)
    if database is None:
        _require_answer(uri)
        yield
        return
    lock = Path(f"{database}.lock")
    new = [path for path in (database, lock, database.parent, *database.parent.parents) if not path.exists()]
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with _held(lock):
            if database.exists():
                _wait_for(database)
            yield
    except BaseException:
        for path in new:
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def _require_answer(uri: str) -> None:
    """OSError where no server answers, whatever it answers: MLflow itself would try for minutes."""
    import requests

    parts = urlsplit(uri)
    kind = parts.scheme.partition("+")[0]
    if kind in PORTS and parts.hostname:
        socket.create_connection((parts.hostname, parts.port or PORTS[kind]), timeout=REACH_SECONDS).close()
    if kind not in ("http", "https"):
        return
    try:
        requests.get(uri, timeout=(REACH_SECONDS, ANSWER_SECONDS), allow_redirects=False, stream=True).close()
    except requests.exceptions.SSLError:
        pass  # which certificates are trusted is MLflow's to say
    except requests.exceptions.Timeout as error:
        raise TimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from error


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    file = FileLock(lock)
    try:
        file.acquire(timeout=CREATION_SECONDS)
    except Timeout:
        _say_waiting(lock)
        try:
            file.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise TimeoutError(f"another process has held {lock} for {LOCK_SECONDS:g} s") from None
    try:
        yield
    finally:
        file.release()


def _wait_for(database: Path) -> None:
    """Until nobody else writes there; an sqlite3.Error where it is no database, or stays locked."""
    for patience in (PATIENT_SECONDS, LOCK_SECONDS):
        connection = sqlite3.connect(database, timeout=patience, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            if patience == LOCK_SECONDS:
                raise TimeoutError(f"another process has locked it for {LOCK_SECONDS:g} s") from error
            _say_waiting(database)
        finally:
            connection.close()


def _say_waiting(file: Path) -> None:
    logger.warning("waiting for %s, which another process has locked; %g s at most", plain(file), LOCK_SECONDS)


def open_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The experiment's id; it is created where there is none. Files of a local database are kept beside it."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        database = _database(uri)
        # without a place of its own MLflow would take ./mlruns of whatever folder this process was started in
        place = None if database is None else (database.parent / "mlflow-artifacts").as_uri()
        try:
            return client.create_experiment(name, artifact_location=place)
        except MlflowException:  # another sweep of the same suite was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":  # MLflow gives its name to no other, and its runs are not lost
        client.restore_experiment(found.experiment_id)
        logger.warning("experiment %r was deleted in MLflow; it is restored, with its runs", name)
    return str(found.experiment_id)


@contextmanager
def quiet() -> Iterator[None]:
    """MLflow without its chatter and its long patience, for as long as we speak to it; what the user set stays."""
    before = {name: logging.getLogger(name).level for name in _LEVELS}
    added = [name for name in _PATIENCE if name not in os.environ]
    try:
        os.environ.update({name: _PATIENCE[name] for name in added})
        for name, level in _LEVELS.items():
            logging.getLogger(name).setLevel(level)
        with warnings.catch_warnings():
            # of a type hint in MLflow's own code, told to whoever imports it
            warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        for name in added:
            os.environ.pop(name, None)


def first_line(error: Exception) -> str:
    """What an error says, short enough for one line (a long one loses its middle), without a password."""
    lines = [line for line in str(error).splitlines() if line and not line.startswith("(raised as a result of")]
    text = plain(shown(f"{type(error).__name__}: {lines[0] if lines else ''}"))
    return text if len(text) <= 300 else f"{text[:149]}…{text[-150:]}"


def _database(uri: str) -> Path | None:
    """The file of a sqlite store; None for other stores and for one in memory."""
    found = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(found[1]) if found and found[1] != ":memory:" else None
