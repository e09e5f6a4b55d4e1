from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console
from space_files import changed, write

from avil_ray.errors import UserError
from avil_ray.spaces.preview import preview
from avil_ray.spaces.search_space import read_search_space

TINY = {
    "suite": {"factory": "tiny_suite:tiny_suite"},
    "rounds": 4,
    "steps_per_round": 5,
    "methods": [
        {"method": "alpha-vil"},
        {"method": "target-only"},
        {"method": "static", "weights": {"b": {"grid": [0, 0.5, 1]}, "c": {"grid": [0, 1]}}},
    ],
}
THIRDS = {"driver": {"cpu": 0.2}, "per_task": {"cpu": 0.4}}


def seen(folder, there, **changes):
    return preview(read_search_space(write(folder, changed(**{**TINY, **changes}))), there)


def test_counts_of_configurations_trials_and_slots(tmp_path):
    rows = seen(tmp_path, {"CPU": 2.0, "GPU": 0.0}, resources=THIRDS).rows
    assert [(row.label, row.configurations, row.trials) for row in rows] == [
        ("alpha-vil", 1, 3),
        ("target-only", 1, 3),
        ("static", 6, 18),
    ]
    assert [(row.slots, row.assignments, row.at_once) for row in rows] == [(3, 3, 1), (1, 1, 3), (1, 1, 5)]
    assert [row.asked["CPU"] for row in rows] == pytest.approx([1.4, 0.4, 0.4])
    assert not any(row.lacking for row in rows)


def test_ranks_of_train_share_out_a_single_assignment_too_and_no_driver_stands_beside_them(tmp_path):
    rows = seen(tmp_path, {"CPU": 4.0}, resources={"pool": "train"}).rows
    assert [(row.slots, row.asked["CPU"], row.at_once) for row in rows] == [(3, 3, 1), (1, 1, 3), (3, 3, 1)]
    assert [row.slots for row in seen(tmp_path, {"CPU": 4.0}, resources={"pool": "train", "slots": 2}).rows] == [2] * 3
    assert "each trial needs 5 CPU" in seen(tmp_path, {"CPU": 4.0}, resources={"pool": "train", "slots": 5}).lacking


def test_a_trial_that_runs_inline_asks_one_worker(tmp_path):
    rows = seen(tmp_path, {"CPU": 2.0}, resources={"pool": "inline", "slots": 3}).rows
    assert [(row.slots, row.asked["CPU"], row.at_once) for row in rows] == [(1, 1, 2)] * 3


def test_gradient_steps_of_one_trial_and_of_all(tmp_path):
    plain, target, static = seen(tmp_path, {"CPU": 8.0}).rows
    alone, tuning = 4 * 5, 2 * 5  # beside all four rounds; two to fine-tune
    dev = 9  # one round of 4 fits alpha: 18 examples of 60, passed over 15 times, are 9 batches of 32
    race = 5 * (2 + 3)  # a round of the target with the first auxiliary, and with both
    winner = 3 * 3  # one round of three tasks at half of its five steps: what is before it uses the budget up
    assert plain.steps_of_one == str(2 * 5 * 3 + race + winner + alone + tuning + dev)
    assert target.steps_of_one == "20"
    assert static.steps_of_one == "20 to 60"
    # weights that are 0 do not train: 1, 2, 2, 3, 2 and 3 tasks
    assert static.gradient_steps == 3 * 20 * (1 + 2 + 2 + 3 + 2 + 3)


def test_what_is_printed(tmp_path):
    found = seen(tmp_path, {"CPU": 2.0, "GPU": 0.0}, resources=THIRDS)
    assert found.lines() == [
        "demo: 8 configurations x 3 seeds = 24 trials",
        "suite tiny: target a, auxiliaries b, c; train 40, dev 20, select 50, test 50",
        "model: 110 parameters; 4 rounds of 5 steps",
        "search: grid, scheduler none",
        "vectorize: no trial can train in a stack: its model or losses draw random numbers",
        "reference, compared with every other method: alpha-vil",
        "alpha-vil: 1 configuration, 3 trials of 103 steps, 3 slots, 1.4 CPU, 1 at once",
        "target-only: 1 configuration, 3 trials of 20 steps, 1 slot, 0.4 CPU, 3 at once",
        "static: 6 configurations, 18 trials of 20 to 60 steps, 1 slot, 0.4 CPU, 5 at once",
        "1,149 gradient steps in total, dev passes included (approximate)",
        "the cluster has 2 CPU",
        "there is room for every trial",
    ]
    output = io.StringIO()
    Console(file=output, width=80).print(found)
    (row,) = (line.split() for line in output.getvalue().splitlines() if line.strip().startswith("static"))
    assert row == ["static", "6", "x", "3", "20", "to", "60", "780", "1", "0.4", "5"]
    assert "there is room for every trial" in output.getvalue()
    assert "…" not in output.getvalue()


