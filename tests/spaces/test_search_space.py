# ruff: noqa: E501 (the contract's example stands as it is)
from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from space_files import BASE, changed, with_static, write

from avil_ray.catalog import build_method
from avil_ray.errors import UserError
from avil_ray.spaces.entries import Search
from avil_ray.spaces.search_space import problems, read_search_space

ROOT = Path(__file__).parents[2]


def contract_example():
    """The search space of the specification, word for word."""
    return """\
name: multimnist
suite: {name: multimnist, target: left, target_labels: 300}
rounds: 20
steps_per_round: 24
seeds: [0, 1, 2, 3, 4]
resources: {per_task: {cpu: 1, gpu: auto}, driver: {cpu: 1}}   # gpu: auto = 1 each where the cluster has GPUs, else 0; fractions allowed
methods:
  - {method: alpha-vil}
  - {method: alpha-vil, variant: paper, label: alpha-vil-paper}     # label: how tables, figures and MLflow call it; needed where one method is listed twice
  - {method: target-only}
  - {method: equal}
  - method: static
    weights:
      right: {grid: [0, 0.25, 0.5, 1, 2]}       # grid | choice | uniform: [a, b] | loguniform: [a, b]; a plain number is fixed
      left_odd: {grid: [0, 0.5, 1]}
    samples: 1                                   # draws per grid point for the random kinds
search: {algorithm: grid, scheduler: none}       # algorithm: grid | random | optuna;  scheduler: none | asha
"""


def test_the_contracts_example(tmp_path):
    space = read_search_space(write(tmp_path, contract_example()))
    assert (space.name, space.rounds, space.steps_per_round, space.seeds) == ("multimnist", 20, 24, (0, 1, 2, 3, 4))
    assert [entry.label for entry in space.entries] == [
        "alpha-vil",
        "alpha-vil-paper",
        "target-only",
        "equal",
        "static",
    ]
    assert [sum(one.label == entry.label for one in space.configurations()) for entry in space.entries] == [
        1,
        1,
        1,
        1,
        15,
    ]
    assert len(space.trials()) == 19 * 5
    assert space.resources.per_task.gpu == "auto"
    assert space.search == Search("grid", "none")
    assert problems(tmp_path / "demo.yaml") == []


def test_trials_in_file_order_and_their_names(tmp_path):
    trials = read_search_space(write(tmp_path, BASE)).trials()
    assert len({trial.key for trial in trials}) == len({trial.folder for trial in trials}) == len(trials) == 8 * 3
    assert [trial.key for trial in trials[:4]] == [
        "alpha-vil/c000/s0",
        "alpha-vil/c000/s1",
        "alpha-vil/c000/s2",
        "target-only/c000/s0",
    ]
    assert (trials[-1].key, trials[-1].folder) == ("static/c005/s2", "static-c005-s2")
    assert (trials[-1].options["weights.right"], trials[-1].options["weights.left_odd"]) == (1, 1)


def test_every_trial_can_be_built(tmp_path):
    space = read_search_space(write(tmp_path, BASE))
    for trial in space.trials():
        assert build_method(trial.method, trial.options)


def test_reading_twice_gives_the_same_draws(tmp_path):
    path = write(tmp_path, with_static(learning_rate={"loguniform": [0.001, 0.1]}, samples=5))
    first, again = read_search_space(path), read_search_space(path, [("name", "another")])
    assert first.configurations() == again.configurations()
    assert len({one.options["learning_rate"] for one in first.configurations()}) == 5


def test_what_is_dumped_reads_back_equal(tmp_path):
    document = with_static(
        learning_rate={"loguniform": [1e-5, 0.1]}, samples=2, weights={"right": {"choice": [0.5, 1]}}
    )
    space = read_search_space(write(tmp_path, document), [("rounds", 3), ("resources.per_task.gpu", 0.5)])
    again = read_search_space(write(tmp_path, space.dump(), "again.yaml"))
    assert again == space
    assert again.trials() == space.trials()
    assert (again.rounds, again.resources.per_task.gpu) == (3, 0.5)
    assert "timeout: 1800" in space.dump()  # defaults are told, as another version may have others


def test_anchors_are_written_out(tmp_path):
    text = write(tmp_path, BASE).read_text() + "  learning_rate: &rate 0.1\n- {method: equal, learning_rate: *rate}\n"
    space = read_search_space(write(tmp_path, text))
    assert space.configurations()[-1].options["learning_rate"] == 0.1
    assert "*" not in space.dump()


def test_the_same_space_may_be_resumed_with_other_resources_and_another_reference(tmp_path):
    stored = write(tmp_path, BASE)
    settings = [("resources.slots", 2), ("resources.retries", 5), ("reference", "static")]
    read_search_space(stored, settings).require_same(stored)


