"""`avil-ray check SUITE`, and the other places where a user's own factory or method is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_suite import tiny_suite

from avil_ray import cli
from avil_ray.catalog import build_method, label_of, settled_options, with_options
from avil_ray.checking import facts_of, lines_of, names_suite
from avil_ray.errors import UserError
from avil_ray.methods.alignment import Alignment
from avil_ray.methods.alpha_vil import AlphaVIL
from avil_ray.methods.static import Static

TINY, METHOD = "tiny_suite:tiny_suite", "own_methods:Halved"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_suite_is_told_task_by_task() -> None:
    lines = list(lines_of(facts_of(tiny_suite())))
    assert lines[:-1] == [
        "suite tiny: target a, auxiliaries b, c",
        "  a: train 40, dev 20, select 50, test 50; head with 18 parameters; loss cross_entropy, metric accuracy (max)",
        "  b: train 60; head with 18 parameters; loss cross_entropy",
        "  c: train 60; head with 18 parameters; loss cross_entropy",
        "model: 110 parameters",
    ]
    assert lines[-1].startswith("learning: learning_rate = 0.05, batch_size = 32, optimizer = sgd")


def test_what_is_a_suite_and_what_is_the_path_of_a_search_space() -> None:
    Path("multimnist").touch()
    Path("a:b").touch()
    found = {
        name
        for name in ("synthetic", "synthetc", TINY, "multimnist", "a:b", "synthetic.yaml", "x:y.yaml", "no")
        if names_suite(name)
    }
    assert found == {"synthetic", "synthetc", TINY}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "tiny_suite:tiny"], "tiny_suite: unknown name 'tiny'; did you mean 'tiny_suite'?"),
        (["check", "synthetc"], "unknown suite 'synthetc'; did you mean 'synthetic'?"),
        (["check", TINY, "--set", "dlay=3"], f"suite factory {TINY}: unknown option 'dlay'; did you mean 'delay'?"),
        (
            ["check", TINY, "--set", "learning.clip=-1"],
            "--set learning.clip must be a number above 0, and finite, not -1",
        ),
        (
            ["check", TINY, "--set", "learning.groups.trnk.weight_decay=0"],
            "learning: groups.trnk: no parameter name starts with it; available: heads.a, heads.b, heads.c, trunk.0",
        ),
        (["run", "tiny_suite:TASKS"], "suite factory tiny_suite:TASKS: it is a tuple, not a function"),
        (["run", "tiny_suite:"], "'tiny_suite:': write a factory as 'package.module:function'"),
        (["run", TINY, "--set", "learning=3"], "--set learning must be a mapping such as {batch_size: 16}, not 3"),
        (
            ["run", TINY, "--set", "learning.batch=3"],
            "--set learning: unknown option 'batch'; did you mean 'batch_size'?",
        ),
        (
            ["affinity", TINY, "--set", "learning.optimizer=lbfgs"],
            "--set learning.optimizer LBFGS: it evaluates the loss several times in a step; choose another",
        ),
        (["data", "no_such:thing"], "'no_such:thing': No module named 'no_such'; is its folder on PYTHONPATH?"),
        (["list", "tiny_suite:tiny"], "tiny_suite: unknown name 'tiny'; did you mean 'tiny_suite'?"),
        (
            ["run", TINY, "--method", "own_methods:function"],
            "method own_methods:function: it is a function, not a class derived from avil_ray.Method",
        ),
        (
            ["run", TINY, "--method", "own_methods:Path"],
            "own_methods: unknown name 'Path'; available: ",
        ),
        (
            ["run", TINY, "--method", "own_methods:Unfinished"],
            "method own_methods:Unfinished: assign, combine must be defined",
        ),
        (
            ["run", TINY, "--method", "own_methods:Unreadable"],
            "method own_methods:Unreadable: NameError: name 'NoSuchType' is not defined",
        ),
        (["run", TINY, "--method", "own_methods:"], "'own_methods:': write a method as 'package.module:Class'"),
        (["run", TINY, "--method", "own_methods:Demanding"], "the option 'strength' is missing"),
        (["run", TINY, "--method", "own_methods:Raising"], "method own_methods:Raising: KeyError: 'strength' (in "),
        (
            ["run", TINY, "--method", METHOD, "--set", "strenght=1"],
            "--set strenght: unknown option 'strenght'; did you mean 'strength'?",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli._status(arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(f"avil-ray: {message}") or message in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_ones_own_factory_and_method_are_taken_wherever_names_are(capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", TINY, "--method", METHOD, "--rounds", "1", "--steps-per-round", "2"]
    assert cli._status([*run, "--set", "strength=1", "--set", "learning.batch_size=8"]) == 0
    small = capsys.readouterr().out
    assert cli._status([*run, "--set", "learning={batch_size: 8}"]) == 0
    assert capsys.readouterr().out == small
    assert cli._status(run) == 0
    assert capsys.readouterr().out != small
    assert cli._status(["data", TINY]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "a: train 40, dev 20, select 50, test 50 (accuracy)"
    assert cli._status(["list", TINY]) == 0
    assert "  delay = 0.0" in capsys.readouterr().out
    for arguments in (["list", METHOD], ["list", "methods", METHOD]):
        assert cli._status(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == ["Equal weights, and a method of one's own.", "source: this test"]
        assert "  strength = 0.5: does nothing" in lines
    assert cli._status(["list", "own_methods:Demanding"]) == 0
    assert "  strength" in capsys.readouterr().out.splitlines()
    assert cli._status(["check", TINY]) == 0
    assert capsys.readouterr().out.startswith("suite tiny: target a")


FACTORY = """\
from avil_ray.suites import synthetic


def suite():
    return synthetic(train=60, target_labels=30, select=20, test=20)
"""


def test_a_factory_in_the_current_folder_is_found_by_the_command() -> None:
    Path("mine.py").write_text(FACTORY)
    run = ["run", "mine:suite", "--method", "equal", "--rounds", "1", "--steps-per-round", "1"]
    command = [sys.executable, "-P", "-m", "avil_ray", *run]  # -P: the folder is not on Python's own path
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].startswith("test (target, round 0, best on select)")


def test_labels_of_ones_own_methods_are_names_that_folders_may_have() -> None:
    names = ["alpha-vil", METHOD, "own_methods:Überall", "own_methods:_Hidden", "own_methods:__"]
    assert [label_of(name) for name in names] == ["alpha-vil", "Halved", "berall", "Hidden", "method"]


def test_a_method_with_some_options_changed_keeps_the_others() -> None:
    static = Static(weights={"b": 0.5}, learning_rate=0.1)
    assert with_options(static, {"weights.c": 1}, "") == Static(weights={"b": 0.5, "c": 1}, learning_rate=0.1)
    assert with_options(AlphaVIL(), {"variant": "paper"}, "") == AlphaVIL(variant="paper")
    aligned = Alignment(weighting=static)
    assert with_options(aligned, {"options": {"weights": {"c": 1}}}, "").weighting.weights == {"b": 0.5, "c": 1}
    assert with_options(aligned, {"weighting": "equal"}, "") == build_method("alignment", {"weighting": "equal"})
    with pytest.raises(UserError, match=r"^here: unknown option 'wieghts'; did you mean 'weights'\?$"):
        with_options(static, {"wieghts": 1}, "here")


def test_ones_own_method_may_weigh_the_tasks_of_another() -> None:
    made = build_method("alignment", {"weighting": METHOD, "options": {"strength": 1}})
    again = build_method("alignment", settled_options(made))
    assert settled_options(made)["weighting"] == METHOD
    assert again == made
