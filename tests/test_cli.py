"""The command line as a user meets it: exit statuses, one line for each mistake, nothing written then."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import pytest
from simulated import make_facts, make_record

from avil_ray import cli
from avil_ray.reports.records import trial_folder, write_record

RUN = ["run", "synthetic", "--rounds", "2", "--steps-per-round", "3", "--set", "train=60", "--set", "target_labels=40"]


def call(*arguments: str) -> int:
    return cli._status(list(arguments))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SPACE = """\
name: small
suite: {name: synthetic, target_labels: 40, train: 60}
rounds: 2
steps_per_round: 2
seeds: [0]
methods:
  - {method: alpha-vil}
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "synthetc"], "unknown suite 'synthetc'; did you mean 'synthetic'?"),
        (["run", "synthetic", "--method", "alphavil"], "unknown method 'alphavil'; did you mean 'alpha-vil'?"),
        (["run", "multimnist", "--target", "lft"], "'lft'; did you mean 'left'?"),
        (["run", "synthetic", "--set", "helpfull=3"], "unknown option 'helpfull'; did you mean 'helpful'?"),
        (["run", "synthetic", "--set", "helpful"], "write it as key=value"),
        (["run", "synthetic", "--rounds", "0"], "rounds must be a whole number, 1 or more, not 0"),
        (["run", "synthetic", "--seed", "-1"], "seed must be a whole number, 0 or more, not -1"),
        (["run", "multimnist", "--set", "target_labels=99999"], "target_labels"),
        (["run", "synthetic", "--pool", "cloud"], "--pool: unknown pool 'cloud'; available: inline, ray, train"),
        (["run", "synthetic", "--pool", "rya"], "--pool: unknown pool 'rya'; did you mean 'ray'?"),
        (["run", "synthetic", "--set", "suite.name=glue"], "--set: unknown option 'name'"),
        (["data", "synthetic", "--set", "name=multimnist"], "--set: unknown option 'name'"),
        (["affinity", "synthetic", "--set", "factory=a:b"], "--set: unknown option 'factory'"),
        (
            ["run", "synthetic", "--method", "static", "--set", "weights.helpful_1=1", "--set", "weights=3"],
            "weights should",
        ),
        (
            ["run", "synthetic", "--method", "static", "--set", "weights=3", "--set", "weights.helpful_1=1"],
            "weights is already 3",
        ),
        (["run", "synthetic", "--method", "alignment", "--set", "options=3"], "options should be a mapping"),
        (["run", "synthetic", "--output", "/dev/null/x"], "cannot be written"),
        (["run", "synthetic", "--resume"], "resume needs the output folder"),
        (["run", "synthetic", "--round", "3"], "No such option: --round"),
        (["runs"], "No such command 'runs'. Did you mean 'run'?"),
        (["run"], "Missing argument"),
        (["sweep", "none.yaml"], "none.yaml"),
        (["report", "none"], "unknown sweep 'none'"),
        (["report", "x" * 300], "unknown sweep 'xxx"),
        (["list", "method"], "unknown list 'method'; did you mean 'methods'?"),
        (["list", "methods", "statik"], "unknown method 'statik'; did you mean 'static'?"),
        (["data", "multimist"], "unknown suite 'multimist'; did you mean 'multimnist'?"),
        (["ui"], "no tracking store is there yet"),
        (["sweep", "space.yaml", "--register", "a/b"], "--register 'a/b': a registered model's name has no slash"),
        (["ui", "--port", "99999"], "less than or equal to 65535"),
        (["ui", "--storage", "/dev/null"], "no tracking store is there yet"),
        (["report", "small", "--storage", "/dev/null"], "unknown sweep 'small'"),
        (["run", "[/mnt/data]\x1b[31m\n"], r"unknown suite '[/mnt/data]\x1b[31m"),
    ],
)
def test_a_mistake_is_one_line_and_status_2_and_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert message in errors
    assert errors.startswith("avil-ray: ")
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("", [], "empty"),
        ("name: [", [], "YAML"),
        ("name:\tx\n", [], "tab"),
        (SPACE.replace("rounds: 2\n", "rounds: 0\n", 1), [], "rounds"),
        (SPACE.replace("seeds: [0]", "seeds: [-1]"), [], "seeds"),
        (SPACE.replace("rounds: 2\n", "round: 2\n", 1), [], "did you mean 'rounds'?"),
        (SPACE, ["--seeds", "0,x"], "expected whole numbers"),
        (SPACE, ["--max-concurrent", "0"], "--max-concurrent must be at least 1"),
        (SPACE, ["--storage", "/dev/null/x"], "cannot be written"),
        (SPACE, ["--resume", "--fresh"], "cannot be combined"),
        (SPACE, ["--set", "suite.target_labels=70"], "target_labels"),
    ],
)
def test_a_wrong_search_space_is_one_line_and_status_2_and_writes_nothing(
    text: str, more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("space.yaml").write_text(text)
    assert call("sweep", "space.yaml", *more) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


def test_a_run_prints_a_line_a_round_and_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*RUN, "--output", "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("round   0  select: accuracy ")
    assert "alpha: target" in lines[0]
    assert lines[-2].startswith("test (target, round ")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    kept = {"checkpoint.safetensors", "checkpoint.previous.safetensors"}
    assert written == {*kept, "history.csv", "result.json", "avil.json", "model.safetensors"}
    figures = lines[-2]

    assert call(*RUN, "--output", "out") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert call(*RUN, "--output", "out", "--resume") == 0
    assert capsys.readouterr().out.splitlines()[-2] == figures
    assert call(*RUN, "--output", "out", "--resume", "--seed", "1") == 2
    assert "was saved with seed = 0, but this run uses seed = 1" in capsys.readouterr().err


def test_a_folder_where_a_file_goes_is_refused_before_anything_is_computed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out", "history.csv").mkdir(parents=True)
    assert call(*RUN, "--output", "out") == 2
    said = capsys.readouterr()
    assert "cannot be written (out/history.csv is a folder)" in said.err
    assert said.out == ""
    Path("file").touch()
    assert call(*RUN, "--output", "file") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.usefixtures("ray_session")
def test_inline_and_ray_print_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for pool in (["--pool", "inline"], ["--pool", "ray", "--workers", "2"]):
        assert call(*RUN, *pool) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_a_run_that_diverges_is_status_1_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*RUN, "--method", "equal", "--set", "method.learning_rate=1.0e30") == 1
    assert "diverged in round 0" in capsys.readouterr().err


