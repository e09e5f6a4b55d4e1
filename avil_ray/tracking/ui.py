"""The MLflow UI on a sweep's tracking store."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from avil_ray.errors import UserError
from avil_ray.telemetry import no_calls_home
from avil_ray.tracking.store import shown, tracking_uri


def open_ui(storage: Path, port: int) -> NoReturn:
    """Become the UI's server, on 127.0.0.1; UserError where it has nothing to show, or nowhere to listen."""
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
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    # not as an argument, which everyone on the machine may read: a database's address may hold a password
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    os.execve(sys.executable, command, environment)  # noqa: S606 (no shell, and every argument is ours)
