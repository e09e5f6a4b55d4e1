"""The connection to Ray: a cluster that the user named, or a Ray of our own on this machine.

Ray itself would join any cluster that it finds running on the machine, wait for minutes for one that is gone, and end
in a traceback where its address is not as it expects.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_default_ray_temp_dir, get_ray_address_file
from ray._private import ray_constants
from ray._private.accelerators import get_accelerator_manager_for_resource
from ray._private.utils import get_num_cpus

from avil_ray.errors import UserError
from avil_ray.plain import plain
from avil_ray.pools.probe import require_same_version
from avil_ray.pools.tokens import has_stored_token, token_for
from avil_ray.telemetry import no_calls_home

log = logging.getLogger(__name__)

AUTO, LOCAL = "auto", "local"
REACH_SECONDS, ANSWER_SECONDS = 3.0, 30.0
"""How long to wait for a connection to an address, and then for Ray's answer; Ray itself would wait for minutes."""
WITHOUT = "--address local starts a local Ray"
LONGEST_FOLDER = 38
"""Bytes of the longest path of a temporary folder in which the names of Ray's sockets fit (a system's limit is 107)."""

_ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


@contextmanager
def connected(address: str | None, *, cpus: int | None = None) -> Iterator[None]:
    """Connect to Ray for the block; a Ray that was connected before is used as it is, and left so.

    Parameters
    ----------
    address
        `local`: a new Ray on this machine, which nobody else reaches. HOST:PORT: the cluster whose head is there.
        `auto`: the cluster that RAY_ADDRESS names, else the one that this user's `ray start` has started here, else as
        `local`. None: the cluster that RAY_ADDRESS names, else as `local`.
    cpus
        Of a new Ray; as many as the machine has where not given.

    Raises
    ------
    UserError
        Where no cluster answers at the address, one of its nodes has not this version of avil_ray, or no Ray can be
        started here.
    """
    if ray.is_initialized():
        yield
        return
    no_calls_home()
    named, where = _meant(address)
    with ExitStack() as stack:
        stack.enter_context(token_for(where))
        stack.callback(ray.shutdown)
        with _handler_of_sigterm_kept():
            if where is None:
                _start(cpus)
            else:
                _join(named, where)
                require_same_version(named, WITHOUT)
        yield


def starts_its_own(address: str | None) -> bool:
    """Whether `connected` would start a Ray on this machine, as the address names no cluster that answers."""
    return _meant(address)[1] is None


def own_node() -> dict[str, float]:
    """The CPUs and GPUs that a Ray of our own on this machine finds, counted as Ray does."""
    gpus = get_accelerator_manager_for_resource("GPU")
    return {"CPU": float(get_num_cpus()), "GPU": float(gpus.get_current_node_num_accelerators() if gpus else 0)}


def named_by_environment() -> str:
    """`auto` where RAY_ADDRESS names a cluster, else `local`: for what joins no cluster that merely happens to run."""
    return AUTO if os.environ.get("RAY_ADDRESS") else LOCAL


def _meant(address: str | None) -> tuple[str, str | None]:
    """What the user calls the cluster, for messages, and its HOST:PORT; None for a Ray of our own."""
    if address is None:
        address = named_by_environment()
        if address == LOCAL and Path(get_ray_address_file(None)).exists():
            log.warning("starting a local Ray; use --address auto to join the cluster that `ray start` started here")
    named = f"--address {address}"
    if address == AUTO and (given := os.environ.get("RAY_ADDRESS", "")) not in ("", AUTO):
        named, address = f"RAY_ADDRESS={given}", given
    if address == LOCAL:
        return named, None
    if address != AUTO:
        _require_host_and_port(named, address)
        _require_cluster(named, address)
        return named, address
    file = Path(get_ray_address_file(None))
    if not file.exists():
        log.warning("no Ray cluster was started here, and RAY_ADDRESS is not set; starting a local Ray")
        return named, None
    address = file.read_text().strip()
    if file.stat().st_uid != os.getuid():
        log.warning("the Ray cluster that was started here (%s) is another user's; starting a local Ray", address)
        return named, None
    try:  # the file outlives a cluster that was not stopped in order, so it is no mistake of the user's
        _require_host_and_port(named, address)
        _require_cluster(named, address)
    except UserError:
        log.warning("the Ray cluster that was started here (%s) does not answer; starting a local Ray", address)
        return named, None
    return named, address


