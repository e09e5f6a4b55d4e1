"""`avil-ray submit`: runs a sweep as a Ray job on a cluster whose dashboard this machine can reach.

The job runs `avil-ray sweep` on the head node, in a copy of the working directory. It continues after this process
ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from avil_ray.errors import UserError, WorkFailed
from avil_ray.interruption import SIGNALS
from avil_ray.plain import plain
from avil_ray.telemetry import no_calls_home
from avil_ray.tracking.store import shown

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

ANSWER_SECONDS = 10.0
"""Seconds to wait for the dashboard's first answer; Ray's own client would wait for minutes."""
POLL_SECONDS = 0.5

NOT_UPLOADED = (".?*", "__pycache__", "avil-results", "mlruns", "*.pem", "*.key")
"""Excluded in addition to `.gitignore` and `.rayignore`: hidden files (`.git`, `.venv`, `.env`), results, keys."""

_CREDENTIAL = re.compile(
    r"(?:^|_)(?:[A-Z0-9]*(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL)S?"
    r"|(?:API|ACCESS|PRIVATE|SSH)?KEYS?|PASS|PWD|PAT|AUTH|COOKIE|SAS)(?:_|$)",
    re.IGNORECASE,
)

# Ray may have been started by the full path of its program, so that no `python` on PATH has its packages. The shell's
# parent is Ray's own process, whose loaded libraries identify the right one.
_RAYS_PYTHON = (
    r"""PATH="$(sed -n 's|.* \(/.*\)/lib/python[^/]*/site-packages/ray/_raylet\.so$|\1/bin:|p' /proc/$PPID/maps"""
    """ | head -1)$PATH" """
)
# The job's own folder is a copy that Ray removes, so results must not be written there.
_STORAGE = 'AVIL_STORAGE="${AVIL_STORAGE:-$HOME/avil-results}" '


def submit(
    space: Path,
    address: str,
    *,
    working_dir: Path = Path(),
    env: Sequence[str] = (),
    options: Sequence[str] = (),
    detach: bool = False,
) -> int:
    """Run `avil-ray sweep SPACE` as a job on the cluster, and print its log as it arrives.

    Parameters
    ----------
    space
        The search space, a file in `working_dir`.
    address
        The address of the cluster's dashboard: `http://HEAD:8265`.
    working_dir
        The folder to copy for the job: the search space, a suite's code and its data. Files matching `NOT_UPLOADED`, a
        `.gitignore` or a `.rayignore` are not uploaded.
    env
        `KEY=VALUE` environment variables for the job and all its processes. Ray logs them, so values that look like
        credentials are rejected.
    options
        Options of `avil-ray sweep`, as on its command line.
    detach
        Return without waiting for the job.

    Returns
    -------
    int
        The job's exit status; 0 if it was only submitted, 1 if Ctrl-C ended watching.

    Raises
    ------
    UserError
        The input is wrong, or no dashboard answers. No job was submitted.
    WorkFailed
        The job could not start or was stopped, or the connection to it was lost.
    """
    variables = variables_of(env)
    command = entrypoint(space, working_dir, options)
    for text in options:
        _require_no_password("an option of the sweep", text)
    no_calls_home()
    with _client(address) as client:
        job = _submitted(client, space, command, working_dir, variables)
        where = f"--address {shlex.quote(plain(address))}"
        print(f"job {job} at {plain(address)}", flush=True)
        print(f"  its log: ray job logs {where} --follow {job}", flush=True)
        print(f"  end it:  ray job stop {where} {job}", flush=True)
        if detach:
            return 0
        return _watched(client, job)