def test_slots_shrink_to_what_there_is(tmp_path):
    row = seen(tmp_path, {"CPU": 3.0}).rows[0]
    assert (row.slots, row.assignments, row.lacking) == (2, 3, None)
    assert "fewer workers than tasks fit, so tasks queue: alpha-vil" in seen(tmp_path, {"CPU": 3.0}).lines()


def test_a_number_of_slots_is_taken_as_said(tmp_path):
    rows = seen(tmp_path, {"CPU": 9.0}, resources={"slots": 2}).rows
    assert [(row.slots, row.at_once) for row in rows] == [(2, 3), (1, 3), (1, 9)]


def test_more_than_the_cluster_has(tmp_path):
    found = seen(tmp_path, {"CPU": 2.0}, resources={"slots": 3})
    expected = (
        "demo.yaml: resources: each trial needs 4 CPU, but the cluster has 2 (trials of 'alpha-vil'); "
        "request less: per_task is 1 CPU, driver 1 CPU, slots 3"
    )
    assert found.lacking == expected
    assert found.lines()[-1] == expected
    assert [row.at_once for row in found.rows] == [0, 2, 2]


def test_gpus_that_are_not_there(tmp_path):
    found = seen(tmp_path, {"CPU": 8.0, "GPU": 0.0}, resources={"per_task": {"gpu": 0.5}})
    assert found.lacking is not None
    assert "the cluster has 0" in found.lacking
    assert "per_task is 1 CPU and 0.5 GPU" in found.lacking


def test_gpus_that_are_there_are_taken(tmp_path):
    found = seen(tmp_path, {"CPU": 8.0, "GPU": 2.0})
    assert [(row.slots, row.asked["GPU"], row.at_once) for row in found.rows] == [(2, 2, 1), (1, 1, 2), (1, 1, 2)]
    assert "the cluster has 8 CPU and 2 GPU" in found.lines()


def test_nodes_that_are_each_too_small(tmp_path):
    found = seen(tmp_path, [{"CPU": 1.0}, {"CPU": 1.0}], resources={"per_task": {"cpu": 1.5}, "driver": {"cpu": 0.5}})
    assert found.lacking is not None
    assert "no node has 1.5 CPU free" in found.lacking


def test_trials_are_no_more_than_there_are(tmp_path):
    assert [row.at_once for row in seen(tmp_path, {"CPU": 1000.0}).rows] == [3, 3, 18]


def test_random_and_early_stopping(tmp_path):
    found = seen(tmp_path, {"CPU": 8.0}, search={"algorithm": "random", "trials": 2, "scheduler": "asha"})
    assert [row.configurations for row in found.rows] == [1, 1, 2]
    assert "search: random, scheduler asha" in found.lines()
    assert any(line.endswith("asha will save some") for line in found.lines())


def test_what_optuna_will_propose_is_counted(tmp_path):
    pytest.importorskip("optuna")
    found = seen(tmp_path, {"CPU": 8.0}, search={"algorithm": "optuna", "trials": 5})
    assert [(row.configurations, row.trials) for row in found.rows] == [(1, 3), (1, 3), (5, 15)]


def test_data_that_cannot_be_had(tmp_path, monkeypatch):
    (tmp_path / "dataless.py").write_text(
        "import dataclasses\nimport tiny_suite\nfrom avil_ray.errors import UserError\n"
        "def draw(seed):\n    raise UserError('nothing there')\n"
        "def make():\n    return dataclasses.replace(tiny_suite.tiny_suite(), tasks=draw)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"^demo.yaml: suite: nothing there$"):
        seen(tmp_path, {"CPU": 8.0}, suite={"factory": "dataless:make"})


def test_ray_is_not_needed():
    script = "import sys, avil_ray.spaces.preview; assert 'ray' not in sys.modules and 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
