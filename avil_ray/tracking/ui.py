"""The MLflow UI on a sweep's tracking store."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from avil_ray.errors import UserError
from avil_ray.plain import plain
from avil_ray.telemetry import no_calls_home
from avil_ray.tracking import views
from avil_ray.tracking.store import open_store, quiet, shown, tracking_uri

MOST_SWEEPS = 10
"""How many sweeps are listed, the latest first."""


def open_ui(storage: Path, port: int, tell: Callable[[str], None]) -> NoReturn:
    """Become the UI's server, on 127.0.0.1, once `tell` was given the addresses of what it shows.

    UserError where it has nothing to show, or nowhere to listen.
    """
    no_calls_home()
    uri = tracking_uri(storage)
    if uri.startswith("http"):
        raise UserError(f"the runs are kept on a server: open {shown(uri)} in a browser")
    if uri.startswith("sqlite") and not (storage.absolute() / "mlflow.db").exists():
        raise UserError(f"{storage}: no tracking store is there yet; run a sweep first, or name its --storage")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"--port {port}: cannot be used ({error.strerror}); choose another") from error
    for line in addresses(uri, f"http://127.0.0.1:{port}/"):
        tell(plain(line))
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    # not as an argument, which everyone on the machine may read: a database's address may hold a password
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    os.execve(sys.executable, command, environment)  # noqa: S606 (no shell, and every argument is ours)


def addresses(uri: str, server: str) -> Iterator[str]:
    """A line for each experiment of the store with runs, and for its latest sweeps: where `server` shows them."""
    client = open_store(uri)
    with quiet():
        for experiment in client.search_experiments():
            one = [experiment.experiment_id]
            if not client.search_runs(one, max_results=1):
                continue
            yield f"experiment {experiment.name}: {server}{views.experiment(experiment.experiment_id)}"
            # the tag that a sweep's run has, and a trial's has not
            for run in client.search_runs(one, "tags.`avil.methods` LIKE '%'", max_results=MOST_SWEEPS):
                place = views.run(experiment.experiment_id, run.info.run_id)
                yield f"sweep {run.info.run_name}: {server}{place}"