def variables_of(texts: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` texts as a mapping.

    Raises
    ------
    UserError
        A text has another format, or looks like it contains a credential.

    Examples
    --------
    >>> variables_of(["MLFLOW_TRACKING_URI=http://10.0.0.5:5000"])
    {'MLFLOW_TRACKING_URI': 'http://10.0.0.5:5000'}
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)):
            where = f"--env {plain(name)}" if separator else "--env"  # without a name, it may be a secret
            raise UserError(f"{where}: write KEY=VALUE, with a name of letters, digits and _")
        if name in found:
            raise UserError(f"--env {name} is given twice")
        if _CREDENTIAL.search(name):
            raise UserError(f"--env {name}: looks like a credential; {_INSTEAD}")
        if name == "PYTHONPATH":
            raise UserError("--env PYTHONPATH: the job imports from its working directory; put the code there")
        _require_no_password(f"--env {name}", value)
        found[name] = value
    return found


_INSTEAD = "Ray writes it to its logs; use the cluster's own secrets or roles instead (docs/how-to/)"


def _require_no_password(what: str, text: str) -> None:
    if shown(text) != text:
        raise UserError(f"{what}: holds a password or a token; {_INSTEAD}")


def entrypoint(space: Path, working_dir: Path, options: Sequence[str]) -> str:
    """The shell command of the job; UserError if the search space is not in the working directory."""
    if not working_dir.is_dir():
        raise UserError(f"--working-dir {plain(working_dir)}: no such folder")
    if not space.is_file():
        raise UserError(f"{plain(space)}: no such file")
    inside = space.resolve()
    if not inside.is_relative_to(working_dir.resolve()):
        raise UserError(f"{plain(space)} is not in --working-dir {plain(working_dir)}; the job gets only that folder")
    path = inside.relative_to(working_dir.resolve())
    if any(part.startswith(".") for part in path.parts):
        raise UserError(f"{plain(path)}: hidden files and folders are not uploaded; rename it")
    storage = "" if any(one.partition("=")[0] == "--storage" for one in options) else _STORAGE
    return f"{storage}{_RAYS_PYTHON}python -m avil_ray sweep {shlex.join([str(path), *options])}"


@contextmanager
def _client(address: str) -> Iterator[JobSubmissionClient]:
    """Ray's own client, once the dashboard has answered."""
    from avil_ray.pools.tokens import token_for

    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        right = "give the address of the cluster's dashboard, such as http://HEAD:8265"
        raise UserError(f"--address {plain(shown(address))}: {right}")
    _require_no_password("--address", address)
    # Ray would use these instead of the given address
    apart = {name: os.environ.pop(name) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS") if name in os.environ}
    try:
        with token_for(parts.netloc):
            yield _answering(address.rstrip("/"))
    finally:
        os.environ.update(apart)


def _answering(address: str) -> JobSubmissionClient:
    import requests
    from ray.dashboard.modules.job import sdk
    from ray.exceptions import AuthenticationError

    for name in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private"):
        logging.getLogger(name).setLevel(logging.WARNING)
    where = f"--address {plain(address)}"
    try:
        requests.get(f"{address}/api/version", timeout=ANSWER_SECONDS, allow_redirects=False)
        return sdk.JobSubmissionClient(address)
    except AuthenticationError as error:
        advice = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to match the cluster"
        raise UserError(f"{where}: the cluster requires a token; {advice}") from error
    except Exception as error:  # of what is no dashboard, or not there: a refused connection, a certificate, no JSON
        reason = plain(f"{type(error).__name__}: {error}".split("\n")[0])[:200]
        advice = "if the head listens locally only, use ray dashboard cluster.yaml or kubectl port-forward"
        raise UserError(f"{where}: no Ray dashboard answers there ({reason}); {advice}") from error


def _submitted(
    client: JobSubmissionClient, space: Path, command: str, working_dir: Path, variables: Mapping[str, str]
) -> str:
    environment: dict[str, Any] = {"working_dir": str(working_dir.resolve()), "excludes": list(NOT_UPLOADED)}
    if variables:
        environment["env_vars"] = dict(variables)
    try:
        return str(
            client.submit_job(
                entrypoint=command, runtime_env=environment, metadata={"job_name": f"avil-ray {space.stem}"}
            )
        )
    except Exception as error:  # a folder that is too large or unreadable, or a server that refuses
        reason = plain(str(error).strip().split("\n")[0])[:300]
        raise UserError(f"--working-dir {plain(working_dir)}: cannot be submitted ({reason})") from error


def _watched(client: JobSubmissionClient, job: str) -> int:
    """Print the job's log until it ends, and return its exit status; Ctrl-C and SIGTERM only end watching."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        return asyncio.run(_follow(client, job))
    except asyncio.CancelledError:
        print(f"\ndetached: job {job} keeps running", flush=True)
        return 1
    except (OSError, RuntimeError) as error:
        if isinstance(error, WorkFailed):
            raise
        reason = plain(f"{type(error).__name__}: {error}".split("\n")[0])[:200]
        raise WorkFailed(f"lost the connection to job {job} ({reason}); the job itself keeps running") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _follow(client: JobSubmissionClient, job: str) -> int:
    """As `_watched`; CancelledError if a signal ended it."""
    task = asyncio.current_task()
    assert task is not None
    for number in SIGNALS:  # replaces the command line's, which announce that the work stops: it does not
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with aclosing(client.tail_job_logs(job)) as log:  # type: ignore[type-var]  # it is a generator
        async for lines in log:
            print(lines, end="", flush=True)
    while not (found := client.get_job_info(job)).status.is_terminal():
        await asyncio.sleep(POLL_SECONDS)
    return _exit_status(job, found)


def _exit_status(job: str, ended: JobDetails) -> int:
    if ended.status == "SUCCEEDED":
        return 0
    if ended.status == "FAILED" and ended.driver_exit_code:
        return max(1, ended.driver_exit_code)  # negative if a signal killed it
    reason = plain((ended.message or "it does not say why").strip().split("\n")[0])[:300]
    raise WorkFailed(f"job {job} {ended.status.value.lower()}: {reason}")