def test_lists_describe_every_suite_and_method_and_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    from avil_ray.catalog import METHODS, SUITES

    for what, names in (("suites", SUITES), ("methods", METHODS)):
        assert call("list", what) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == list(names)
        assert all(len(line.split()) > 3 for line in lines)
        for name in names:
            assert call("list", what, name) == 0
            options = capsys.readouterr().out.split("options:\n")[1].splitlines()
            assert options
            assert all(line.rstrip().endswith(":") is False for line in options), f"{name}: an option without a word"


def test_set_options_go_to_the_suite_or_the_method_that_has_them() -> None:
    from avil_ray.errors import UserError
    from avil_ray.running import divide

    settings = [("helpful", 1), ("weights.helpful_1", 0.5), ("suite.width", 4), ("method.finish", "none")]
    assert divide("synthetic", "static", settings) == (
        {"helpful": 1, "width": 4},
        {"weights": {"helpful_1": 0.5}, "finish": "none"},
    )
    aligned = [("weighting", "static"), ("options.weights.helpful_1", 0.5)]
    assert divide("synthetic", "alignment", aligned)[1] == {
        "weighting": "static",
        "options": {"weights": {"helpful_1": 0.5}},
    }
    with pytest.raises(UserError, match="unknown option 'width2'"):
        divide("synthetic", "static", [("width2", 1)])


def test_check_finds_every_error_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text(SPACE.replace("rounds: 2\n", "rounds: 0\n", 1).replace("alpha-vil}", "alpha-vill}"))
    assert call("check", "space.yaml") == 2
    errors = capsys.readouterr().err.splitlines()
    assert any("rounds" in line for line in errors)
    assert any("did you mean 'alpha-vil'?" in line for line in errors)


@pytest.mark.usefixtures("ray_session")
def test_check_says_what_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text(SPACE)
    assert call("check", "space.yaml") == 0
    assert "1 configuration x 1 seed = 1 trial" in capsys.readouterr().out


def test_a_damaged_record_is_listed_in_the_report_and_the_rest_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("avil-results", "digits")
    for seed in (0, 1):
        record = make_record("equal", seed)
        write_record(trial_folder(folder, record.key), record)
    (folder / "sweep.json").write_text(json.dumps(asdict(make_facts(("equal",), seeds=(0, 1)))))
    (folder / "trials" / "equal-c000-s1" / "result.json").write_text('{"key": 7}')
    assert call("report", "digits") == 0
    said = capsys.readouterr()
    assert "equal" in said.out
    assert said.err.startswith("failed: equal/c000/s1: ")
    assert "unreadable" in said.err
    assert said.err.count("\n") == 1
    assert "equal/c000/s1" in (folder / "report.md").read_text()
    (folder / "sweep.json").write_text("[]")
    assert call("report", "digits") == 2
    assert "sweep.json: cannot be read" in capsys.readouterr().err


