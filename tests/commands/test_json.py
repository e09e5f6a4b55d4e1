"""`--json`: one document on stdout and nothing else, whatever a suite prints; `--quiet`: no progress."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from simulated import make_facts, make_record

from avil_ray import cli
from avil_ray.commands.output import reserved_output
from avil_ray.reports.comparison import compare
from avil_ray.reports.records import trial_folder, write_record
from avil_ray.sweeps.conclusion import Outcome

RUN = ["run", "synthetic", "--rounds", "2", "--steps-per-round", "3", "--set", "train=60", "--set", "target_labels=40"]
SPACE = """\
name: small
suite: {name: synthetic, target_labels: 40, train: 60}
rounds: 2
steps_per_round: 2
seeds: [0, 1]
methods: [{method: equal}, {method: target-only}]
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def document(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def test_a_run_is_one_document_and_its_rounds_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._status([*RUN, "--json", "--seed", "3", "--output", "out"]) == 0
    said = capsys.readouterr()
    found = document(said.out)
    assert (found["suite"], found["method"], found["seed"], found["output"]) == ("synthetic", "alpha-vil", 3, "out")
    assert set(found["test"]) == {"accuracy", "loss"}
    assert found["options"]["alpha_steps"] == 10
    assert [row["round"] for row in found["history"]][:2] == [0, 1]
    assert found["gradient_steps"] == sum(row["cost/gradient_steps"] for row in found["history"])
    assert said.err.startswith("round   0  select: ")
    assert json.loads(Path("out", "result.json").read_text())["test"] == found["test"]


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_quiet_leaves_only_the_result(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._status([*RUN, "--quiet", *more]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert document(said.out) if more else said.out.count("\n") == 1


def test_what_a_suite_prints_does_not_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with reserved_output(as_json=True) as write:
        print("loading")
        write({"figure": float("nan"), "path": Path("a")})
    said = capsys.readouterr()
    assert document(said.out) == {"figure": None, "path": "a"}
    assert said.err == "loading\n"


def test_check_describes_a_suite(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._status(["check", "synthetic", "--json", "--set", "train=60", "--set", "target_labels=40"]) == 0
    found = document(capsys.readouterr().out)
    assert found["tasks"]["helpful_1"]["examples"] == {"train": 60}
    assert found["tasks"][found["target"]]["metrics"] == {"accuracy": "max"}
    assert found["learning"]["batch_size"] == 32


def test_check_lists_the_problems_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text(SPACE.replace("rounds: 2\n", "rounds: 0\n", 1).replace("equal}", "equl}"))
    assert cli._status(["check", "space.yaml", "--json"]) == 2
    said = capsys.readouterr()
    problems = document(said.out)["problems"]
    assert len(problems) == 2
    assert any("did you mean 'equal'?" in line for line in problems)
    assert said.err == ""


@pytest.mark.usefixtures("ray_session")
def test_check_says_what_a_sweep_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text(SPACE)
    assert cli._status(["check", "space.yaml", "--json"]) == 0
    found = document(capsys.readouterr().out)
    assert (found["problems"], found["lacking"]) == ([], None)
    assert [(one["label"], one["trials"]) for one in found["methods"]] == [("equal", 2), ("target-only", 2)]
    assert found["gradient_steps"] == sum(one["gradient_steps"] for one in found["methods"]) > 0


def test_a_report_is_the_summary_with_where_it_is_and_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("avil-results", "digits")
    for seed in (0, 1):
        record = make_record("equal", seed)
        write_record(trial_folder(folder, record.key), record)
    (folder / "sweep.json").write_text(json.dumps(asdict(make_facts(("equal",), seeds=(0, 1)))))
    (folder / "trials" / "equal-c000-s1" / "result.json").write_text('{"key": 7}')
    assert cli._status(["report", "digits", "--json"]) == 0
    said = capsys.readouterr()
    found = document(said.out)
    assert {name: found[name] for name in ("sweep", "methods")} == {
        name: json.loads((folder / "summary.json").read_text())[name] for name in ("sweep", "methods")
    }
    assert found["report"].endswith("digits/report.html")
    [failure] = found["failures"]
    assert failure["trial"] == "equal/c000/s1"
    assert (found["unfinished"], found["not_in_mlflow"], said.err) == (0, None, "")


def test_a_sweep_ends_with_the_same_document_and_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compare([make_record("equal", 0), make_record("equal", 1)], make_facts(("equal",), seeds=(0, 1)))
    asked: dict[str, Any] = {}

    def ended(space: Path, **options: Any) -> Outcome:
        asked.update(options)
        print("a word of the suite's")
        return Outcome(comparison, tmp_path / "digits", 1, "no answer")

    monkeypatch.setattr("avil_ray.sweeps.start.sweep", ended)
    assert cli._status(["sweep", "space.yaml", "--json", "--quiet", "--seeds", "0,1"]) == 1
    said = capsys.readouterr()
    found = document(said.out)
    assert (found["unfinished"], found["not_in_mlflow"], found["failures"]) == (1, "no answer", [])
    assert found["report"] == str(tmp_path / "digits" / "report.html")
    assert said.err == "a word of the suite's\n"
    assert asked["quiet"]
    assert cli._status(["sweep", "space.yaml"]) == 1
    said = capsys.readouterr()
    assert "report: " in said.out
    assert said.err.splitlines() == [
        "1 trial has no result yet: continue with --resume",
        "some results are not in MLflow yet: no answer; --resume sends them",
    ]
    assert not asked["quiet"]
