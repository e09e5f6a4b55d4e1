"""The connection to Ray: a cluster that the user named, or a new Ray instance on this machine.

By default, Ray would join any cluster found running on the machine, wait minutes for one that is gone, and fail with a
traceback on an unexpected address.
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
"""Maximum length in bytes of a temporary folder's path, so that Ray's socket paths fit the system's limit of 107."""

_ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


@contextmanager
def connected(address: str | None, *, cpus: int | None = None) -> Iterator[None]:
    """Connect to Ray for the block; an existing connection is used and left open.

    Parameters
    ----------
    address
        `local`: a new Ray instance on this machine, which no one else can reach. HOST:PORT: the cluster with its head
        there. `auto`: the cluster named by RAY_ADDRESS, otherwise the one started here by this user's `ray start`,
        otherwise as `local`. None: the cluster named by RAY_ADDRESS, otherwise as `local`.
    cpus
        The CPUs of a new Ray instance; if not given, all of the machine's.

    Raises
    ------
    UserError
        No cluster answers at the address, one of its nodes does not have this version of avil_ray, or Ray cannot be
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
    """Whether `connected` would start a Ray instance here, because no cluster answers at the address."""
    return _meant(address)[1] is None


def own_node() -> dict[str, float]:
    """The CPUs and GPUs that a Ray instance on this machine would have, counted as Ray does."""
    gpus = get_accelerator_manager_for_resource("GPU")
    return {"CPU": float(get_num_cpus()), "GPU": float(gpus.get_current_node_num_accelerators() if gpus else 0)}


def named_by_environment() -> str:
    """`auto` if RAY_ADDRESS names a cluster, otherwise `local`, so as not to join a cluster by accident."""
    return AUTO if os.environ.get("RAY_ADDRESS") else LOCAL


def _meant(address: str | None) -> tuple[str, str | None]:
    """The user's name for the cluster, for messages, and its HOST:PORT; None for a new Ray instance."""
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
    try:  # the file outlives a cluster that was not shut down cleanly, so a stale one is not the user's mistake
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

    Ray's client runs in a separate process that can be killed: it waits for minutes, and Python cannot interrupt it.
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
    except Exception as error:  # caused by the cluster: another version of Ray, a token, no node on this machine
        reason = plain(str(error.__cause__ or error).strip().split("\n")[0])
        raise UserError(
            f"{plain(named)}: Ray cannot join that cluster ({reason}); this machine must be one of its nodes, "
            f"and {WITHOUT}"
        ) from error
    log.warning("using the Ray cluster at %s (%s); %s", address, plain(named), WITHOUT)


def _start(cpus: int | None) -> None:
    """Start a new Ray instance on this machine, regardless of others running on it."""
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
    """Make a Ray instance started in the block listen on 127.0.0.1 only, unless the user has set Ray's variable.

    Ray does so itself if this constant is false, as it is on Windows and macOS; it would replace a `_node_ip_address`
    of 127.0.0.1 by the machine's own address.
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
    """Options of every connection: quiet, and the current folder first on the workers' import path."""
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    return {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {"PYTHONPATH": path}},
    }


def _temporary_folder() -> str | None:
    """The folder for a new Ray instance's files: None (the default) unless socket paths would be too long."""
    usual = get_default_ray_temp_dir()
    if len(os.fsencode(usual)) <= LONGEST_FOLDER:
        return None
    log.warning("%s is too long a path for Ray's sockets; Ray keeps its files in /tmp/ray", plain(usual))
    return "/tmp/ray"  # noqa: S108 (Ray's default if no variable names another)


@contextmanager
def _handler_of_sigterm_kept() -> Iterator[None]:
    """Keep our SIGTERM handler: `ray.init` installs its own, which would exit at once without a message."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