def _require_host_and_port(named: str, address: str) -> None:
    right = "give HOST:PORT of its head (the port is 6379 unless `ray start` was given another)"
    scheme, separator, _ = address.partition("://")
    if separator:
        kinds = {"ray": "Ray Client, which cannot run a sweep", "http": "a dashboard", "https": "a dashboard"}
        raise UserError(f"{plain(named)}: that is the address of {kinds.get(scheme, 'no Ray cluster')}; {right}")
    found = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address)
    if found is None or not 1 <= int(found[1]) <= 65535:
        raise UserError(f"{plain(named)}: not the address of a Ray cluster; {right}, or use 'local' or 'auto'")


def _require_cluster(named: str, address: str) -> None:
    """UserError, within seconds, unless a Ray cluster answers at HOST:PORT.

    Ray's client is asked in a process of its own, which can be ended: it waits for minutes, out of Python's reach.
    """
    host, _, port = address.rpartition(":")
    advice = "start one there, or use a local Ray (--address local, RAY_ADDRESS unset)"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{plain(named)}: no Ray cluster answers there ({reason}); {advice}") from error
    token = {"RAY_AUTH_MODE": "token"} if has_stored_token(address) else {}
    patience = {"RAY_gcs_rpc_server_connect_timeout_s": "2", "RAY_py_gcs_connect_timeout_s": "5"}
    environment, command = {**os.environ, **token, **patience}, [sys.executable, "-c", _ASK, address]
    try:
        asked = subprocess.run(  # noqa: S603 (no shell, and the address was checked)
            command, env=environment, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{plain(named)}: what listens there is not a Ray cluster; {advice}") from None
    if "AuthenticationError" in asked.stderr:
        advice = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to match its head"
        raise UserError(f"{plain(named)}: that Ray cluster requires a different token; {advice}")
    if asked.returncode != 0:
        reason = plain((asked.stderr.strip().splitlines() or ["no answer"])[-1])
        raise UserError(f"{plain(named)}: what listens there does not answer as a Ray cluster ({reason}); {advice}")


def _join(named: str, address: str) -> None:
    try:
        ray.init(address=address, **_common())
    except Exception as error:  # of the cluster's: another version of Ray, a token, no node of it on this machine
        reason = plain(str(error.__cause__ or error).strip().split("\n")[0])
        raise UserError(
            f"{plain(named)}: Ray cannot join that cluster ({reason}); this machine must be one of its nodes, "
            f"and {WITHOUT}"
        ) from error
    log.warning("using the Ray cluster at %s (%s); %s", address, plain(named), WITHOUT)


def _start(cpus: int | None) -> None:
    """A Ray of our own on this machine, whatever other Ray runs on it."""
    try:
        with _loopback_only():
            ray.init(address=LOCAL, num_cpus=cpus, include_dashboard=False, _temp_dir=_temporary_folder(), **_common())
    except Exception as error:
        reason = plain(str(error).strip().split("\n")[0])
        raise UserError(
            f"Ray cannot start on this machine ({reason}); set RAY_TMPDIR to use another folder for its files"
        ) from error


@contextmanager
def _loopback_only() -> Iterator[None]:
    """A Ray that starts in the block listens on 127.0.0.1 alone, unless the user set Ray's variable.

    Ray does so by itself where this constant of its own is false, as it is on Windows and macOS; a `_node_ip_address`
    of 127.0.0.1 it would replace by the machine's own.
    """
    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    if name in os.environ:
        yield
        return
    before = ray_constants.ENABLE_RAY_CLUSTER
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        del os.environ[name]
        ray_constants.ENABLE_RAY_CLUSTER = before


def _common() -> dict[str, Any]:
    """What every connection has: no chatter, and the current folder first on the path that workers import from."""
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    return {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {"PYTHONPATH": path}},
    }


def _temporary_folder() -> str | None:
    """Where a new Ray keeps its files: None for its usual place, another where its sockets' paths would be too long."""
    usual = get_default_ray_temp_dir()
    if len(os.fsencode(usual)) <= LONGEST_FOLDER:
        return None
    log.warning("%s is too long a path for Ray's sockets; Ray keeps its files in /tmp/ray", plain(usual))
    return "/tmp/ray"  # noqa: S108 (Ray's own place where no variable names another)


@contextmanager
def _handler_of_sigterm_kept() -> Iterator[None]:
    """`ray.init` takes SIGTERM for itself, and would leave at once, without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
