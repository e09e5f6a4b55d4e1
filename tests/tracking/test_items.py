import math

import numpy as np
import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param

from avil_ray.reports.records import Cost
from avil_ray.tracking.items import Metrics, final_metrics, identity, mlflow_name, parameters, round_metrics


def test_parameters_are_flat_sorted_and_written_as_in_yaml():
    options = {
        "weights": {"right": 0.5, "left": np.float64(2)},
        "bounded": True,
        "clip": None,
        "sizes": [1, 2],
        "name": "x",
        "none": {},
    }
    found = parameters(options).entries
    assert list(found.items()) == [
        ("bounded", "true"),
        ("clip", "null"),
        ("name", "x"),
        ("none", "{}"),
        ("sizes", "[1, 2]"),
        ("weights.left", "2.0"),
        ("weights.right", "0.5"),
    ]
    assert parameters(dict(reversed(options.items()))) == parameters(options)


def test_a_parameter_too_long_for_mlflow_is_cut_visibly():
    value = parameters({"notes": "x" * 7000}).entries["notes"]
    assert len(value) == 6000
    assert value.endswith("x…")
    assert parameters({"notes": "x" * 6000}).entries["notes"] == "x" * 6000


@pytest.mark.parametrize("name", ["a?b", "/a", "a//b", "../a", "", ".", "a" * 251, "ünï/✓"])
def test_any_name_becomes_one_that_mlflow_takes(name):
    _validate_metric_name(mlflow_name(name))
    _validate_param(mlflow_name(name), "value")


def test_names_stay_as_they_are_where_possible_and_never_collide():
    assert mlflow_name("delta_norm/left odd.x-1:2") == "delta_norm/left odd.x-1:2"
    assert len({mlflow_name(name) for name in ("a?b", "a*b", "a_b", "a" * 300, "a" * 301)}) == 5


def test_a_round_leaves_out_what_is_no_finite_number():
    row = {
        "round": 4,
        "select/accuracy": np.float32(0.5),
        "dev/loss": math.nan,
        "select/loss": math.inf,
        "cost/gradient_steps": np.int64(7),
        "alpha/a": None,
        "trial": "t-1",
        "done": True,
    }
    found = round_metrics(row, 4)
    assert found == Metrics(4, {"select/accuracy": 0.5, "cost/gradient_steps": 7.0, "round": 4.0})
    assert list(found.entries)[-1] == "round"  # sent last: where it stands, the whole row does


def test_final_metrics_hold_test_and_cost(record):
    assert final_metrics(record()).entries == {
        "best/select": 0.7,
        "best/round": 1.0,
        "test/accuracy": 0.65,
        "total/gradient_steps": 300.0,
        "total/device_seconds": 2.5,
        "total/wall_seconds": 1.5,
        "total/reserved_device_seconds": 5.0,
        "total/busy": 0.5,
    }
    failed = record(status="failed", select=None, test=None, best_round=None, cost=Cost(1, 0.5, 0.5))
    seconds = {f"total/{which}_seconds" for which in ("device", "reserved_device", "wall")}
    assert set(final_metrics(failed).entries) == {"total/gradient_steps", *seconds}


def test_identity_names_sweep_trial_and_parent():
    assert identity("moons") == {"avil.key": "moons"}
    assert identity("moons", "equal/c000/s1", "run-7") == {
        "avil.key": "moons/equal/c000/s1",
        "mlflow.parentRunId": "run-7",
    }