def test_the_reference_is_the_first_method_unless_another_is_named(tmp_path):
    path = write(tmp_path, BASE)
    assert read_search_space(path).reference == "alpha-vil"
    assert "reference: alpha-vil" in read_search_space(path).dump()
    assert read_search_space(path, [("reference", "static")]).reference == "static"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("target_only", "unknown label 'target_only'; did you mean 'target-only'?"),
        (5, "unknown label '5'; available: alpha-vil, static, target-only"),
        (None, "unknown label 'None'; available: alpha-vil, static, target-only"),
    ],
)
def test_a_reference_that_no_method_has_for_a_label_is_refused(tmp_path, reference, message):
    assert problems(write(tmp_path, changed(reference=reference))) == [f"demo.yaml: reference: {message}"]
    with pytest.raises(UserError, match=re.escape(f"--set reference: {message}")):
        read_search_space(write(tmp_path, BASE), [("reference", reference)])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("rounds", 30), "was run with rounds 20, but this one has 30"),
        (("seeds", [0, 1]), "was run with seeds [0, 1, 2], but this one has [0, 1]"),
        (("suite.target_labels", 200), "was run with suite "),
        (("resources.threads", 2), "was run with threads 1, but this one has 2"),
        (
            ("methods.static.label", "grid"),
            "was run with methods ['alpha-vil', 'target-only', 'static'], but this one has ",
        ),
        (
            ("methods.static.weights.right", 1),
            "was run with other options of static; resume with the same search space",
        ),
        (("search.scheduler", "asha"), "was run with search "),
    ],
)
def test_another_space_may_not_be_resumed(tmp_path, setting, message):
    stored = write(tmp_path, BASE)
    with pytest.raises(UserError, match=re.escape(f"{stored}: {message}")):
        read_search_space(stored, [setting]).require_same(stored)


def test_optuna_is_asked_for_free_options_only(tmp_path):
    pytest.importorskip("optuna")
    document = changed(search={"algorithm": "optuna", "trials": 4})
    space = read_search_space(write(tmp_path, document))
    assert [entry.label for entry in space.entries if entry.asked(space.search)] == ["static"]
    assert [one.label for one in space.configurations()] == ["alpha-vil", "target-only"]


@pytest.mark.parametrize("name", ["multimnist_demo", "multimnist", "synthetic"])
def test_the_search_spaces_that_we_ship_are_right(name):
    path = ROOT / "search_spaces" / f"{name}.yaml"
    assert problems(path) == []
    space = read_search_space(path)
    least = {"multimnist_demo": (9, 3), "multimnist": (16, 10), "synthetic": (16, 5)}[name]
    static = [one for one in space.configurations() if one.label == "static"]
    assert (len(static), len(space.seeds)) >= least
    assert {"alpha-vil", "alpha-vil-paper", "target-only", "equal", "static"} <= {
        entry.label for entry in space.entries
    }


def test_the_data_are_drawn_as_a_check(tmp_path, monkeypatch):
    module = tmp_path / "scarce_suite.py"
    module.write_text(
        "import dataclasses\nimport tiny_suite\nfrom avil_ray.errors import UserError\n"
        "def draw(seed):\n    raise UserError('scarce: seed %d has no data' % seed)\n"
        "def scarce():\n    return dataclasses.replace(tiny_suite.tiny_suite(), tasks=draw)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    document = changed(suite={"factory": "scarce_suite:scarce"}, seeds=[4], methods=[{"method": "equal"}])
    path = write(tmp_path, document)
    assert problems(path, data=False) == []
    assert problems(path) == ["demo.yaml: suite: scarce: seed 4 has no data"]
    with pytest.raises(UserError, match="seed 4 has no data"):
        read_search_space(path).draw()


def test_settings_are_applied_before_anything_is_checked(tmp_path):
    path = write(tmp_path, changed(rounds=0))
    assert problems(path, [("rounds", 3)]) == []
    assert read_search_space(path, [("rounds", 3)]).rounds == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("rounds", 0), "--set rounds must be a whole number, 1 or more, not 0"),
        (("suite.size", 3), "--set suite.size must be a whole number, 16 to 36, not 3"),
        (("methods.static.weights.right", {"grid": []}), "--set methods.static.weights.right.grid must be a list "),
        (
            ("methods.static.weights.rigth", 1),
            "demo.yaml: methods[2].weights: unknown task 'rigth'; did you mean 'right'?",
        ),
        (
            ("methods.alpha-vil.variant", "papper"),
            "--set methods.alpha-vil.variant should be 'robust' or 'paper', not 'papper'",
        ),
        (("ronds", 3), "--set ronds: unknown key 'ronds'; did you mean 'rounds'?"),
    ],
)
def test_a_wrong_setting_is_told_as_such(tmp_path, setting, message):
    (found,) = problems(write(tmp_path, BASE), [setting])
    assert found.startswith(message)


def test_every_mistake_of_a_file_is_found(tmp_path):
    document = changed(
        rounds=0,
        suite={"name": "multimnist", "sise": 3},
        speed=3,
        methods=[
            {"method": "alpha-vil", "variant": "papper", "alpha_steps": "many"},
            {"method": "statik"},
            {"method": "equal", "dev": "hould"},
        ],
    )
    found = problems(write(tmp_path, document))
    assert found == [
        "demo.yaml: suite: unknown option 'sise'; did you mean 'size'?",
        "demo.yaml: rounds must be a whole number, 1 or more, not 0",
        "demo.yaml: methods[0].variant should be 'robust' or 'paper', not 'papper'",
        "demo.yaml: methods[0].alpha_steps should be a whole number, not 'many'",
        "demo.yaml: methods[1]: unknown method 'statik'; did you mean 'static'?",
        "demo.yaml: methods[2].dev should be 'train' or 'hold', not 'hould'",
        "demo.yaml: unknown key 'speed'; did you mean 'seeds'?",
    ]
    with pytest.raises(UserError) as caught:
        read_search_space(tmp_path / "demo.yaml")
    assert str(caught.value) == found[0]


def test_optuna_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)  # as if it were not there
    path = write(tmp_path, changed(search={"algorithm": "optuna", "trials": 3}))
    assert problems(path) == [
        "demo.yaml: search.algorithm: optuna is not installed; run: pip install 'avil-ray[optuna]'"
    ]


def test_a_file_that_is_not_there(tmp_path):
    assert problems(tmp_path / "none.yaml") == [f"{tmp_path / 'none.yaml'}: no such file"]
    assert problems(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]
