"""The searches of a sweep's grids at the cost of its reference: the figures of the grid itself, chosen by select."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated import failed, make_facts, make_record, make_sweep

from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.equal_cost import AtCost, EqualCost
from avil_ray.reports.html import html_report
from avil_ray.reports.markdown import markdown_report
from avil_ray.reports.records import Cost, TrialRecord
from avil_ray.sweeps.at_equal_cost import WHOLE, at_equal_cost, measured
from avil_ray.sweeps.replay import KINDS

AXES = {"weights.right": (0.0, 0.25, 0.5, 1.0), "weights.left_odd": (0.0, 0.5, 1.0)}
FACTS = {"algorithm": "grid", "grids": {"target-only": {}, "equal": {}, "static": AXES}}


@pytest.fixture(scope="module")
def swept() -> Comparison:
    """The simulated sweep of which the grid costs nine times as much as the reference."""
    records, facts = make_sweep()
    return compare(records, replace(facts, **FACTS))


@pytest.fixture(scope="module")
def found(swept: Comparison) -> EqualCost:
    return at_equal_cost(swept)


def small(selects: Sequence[float], mode: str = "max", steps: int = 100, **facts: Any) -> Comparison:
    """A reference of 250 steps, and a grid with these figures on select; on test they are 0.1 lower."""
    records = [make_record("alpha-vil", seed, test=0.5 + seed / 10, cost=Cost(125)) for seed in (0, 1)]
    for place, select in enumerate(selects):
        records += [
            make_record("static", seed, place, select=select + seed / 10, test=select - 0.1, cost=Cost(steps // 2))
            for seed in (0, 1)
        ]
    grids = {"static": {"weights.right": tuple(range(len(selects)))}}
    changes: dict[str, Any] = {"mode": mode, "seeds": (0, 1), "algorithm": "grid", "grids": grids, **facts}
    return compare(records, make_facts(("alpha-vil", "static"), **changes))


def by_search(found: EqualCost, label: str = "static") -> dict[str, AtCost]:
    return {one.search: one for one in found.found if one.label == label}


def test_the_budget_is_what_all_trials_of_the_reference_took(swept: Comparison, found: EqualCost) -> None:
    reference = swept.by_label["alpha-vil"]
    assert (found.budget, found.of_reference, found.remarks) == (reference.cost.gradient_steps, True, ())
    assert all(one.cost <= 12_960 for one in found.found if one.within)
    assert at_equal_cost(small([0.3, 0.2], budget=100)).budget == 100


def test_every_kind_of_search_stands_beside_the_whole_grid(swept: Comparison, found: EqualCost) -> None:
    rows = by_search(found)
    assert list(rows) == [WHOLE, *KINDS]
    whole, static = rows[WHOLE], swept.by_label["static"]
    assert not whole.within
    assert (whole.configurations, whole.cost) == (12, static.cost.gradient_steps)
    assert static.chosen is not None
    assert whole.per_seed == static.chosen.per_seed
    assert [one.search for one in found.found if one.label == "target-only"] == [WHOLE]
    assert all(one.within for one in found.found if one.label == "target-only")


def test_figures_are_means_of_the_configurations_chosen(swept: Comparison, found: EqualCost) -> None:
    kind, static = KINDS["random"], swept.by_label["static"]
    grid = measured(swept, static)
    chosen = [kind.search(grid, 12_960, repeat).chosen for repeat in range(kind.repeats)]
    tests = np.array(
        [[static.configurations[one].per_seed[seed] for seed in range(5)] for one in chosen if one is not None]
    )
    random, reference = by_search(found)["random"], swept.by_label["alpha-vil"].chosen
    assert random.per_seed == pytest.approx(dict(enumerate(tests.mean(0))))
    assert random.test is not None
    assert random.over_searches is not None
    assert random.over_searches.mean == pytest.approx(random.test.mean)
    assert random.middle == pytest.approx(tuple(np.percentile(tests.mean(1), [5, 95])))
    assert random.difference is not None
    assert reference is not None
    assert random.difference.difference == pytest.approx(np.mean(list(reference.per_seed.values())) - tests.mean())


@pytest.mark.parametrize(("mode", "best"), [("max", 0.6), ("min", 0.2)])
def test_better_is_what_the_metric_says(mode: str, best: float) -> None:
    found = at_equal_cost(small([0.4, 0.6, 0.2, 0.5], mode, budget=399))
    rows, better = by_search(found), max if mode == "max" else min
    assert rows[WHOLE].select == pytest.approx(best + 0.05)
    within = [one.select for one in found.found if one.within and one.select is not None]
    strongest = found.strongest(larger_is_better=mode == "max")
    assert strongest is not None
    assert strongest.select == better(within)
    # three of four are drawn: the best is missed by a quarter of the searches, which then find the next
    second = 0.5 if mode == "max" else 0.4
    assert rows["random"].select == pytest.approx(0.05 + 0.75 * best + 0.25 * second, abs=0.04)


def test_successive_halving_sees_the_rounds_up_to_a_rung(swept: Comparison) -> None:
    grid, static = measured(swept, swept.by_label["static"]), swept.by_label["static"]
    records = static.configurations[3].records
    first, second = grid.points[3].rungs
    assert (first.rounds, second.rounds) == (5, 15)
    assert (first.cost, second.cost) == (5 * 5 * 96, 5 * 15 * 96)
    assert first.score == pytest.approx(np.mean([one.history["select/accuracy"][:5].max() for one in records]))
    least = compare([*swept.by_label["static"].records], replace(swept.facts, mode="min", reference="static"))
    point = measured(least, least.by_label["static"]).points[3]
    assert point.rungs[0].score == pytest.approx(
        -np.mean([one.history["select/accuracy"][:5].min() for one in records])
    )
    assert point.score == -static.configurations[3].select.mean  # type: ignore[union-attr]


def test_without_histories_there_is_no_successive_halving() -> None:
    found = by_search(at_equal_cost(small([0.1, 0.2, 0.3])))
    assert found["asha"].why_not == "no history is stored"
    assert found["random"].configurations == 2


def test_a_failed_configuration_costs_and_is_not_chosen() -> None:
    comparison = small([0.1, 0.9, 0.3])
    records = [failed(one, "no") if one.configuration == 1 else one for one in comparison.by_label["static"].records]
    again = compare([*comparison.by_label["alpha-vil"].records, *records], comparison.facts)
    points = measured(again, again.by_label["static"]).points
    assert [(point.score is None, point.cost) for point in points] == [(False, 100), (True, 60), (False, 100)]
    assert by_search(at_equal_cost(again))[WHOLE].select == pytest.approx(0.35)


def test_a_budget_that_pays_for_nothing_is_said() -> None:
    found = by_search(at_equal_cost(small([0.1, 0.2, 0.3], budget=99)))
    for name in ("grid", "random", "optuna", "surrogate"):
        assert found[name].why_not == "not one configuration could be paid for"
        assert found[name].empty == found[name].repeats
    assert not found[WHOLE].within


def without(comparison: Comparison, status: str) -> Comparison:
    """One trial of the grid with another end."""
    records: list[TrialRecord] = [one for method in comparison.methods for one in method.records]
    ended: Any = {"status": status, "reason": "x", "select": None, "test": None}
    return compare([*records[:-1], replace(records[-1], **ended)], comparison.facts)


@pytest.mark.parametrize(
    ("comparison", "remark"),
    [
        (small([0.1, 0.2], grids={}), "There is no full grid of fixed weights to replay."),
        (small([0.1, 0.2], grids={}, algorithm="optuna"), "configurations were searched with optuna."),
        (
            small([0.1, 0.2], grids={}, algorithm="random", budget=300),
            "with random, each within the budget, so costs are",
        ),
        (small([0.1, 0.2], grids={}, algorithm=None), "the sweep is of an earlier version"),
        (small([0.1, 0.2], grids={"static": {"a": (0, 1, 2)}}), "static cannot be replayed: 2 of its 3 configurations"),
        (without(small([0.1, 0.2]), "stopped"), "static cannot be replayed: it has 1 trial that was stopped early"),
        (without(small([0.1, 0.2]), "unfinished"), "static cannot be replayed: it has 1 trial without a result yet"),
        (without(small([0.1]), "failed"), "static cannot be replayed: no configuration finished on every seed"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_the_report(comparison: Comparison, remark: str) -> None:
    found = at_equal_cost(comparison)
    assert found.found == ()
    assert any(remark in said for said in found.remarks), found.remarks
    told = replace(comparison, equal_cost=found)
    assert remark in markdown_report(told)
    assert remark in html_report(told, [])


def test_without_a_reference_there_is_no_budget() -> None:
    comparison = compare([make_record("static")], make_facts(("alpha-vil", "static"), seeds=(0,), **FACTS))
    found = at_equal_cost(comparison)
    assert (found.budget, found.found) == (None, ())
    assert found.remarks == ("alpha-vil has no result on every seed to compare with.",)
    assert at_equal_cost(compare([], make_facts(()))).found == ()


def test_the_same_trials_give_the_same_and_json_can_hold_it(swept: Comparison, found: EqualCost) -> None:
    records, facts = make_sweep()
    again = compare(records[::-1], replace(facts, **FACTS))
    assert at_equal_cost(again) == found
    summary = json.loads(json.dumps(replace(swept, equal_cost=found).summary(), allow_nan=False))["equal_cost"]
    assert summary["budget"] == 12_960
    assert [one["search"] for one in summary["found"]] == [one.search for one in found.found]


def test_a_finish_makes_runs_longer_and_stands_beside() -> None:
    history = pd.DataFrame(
        {"round": range(27), "select/accuracy": np.linspace(0.1, 0.7, 27), "cost/gradient_steps": 10}
    )
    records = [make_record("alpha-vil", cost=Cost(500))]
    for label, rounds in (("static", 20), ("static-finish", 27)):
        records += [
            make_record(label, configuration=place, cost=Cost(10 * rounds), history=history[:rounds])
            for place in range(3)
        ]
    grids = {label: {"weights.right": (0, 1, 2)} for label in ("static", "static-finish")}
    labels = ("alpha-vil", "static", "static-finish")
    comparison = compare(records, make_facts(labels, seeds=(0,), algorithm="grid", grids=grids))
    points = [measured(comparison, comparison.by_label[label]).points[0].rungs for label in labels[1:]]
    assert [[(one.rounds, one.cost) for one in rungs] for rungs in points] == [
        [(5, 50), (15, 150)],
        [(7, 70), (21, 210)],
    ]
    found = at_equal_cost(comparison)
    assert by_search(found, "static")["random"].configurations == 2
    assert by_search(found, "static-finish")["random"].configurations == 1
