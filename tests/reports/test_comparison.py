"""What is chosen, what counts as a result, what is paid, and the contract of `summary.json`."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated import failed, make_facts, make_record, make_sweep

from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.differences import LEVEL
from avil_ray.reports.records import Cost, TrialRecord
from avil_ray.reports.statistics import holm


def trials(label: str, tests: list[float], configuration: int = 0, **changes: object) -> list[TrialRecord]:
    """One trial a seed, with select a little above test."""
    return [
        make_record(label, seed, configuration, **{"test": test, "select": test + 0.01, **changes})
        for seed, test in enumerate(tests)
    ]


def test_the_configuration_with_the_best_mean_of_select_is_chosen_whatever_its_test() -> None:
    good = trials("static", [0.9, 0.8], 0, select=0.7)
    better_on_select = trials("static", [0.1, 0.2], 1, select=0.71, options={"weight": 2})
    found = compare([*good, *better_on_select], make_facts(("static",), seeds=(0, 1))).methods[0]
    assert found.chosen is not None
    assert found.chosen.index == 1
    assert found.test is not None
    assert found.test.mean == pytest.approx(0.15)


def test_where_lower_is_better_the_lowest_select_is_chosen() -> None:
    records = [*trials("static", [0.9, 0.8], 0, select=0.7), *trials("static", [0.1, 0.2], 1, select=0.6)]
    found = compare(records, make_facts(("static",), seeds=(0, 1), mode="min")).methods[0]
    assert found.chosen is not None
    assert found.chosen.index == 1


def test_of_equal_configurations_the_earlier_is_chosen() -> None:
    records = [*trials("static", [0.1], 1, select=0.7), *trials("static", [0.2], 0, select=0.7)]
    found = compare(records, make_facts(("static",), seeds=(0,))).methods[0]
    assert found.chosen is not None
    assert found.chosen.index == 0


NO_SUCCESS = [
    {"status": "failed", "reason": "it diverged"},
    {"status": "stopped"},
    {"status": "unfinished", "select": None, "test": None},
    {"select": math.nan},
    {"test": {"loss": 0.2}},
    {"test": {"accuracy": math.nan}},
]


@pytest.mark.parametrize("changes", NO_SUCCESS)
def test_a_configuration_with_one_seed_that_is_no_success_cannot_be_chosen(changes: dict[str, object]) -> None:
    best = [*trials("static", [0.99], 0), make_record("static", 1, 0, **{"select": 0.99, "test": 0.99, **changes})]
    records = [*best, *trials("static", [0.5, 0.6], 1)]
    found = compare(records, make_facts(("static",), seeds=(0, 1))).methods[0]
    assert found.chosen is not None
    assert found.chosen.index == 1
    assert found.configurations[0].test is None


def test_a_configuration_that_lacks_a_seed_cannot_be_chosen() -> None:
    found = compare(trials("static", [0.9]), make_facts(("static",), seeds=(0, 1))).methods[0]
    assert found.chosen is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (NO_SUCCESS[0], "it diverged"),
        (NO_SUCCESS[3], "it finished without a usable accuracy on select"),
        (NO_SUCCESS[4], "it finished without a usable accuracy on test"),
        (NO_SUCCESS[5], "it finished without a usable accuracy on test"),
        ({"status": "failed"}, "no reason was recorded"),
    ],
)
def test_a_failure_is_counted_and_says_why(changes: dict[str, object], reason: str) -> None:
    found = compare([make_record("equal", **changes)], make_facts(("equal",), seeds=(0,))).summary()["methods"][0]
    assert found["failed"] == 1
    assert found["failures"] == [{"key": "equal/c000/s0", "reason": reason}]


def test_a_trial_stopped_early_or_unfinished_is_no_failure_but_is_paid_for() -> None:
    records = [
        make_record("static", 0, status="stopped", test=None, cost=Cost(40, 4.0, 2.0, 8.0)),
        make_record("static", 1, status="unfinished", select=None, test=None, cost=Cost(5, 1.0, 1.0, 2.0)),
        *trials("static", [0.9, 0.9], 1, cost=Cost(100, 10.0, 5.0, 20.2)),
        failed(make_record("static", 0, 2), "it diverged"),
    ]
    found = compare(records, make_facts(("static",), seeds=(0, 1))).summary()["methods"][0]
    assert (found["trials"], found["failed"], found["stopped"], found["unfinished"]) == (5, 1, 1, 1)
    assert found["configurations"] == 3
    assert found["cost"] == {
        "gradient_steps": 275, "device_seconds": 25.5, "reserved_device_seconds": 51.0, "wall_seconds": 13.3,
        "busy": 0.5,
    }  # fmt: skip
    assert found["chosen_configuration"] == 1


def test_a_label_without_a_complete_configuration_has_no_figures_and_no_difference() -> None:
    records = [
        *trials("alpha-vil", [0.9, 0.8]),
        *[failed(make_record("equal", seed), "out of memory") for seed in (0, 1)],
    ]
    summary = compare(records, make_facts(("alpha-vil", "equal"), seeds=(0, 1))).summary()
    assert [summary["methods"][1][name] for name in ("chosen", "test", "select")] == [None, None, None]
    assert summary["methods"][1]["failed"] == 2
    [difference] = summary["comparisons"]
    assert [difference[name] for name in ("difference", "ci95", "p_value")] == [None, None, None]
    assert difference["verdict"] == "undecided"
    assert difference["cost_ratio"] == pytest.approx(200 / 60)


@pytest.mark.parametrize(
    ("reference", "pairs"),
    [
        (None, [("equal", "alpha-vil"), ("equal", "static")]),
        ("alpha-vil", [("alpha-vil", "equal"), ("alpha-vil", "static")]),
    ],
)
def test_the_reference_is_compared_with_every_other_and_is_the_first_unless_said_otherwise(
    reference: str | None, pairs: list[tuple[str, str]]
) -> None:
    labels = ("equal", "alpha-vil", "static")
    found = compare([make_record(label) for label in labels[::-1]], make_facts(labels, seeds=(0,), reference=reference))
    assert [(one.a, one.b) for one in found.differences] == pairs
    assert found.summary()["reference"] == pairs[0][0]


def test_a_reference_must_be_one_of_the_labels() -> None:
    with pytest.raises(ValueError, match="reference: no method has the label 'equl'"):
        make_facts(("equal",), reference="equl")


def test_a_difference_is_paired_by_seed_and_as_scipy_has_it() -> None:
    a, b = [0.93, 0.95, 0.91, 0.96], [0.92, 0.93, 0.905, 0.94]
    records = [
        *trials("alpha-vil", a, cost=Cost(50, 1.0, 1.0, 3.0)),
        *trials("static", b, cost=Cost(200, 1.0, 1.0, 2.0)),
    ]
    [found] = compare(reversed(records), make_facts(("alpha-vil", "static"), seeds=(0, 1, 2, 3))).summary()[
        "comparisons"
    ]
    expected = stats.ttest_rel(a, b)
    assert found["difference"] == pytest.approx(sum(a) / 4 - sum(b) / 4)
    assert found["p_value"] == pytest.approx(expected.pvalue)
    assert found["ci95"] == pytest.approx(list(expected.confidence_interval(0.95)))
    assert (found["cost_ratio"], found["reserved_cost_ratio"]) == (0.25, 1.5)
    assert found["pairs"] == 4


@pytest.mark.parametrize(
    ("mode", "shift", "verdict"),
    [
        ("max", 0.1, "ahead"), ("max", -0.1, "behind"), ("min", 0.1, "behind"), ("min", -0.1, "ahead"),
        ("max", 0.001, "tie"), ("min", -0.001, "tie"),
    ],
)  # fmt: skip
def test_the_verdict_follows_the_p_value_and_the_mode(mode: str, shift: float, verdict: str) -> None:
    base, noise = [0.80, 0.82, 0.84], [0.01, -0.01, 0.003]
    moved = [figure + shift + error for figure, error in zip(base, noise, strict=True)]
    records = [*trials("alpha-vil", moved), *trials("equal", base)]
    [found] = compare(records, make_facts(("alpha-vil", "equal"), seeds=(0, 1, 2), mode=mode)).differences
    assert found.verdict == verdict


def test_a_pair_has_one_p_value_in_every_table_corrected_for_all_pairs(comparison: Comparison) -> None:
    tables = (comparison.differences, comparison.against_alone, comparison.against_best)
    found = [(frozenset((one.a, one.b)), one) for table in tables for one in table if one.estimate]
    raw = {pair: one.estimate.p_value for pair, one in found if one.estimate and one.estimate.p_value is not None}
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    assert len(found) > len(raw) == 12, "some pairs are in two tables"
    assert all(one.corrected == corrected[pair] and one.comparisons == len(raw) for pair, one in found)
    assert any(one.estimate.p_value < LEVEL <= corrected[pair] for pair, one in found if one.estimate)
    for pair, one in found:
        assert (one.verdict in ("ahead", "behind")) == (corrected[pair] < LEVEL)


def test_the_best_is_best_on_select_and_the_earlier_of_equals() -> None:
    labels = ("equal", "static", "other")
    records = [make_record("equal", select=0.7, test=0.9), make_record("static", select=0.8, test=0.1)]
    found = compare([*records, make_record("other", select=0.8)], make_facts(labels, seeds=(0,)))
    assert found.best is found.by_label["static"]
    lower = compare(records, make_facts(labels, seeds=(0,), mode="min"))
    assert lower.best is lower.by_label["equal"]
    assert [(one.a, one.b) for one in found.against_best] == [("equal", "static"), ("other", "static")]


def test_the_method_that_trains_the_target_alone_is_known_by_its_histories(comparison: Comparison) -> None:
    assert comparison.alone is comparison.by_label["target-only"]
    assert {one.b for one in comparison.against_alone} == {"target-only"}
    alone = pd.DataFrame({"round": [0], "train_loss/left": [1.0], "train_loss/right": [np.nan]})
    other = pd.DataFrame({"round": [0], "train_loss/left": [1.0], "with 1/train_loss/right": [1.0]})
    for histories, expected in (((alone, alone), "x"), ((alone, other), None), ((pd.DataFrame(),) * 2, None)):
        records = [make_record("x", configuration=index, history=one) for index, one in enumerate(histories)]
        found = compare(records, make_facts(("x",), seeds=(0,))).alone
        assert (found.label if found else None) == expected


def test_one_seed_decides_nothing() -> None:
    records = [*trials("alpha-vil", [0.9]), *trials("equal", [0.1])]
    comparison = compare(records, make_facts(("alpha-vil", "equal"), seeds=(0,)))
    assert comparison.differences[0].verdict == "undecided"
    assert comparison.summary()["methods"][0]["test"]["ci95"] is None


def test_a_search_is_read_at_the_references_cost() -> None:
    grid = [record for index, test in enumerate((0.6, 0.9, 0.3)) for record in trials("static", [test] * 2, index)]
    facts = make_facts(("alpha-vil", "static"), seeds=(0, 1))
    for steps, expected in ((199, None), (200, (1, 0.6)), (599, (2, 0.8)), (10_000, (3, 0.9))):
        records = [*trials("alpha-vil", [0.8] * 2, cost=Cost(steps // 2, 1.0, 1.0)), *grid]
        records[1] = make_record("alpha-vil", 1, cost=Cost(steps - steps // 2, 1.0, 1.0))
        equal = compare(records, facts).differences[0].at_equal_cost
        assert (equal and (equal.count, pytest.approx(equal.test))) == expected


def test_a_search_is_read_at_the_references_reserved_time_too() -> None:
    grid = [record for index, test in enumerate((0.6, 0.9, 0.3)) for record in trials("static", [test] * 2, index)]
    mine = trials("alpha-vil", [0.8] * 2, cost=Cost(1, 1.0, 1.0, 8.0))  # a configuration takes 2 x 4 seconds
    [found] = compare([*mine, *grid], make_facts(("alpha-vil", "static"), seeds=(0, 1))).differences
    assert found.at_equal_cost is None
    assert found.at_equal_reserved is not None
    assert (found.at_equal_reserved.count, found.at_equal_reserved.cost) == (2, 16.0)


def test_labels_keep_their_order_and_none_is_lost() -> None:
    found = compare([make_record("stray"), make_record("equal")], make_facts(("static", "equal"), seeds=(0,)))
    assert [method.label for method in found.methods] == ["static", "equal", "stray"]
    assert found.summary()["methods"][0]["trials"] == 0


def test_a_method_that_took_no_steps_has_no_ratio() -> None:
    records = [make_record("alpha-vil"), make_record("equal", cost=Cost(0, 0.0, 0.0))]
    [found] = compare(records, make_facts(("alpha-vil", "equal"), seeds=(0,))).differences
    assert (found.cost_ratio, found.reserved_cost_ratio) == (None, None)


def test_a_sweep_without_trials_compares_nothing() -> None:
    found = compare([], make_facts(()))
    assert (found.reference, found.methods, found.differences) == (None, (), ())


CONTRACT = {"sweep", "suite", "target", "metric", "mode", "reference", "methods", "comparisons"}
ADDED = {"target_alone", "recommended", "against_target_alone", "against_recommended", "starts"}
METHOD = {"label", "method", "configurations", "trials", "failed", "chosen", "test", "select", "cost"}
DIFFERENCE = {"a", "b", "difference", "ci95", "p_value", "cost_ratio", "reserved_cost_ratio"}
COST = {"gradient_steps", "device_seconds", "reserved_device_seconds", "wall_seconds", "busy"}


def test_the_summary_keeps_its_contract(comparison: Comparison) -> None:
    summary = json.loads(json.dumps(comparison.summary(), allow_nan=False))
    assert summary.keys() >= CONTRACT | ADDED
    assert summary["target_alone"] == "target-only"
    assert summary["recommended"]["label"] == "static"
    assert summary["recommended"]["options"]["weights.right"] == 1.0
    assert summary["recommended"]["command"].startswith("avil-ray run multimnist --method static --target left")
    assert [summary[name] for name in ("sweep", "suite", "target", "metric", "mode")] == [
        "digits", "multimnist", "left", "accuracy", "max",
    ]  # fmt: skip
    for method in summary["methods"]:
        assert method.keys() >= METHOD
        assert set(method["cost"]) == COST
    for difference in summary["comparisons"]:
        assert difference.keys() >= DIFFERENCE
    static = next(method for method in summary["methods"] if method["label"] == "static")
    assert (static["configurations"], static["trials"], static["failed"]) == (12, 60, 0)
    assert set(static["test"]["per_seed"]) == {"0", "1", "2", "3", "4"}
    assert static["test"]["ci95"][0] < static["test"]["mean"] < static["test"]["ci95"][1]
    assert static["chosen"]["weights.right"] == 1.0


def test_the_order_of_the_trials_does_not_matter() -> None:
    records, facts = make_sweep()
    assert compare(records, facts).summary() == compare(records[::-1], facts).summary()


def test_options_that_json_has_not_still_stand_in_the_summary() -> None:
    records = [make_record("equal", options={"clip": math.inf, "shape": (1, 2)})]
    summary = compare(records, make_facts(("equal",), seeds=(0,))).summary()
    assert json.loads(json.dumps(summary, allow_nan=False))["methods"][0]["chosen"] == {"clip": "inf", "shape": [1, 2]}