def test_a_run_is_tracked_where_that_is_asked(migrated_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from avil_ray.tracking.store import open_store

    storage = str(migrated_store.parent)
    assert call(*RUN, "--method", "equal", "--track", "--storage", storage) == 0
    said = capsys.readouterr().out
    client = open_store(f"sqlite:///{migrated_store}")
    experiment = client.get_experiment_by_name("synthetic")
    (run,) = client.search_runs([experiment.experiment_id])
    assert f"/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning" in said
    assert f"avil-ray ui --storage '{storage}'" in said
    assert (run.info.status, run.info.run_name) == ("FINISHED", "equal · seed 0")
    assert run.data.tags["avil.model"].startswith("models:/")
    assert {"suite.train": "60", "rounds": "2", "learning_rate": "0.05"}.items() <= run.data.params.items()
    assert call(*RUN, "--method", "equal", "--track", "--storage", storage, "--rounds", "0") == 2
    assert len(client.search_runs([experiment.experiment_id])) == 1, "wrong input leaves no run"


@pytest.mark.parametrize(
    "command", [[], ["run"], ["sweep"], ["check"], ["report"], ["affinity"], ["list"], ["data"], ["ui"]]
)
def test_every_command_has_help_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*command, "--help") == 0
    assert "avil-ray" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    from avil_ray import __version__

    assert call("--version") == 0
    assert capsys.readouterr().out == f"avil-ray {__version__}\n"


def test_a_method_is_listed_with_the_values_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "methods", "alpha-vil") == 0
    listed = capsys.readouterr().out
    assert "  alpha_steps = 10: maximum steps" in listed
    assert "  dev = crossfit: " in listed
    assert "  learning_rate: learning rate of the gradient steps; default: the suite's own" in listed
    assert "None" not in listed
    assert call("list", "methods", "alignment") == 0
    listed = capsys.readouterr().out
    assert "  weighting = equal: the method that weights the tasks" in listed
    assert "  options = {}: " in listed


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "avil_ray", "run", "synthetc"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "avil-ray: unknown suite 'synthetc'; did you mean 'synthetic'?\n"


def test_a_port_in_use_and_a_server_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = str(server.getsockname()[1])
        assert call("ui", "--storage", str(tmp_path), "--port", port) == 2
    assert f"--port {port}: cannot be used" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000")
    assert call("ui") == 2
    assert capsys.readouterr().err == (
        "avil-ray: the runs are kept on a server: open http://me:***@host:5000 in a browser\n"
    )


def test_a_dead_ray_address_is_one_line_for_a_run_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert call(*RUN, "--pool", "ray") == 2
    assert "RAY_ADDRESS=127.0.0.1:9: no Ray cluster answers there" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_machine_refuses_is_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number), "results/a\nb")

    monkeypatch.setattr("avil_ray.listing.listing", refuse)
    assert call("list", "suites") == 1
    assert capsys.readouterr().err == f"avil-ray: results/a b: {os.strerror(number)}\n"


def test_our_own_mistakes_stay_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistake(*_: object) -> NoReturn:
        raise KeyError("ours")

    monkeypatch.setattr("avil_ray.listing.listing", mistake)
    with pytest.raises(KeyError):
        call("list", "suites")


@pytest.mark.parametrize(
    ("script", "status", "errors"),
    [
        ("avil list suites | true; exit ${PIPESTATUS[0]}", 1, ""),
        ("avil list suites >&-; exit $?", 0, ""),
        ("avil list suites <&- >/dev/null; exit $?", 0, ""),
        ("PYTHONIOENCODING=ascii avil list methods alpha-vil >/dev/null; exit $?", 0, ""),
        ("avil list suites >/dev/full; exit $?", 1, "avil-ray: No space left on device\n"),
        (
            "rmdir $PWD; avil list suites; exit $?",
            2,
            "avil-ray: cannot read the current folder (No such file or directory); change to one that exists\n",
        ),
    ],
)
def test_odd_places_to_start_from_are_no_traceback(script: str, status: int, errors: str) -> None:
    root = Path(__file__).parents[1]
    avil = f"avil() {{ PYTHONPATH={root} {sys.executable} -m avil_ray $*; }}; "
    done = subprocess.run(["bash", "-c", avil + script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, errors)


def test_an_interrupted_run_keeps_its_checkpoint_and_says_so_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "avil_ray", *RUN, "--rounds", "100000", "--output", "out"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, env=environment
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == "\n"
    assert process.stderr.readline() == (
        "avil-ray: stopping: the last checkpoint stays in out; continue later with --resume; "
        "press Ctrl-C again to quit now\n"
    )
    assert time.monotonic() - began < 1
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "avil-ray: interrupted\n")
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()
