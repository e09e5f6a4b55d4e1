"""`avil-ray submit`: what it refuses, and a real head with its job server that runs what it is sent."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from avil_ray.errors import UserError
from avil_ray.submitting import entrypoint, submit, variables_of

SPACE = """\
name: small
suite: {factory: "own.mine:suite"}
rounds: 2
steps_per_round: 3
seeds: [0]
resources: {driver: {cpu: 0.2}, per_task: {cpu: 0.2}}
methods:
  - {method: METHOD}
"""
SUITE = """\
import avil_ray as avil


def suite():
    return avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
"""
LONG = """\
import time


def suite():
    time.sleep(600)
"""
PLANTED = "PLANTED-SECRET"
IN_NO_FILE = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD")


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
        "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN", "WANDB_API_KEY", "GITHUB_PAT",
        "PGPASSWORD", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_SAS", "secret", "my_apikey", "DB_PASS",
        "DB_PWD",
    ],
)  # fmt: skip
def test_what_looks_like_a_credential_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(UserError) as caught:
        variables_of([f"{name}=abc-123"])
    assert str(caught.value).startswith(f"--env {name}: looks like a credential; ")
    assert "abc-123" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["http://me:abc-123@host:5000", "postgresql://me:abc-123@db/x", "s3://b?secret=abc-123"]
)
def test_an_address_with_a_password_is_refused_and_not_repeated(value: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--env MLFLOW_TRACKING_URI: holds a password or a token") as caught:
        variables_of([f"MLFLOW_TRACKING_URI={value}"])
    assert "abc-123" not in str(caught.value)
    (tmp_path / "space.yaml").touch()
    with pytest.raises(UserError, match="an option of the sweep: holds a password") as caught:
        submit(tmp_path / "space.yaml", "http://127.0.0.1:9", working_dir=tmp_path, options=["--storage", value])
    assert "abc-123" not in str(caught.value)


def test_other_variables_pass() -> None:
    texts = [
        "TOKENIZERS_PARALLELISM=false",
        "AVIL_STORAGE=s3://bucket/a=b",
        "HF_HOME=/mnt/hf",
        "NCCL_P2P_DISABLE=",
        "MONKEYS=2",
    ]
    assert variables_of(texts) == {
        "TOKENIZERS_PARALLELISM": "false", "AVIL_STORAGE": "s3://bucket/a=b", "HF_HOME": "/mnt/hf",
        "NCCL_P2P_DISABLE": "", "MONKEYS": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["abc-123"], "--env: write KEY=VALUE"),
        (["=x"], "--env : write KEY=VALUE"),
        (["A B=x"], "--env A B: write KEY=VALUE"),
        (["A=1", "A=2"], "--env A is given twice"),
        (["PYTHONPATH=/x"], "--env PYTHONPATH: the job imports from its working directory"),
    ],
)
def test_what_is_no_variable_is_one_line(texts: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        variables_of(texts)
    assert str(caught.value).startswith(said)


def test_the_command_names_the_space_as_the_job_finds_it(tmp_path: Path) -> None:
    (tmp_path / "my spaces").mkdir()
    space = tmp_path / "my spaces" / "a.yaml"
    space.touch()
    command = entrypoint(space, tmp_path, ["--set", "suite.size=18; rm -rf /", "--resume"])
    assert command.endswith("python -m avil_ray sweep 'my spaces/a.yaml' --set 'suite.size=18; rm -rf /' --resume")
    assert command.startswith('AVIL_STORAGE="${AVIL_STORAGE:-$HOME/avil-results}" ')
    for options in (["--storage", "s3://bucket"], ["--storage=s3://bucket"]):
        assert "AVIL_STORAGE" not in entrypoint(space, tmp_path, options)


def test_a_space_that_would_not_be_uploaded_is_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "work", tmp_path / "space.yaml"
    (inside / ".hidden").mkdir(parents=True)
    outside.touch()
    (inside / ".hidden" / "space.yaml").touch()
    for space, folder, said in [
        (outside, inside, f"{outside} is not in --working-dir {inside}; the job gets only that folder"),
        (inside / ".hidden" / "space.yaml", inside, ".hidden/space.yaml: hidden files and folders are not uploaded"),
        (inside / "none.yaml", inside, f"{inside}/none.yaml: no such file"),
        (outside, tmp_path / "none", f"--working-dir {tmp_path}/none: no such folder"),
    ]:
        with pytest.raises(UserError) as caught:
            entrypoint(space, folder, [])
        assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:8265", "give the address of the cluster's dashboard, such as http://HEAD:8265"),
        ("ray://head:10001", "give the address of the cluster's dashboard"),
        ("http://", "give the address of the cluster's dashboard"),
        ("http://me:abc-123@head:8265", "--address: holds a password or a token"),
        ("http://127.0.0.1:9", "no Ray dashboard answers there (ConnectionError: "),
    ],
)
def test_an_address_where_no_dashboard_can_be_is_one_line(address: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").touch()
    with pytest.raises(UserError) as caught:
        submit(tmp_path / "space.yaml", address, working_dir=tmp_path)
    assert said in str(caught.value)
    assert "abc-123" not in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Head:
    """A head that was started by the path of its program, as `cluster.yaml` does, and its token."""

    address: str
    files: Path
    token: str
    environment: Mapping[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """Started with secrets in its environment, as a cluster's own secrets are; a short path, as Ray's sockets need."""
    files, token, ports = (
        Path(tempfile.mkdtemp(prefix="r", dir="/tmp")),
        secrets.token_hex(32),
        [free_port() for _ in range(4)],
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        **{name: f"{PLANTED}-{name}" for name in IN_NO_FILE},
        "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1]), "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_TMPDIR": str(files),
    }  # fmt: skip
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2", f"--port={ports[0]}",
        f"--dashboard-port={ports[1]}", f"--dashboard-agent-listen-port={ports[2]}", "--dashboard-host=127.0.0.1",
        f"--ray-client-server-port={ports[3]}",
    ]  # fmt: skip
    with (files / "head.txt").open("w") as said:
        process = subprocess.Popen(
            command, env=environment, cwd=files, stdout=said, stderr=said, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{ports[1]}"
        wait_for_dashboard(ports[1], process, files / "head.txt")
        yield Head(address, files, token, environment)
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            shutil.rmtree(files, ignore_errors=True)


def wait_for_dashboard(port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"the head did not start: {said.read_text()}")


def project(folder: Path, suite: str = SUITE, method: str = "target-only") -> None:
    (folder / "own").mkdir()
    (folder / "own" / "__init__.py").touch()
    (folder / "own" / "mine.py").write_text(suite)
    (folder / "space.yaml").write_text(SPACE.replace("METHOD", method))
    (folder / ".env").write_text(f"HF_TOKEN={PLANTED}-of-the-folder")
    (folder / "deploy.pem").write_text(f"{PLANTED}-key")


def submitted(head: Head, folder: Path, *arguments: str, token: str | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token or head.token,
                   "RAY_ADDRESS": "http://127.0.0.1:9", "PYTHONPATH": str(Path(__file__).parents[1])}  # fmt: skip
    command = [sys.executable, "-m", "avil_ray", "submit", "space.yaml", "--address", head.address, *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


@pytest.mark.slow
def test_a_sweep_runs_with_its_own_suite_and_no_file_holds_a_secret(head: Head, tmp_path: Path) -> None:
    project(tmp_path)
    storage = tmp_path / "results"
    process = submitted(head, tmp_path, "--env", "LALA=1", "--", "--storage", str(storage))
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, output + errors
    assert f"report: {storage}/small/report.html" in output
    assert "using the Ray cluster at " in output
    assert errors == ""
    files = [path for place in (head.files, storage) for path in place.rglob("*") if path.is_file()]
    assert any(path.name == "mine.py" for path in files), "what was uploaded is looked at too"
    held = {path: path.read_bytes() for path in files}
    assert [
        path for path, content in held.items() if PLANTED.encode() in content or head.token.encode() in content
    ] == []


@pytest.mark.slow
def test_the_jobs_exit_status_is_this_ones(head: Head, tmp_path: Path) -> None:
    project(tmp_path, method="target-onli")
    process = submitted(head, tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "did you mean 'target-only'?" in output


@pytest.mark.slow
def test_ctrl_c_detaches_and_the_job_goes_on(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.job_submission import JobStatus, JobSubmissionClient

    from avil_ray.pools.tokens import _read_token_again

    project(tmp_path, LONG)
    process = submitted(head, tmp_path)
    assert process.stdout is not None
    while "Running entrypoint for job" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    (job,) = re.findall(r"^detached: job (\w+) keeps running$", output, re.MULTILINE)
    assert (process.returncode, errors) == (1, "")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    _read_token_again()
    client = JobSubmissionClient(head.address)
    assert client.get_job_status(job) is JobStatus.RUNNING
    detached = submitted(head, tmp_path, "--detach")
    output, errors = detached.communicate(timeout=60)
    assert (detached.returncode, errors) == (0, "")
    for one in (job, *re.findall(r"^job (\w+) at", output, re.MULTILINE)):
        client.stop_job(one)
    monkeypatch.undo()
    _read_token_again()


@pytest.mark.slow
def test_a_stranger_is_refused_in_one_line(head: Head, tmp_path: Path) -> None:
    project(tmp_path)
    process = submitted(head, tmp_path, token="0" * 64)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert errors.startswith(
        f"avil-ray: --address {head.address}: the cluster requires a token; set RAY_AUTH_MODE=token"
    )
    assert errors.count("\n") == 1
