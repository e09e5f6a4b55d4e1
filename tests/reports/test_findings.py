"""The sentences say what the figures say, losses first."""

from __future__ import annotations

import pandas as pd
import pytest
from simulated import failed, make_facts, make_record

from avil_ray.reports import findings
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.formats import TIMES
from avil_ray.reports.records import Cost, TrialRecord

NOISE = (0.004, -0.004, 0.001)


def scattered(label: str, centre: float, noise: tuple[float, ...] = NOISE, **changes: object) -> list[TrialRecord]:
    return [make_record(label, seed, test=centre + error, **changes) for seed, error in enumerate(noise)]


def four(mode: str) -> Comparison:
    """alpha-vil at 0.8 between one that is higher, one lower, one the same, and one that failed."""
    records = [*scattered("alpha-vil", 0.8), *scattered("lower", 0.7, (0, 0, 0)), *scattered("higher", 0.9, (0, 0, 0))]
    records += [
        *scattered("same", 0.8005, NOISE[::-1]),
        *(failed(one, "it diverged") for one in scattered("broken", 0.8)),
    ]
    labels = ("alpha-vil", "lower", "same", "broken", "higher")
    return compare(records, make_facts(labels, seeds=(0, 1, 2), mode=mode))


@pytest.mark.parametrize(
    ("mode", "leads"),
    [
        ("max", ["Loses to higher", "Ties with same", "Beats lower", "Undecided against broken"]),
        ("min", ["Loses to lower", "Ties with same", "Beats higher", "Undecided against broken"]),
    ],
)
def test_losses_come_first_then_ties_wins_and_the_undecided(mode: str, leads: list[str]) -> None:
    assert [one.lead for one in findings.statements(four(mode))] == leads


def test_the_headline_counts_losses_first() -> None:
    assert findings.headline(four("max")) == (
        "alpha-vil loses to 1, ties with 1, beats 1 and is undecided against 1 of 4 other methods, "
        "on test accuracy over 3 seeds."
    )


def test_a_statement_has_its_figures() -> None:
    loss, tie, win, undecided = (one.text for one in findings.statements(four("max")))
    assert loss.startswith("accuracy 0.100 lower, 95 % interval [")
    assert "p < 0.001, 3 seeds" in loss
    assert f"as many gradient steps as higher and 1 {TIMES} its reserved device time" in loss
    assert "lower" in tie
    assert win.startswith("accuracy 0.100 higher")
    assert undecided.startswith("broken has no configuration that finished on every seed")


def test_one_seed_is_called_undecided() -> None:
    records = [make_record("alpha-vil", test=0.9), make_record("equal", test=0.8)]
    [found] = findings.statements(compare(records, make_facts(("alpha-vil", "equal"), seeds=(0,))))
    assert found.lead == "Undecided against equal"
    assert "on the one seed they share, which gives no interval" in found.text


def test_a_search_is_told_at_the_references_cost() -> None:
    grid = [one for index in range(4) for one in scattered("static", 0.7 + index / 100, configuration=index)]
    facts = make_facts(("alpha-vil", "static"), seeds=(0, 1, 2))
    cheap = [*scattered("alpha-vil", 0.8, cost=Cost(99, 1.0, 1.0, 8.0)), *grid]
    [told] = findings.statements(compare(cheap, facts))
    took = f"took 0.25 {TIMES} the gradient steps of static and 0.5 {TIMES} its reserved device time"
    assert f"{took}; these steps do not pay for one of its 4 configurations" in told.text
    dear = [*scattered("alpha-vil", 0.8, cost=Cost(210, 1.0, 1.0)), *grid]
    [told] = findings.statements(compare(dear, facts))
    # all select figures are equal, so the earliest drawn is chosen: of two of 0 … 3 that is 2/3 on average
    assert "these steps pay for 2 of its 4 configurations, expected to reach 0.707" in told.text


def test_nothing_is_said_of_a_reference_without_a_result() -> None:
    records = [failed(make_record("alpha-vil"), "out of memory"), make_record("equal")]
    found = compare(records, make_facts(("alpha-vil", "equal"), seeds=(0,)))
    assert "nothing can be said of it" in findings.headline(found)
    assert [one.verdict for one in findings.statements(found)] == ["undecided"]


def test_a_lone_method_and_an_empty_sweep_are_told_as_such() -> None:
    assert "only method" in findings.headline(compare([make_record("equal")], make_facts(("equal",), seeds=(0,))))
    assert "no trial yet" in findings.headline(compare([], make_facts(())))


def test_the_table_shows_costs_of_all_trials_and_failures(comparison: Comparison) -> None:
    rows = {row.cells["method"]: row.cells for row in findings.rows(comparison)}
    assert rows["static"] == {
        "method": "static", "configurations": "12", "trials (failed)": "60 (0)", "test": "0.942 ± 0.014",
        "gradient steps": f"{12 * 5 * 20 * 96:,}", "reserved device time": "19.2 min", "busy": "50 %",
        "wall time": "5.8 min",
    }  # fmt: skip
    assert (rows["fork-merge"]["trials (failed)"], rows["fork-merge"]["test"]) == ("5 (1)", "none complete")
    assert [row.cells["method"] for row in findings.rows(comparison) if row.reference] == ["alpha-vil"]


def test_where_no_reserved_time_is_known_none_is_given_and_no_share_of_it() -> None:
    records = [make_record("equal", cost=Cost(100, 2.0, 1.0)), make_record("static")]
    [first, second] = findings.rows(found := compare(records, make_facts(("equal", "static"), seeds=(0,))))
    assert (first.cells["busy"], second.cells["busy"]) == ("n/a", "50 %")
    assert (first.cells["reserved device time"], first.cells["wall time"]) == ("n/a", "1.0 s")
    assert "reserved" not in findings.statements(found)[0].text


def test_dev_is_told_by_what_was_done_with_it(comparison: Comparison) -> None:
    told = {way.partition(":")[0]: labels for way, labels in findings.dev_use(comparison)}
    assert told == {
        "crossfit": "alpha-vil",
        "hold": "alpha-vil-paper, fork-merge",
        "train": "target-only, equal, equal-then-target, static",
    }
    silent = compare([make_record("equal", options={})], make_facts(("equal",), seeds=(0,)))
    assert findings.dev_use(silent) == [("not stated", "equal")]


def test_a_choice_tells_what_was_searched_from_what_was_not(comparison: Comparison) -> None:
    told = {choice.label: choice for choice in findings.choices(comparison)}
    assert told["static"].varied == "weights.right = 1.0, weights.left_odd = 1.0"
    assert told["static"].fixed == "dev = train, momentum = 0.9"
    assert told["static"].text.startswith("configuration c011, one of 12; accuracy on select 0.9")
    assert told["equal"].text.startswith("the only configuration; ")
    assert told["fork-merge"].text == "nothing: of 1 configuration none finished on every seed"


def test_failures_of_one_reason_stand_together() -> None:
    records = [failed(make_record("static", seed), "out of memory") for seed in (0, 1)]
    records.append(failed(make_record("static", 2), "it diverged"))
    groups = findings.failure_groups(compare(records, make_facts(("static",), seeds=(0, 1, 2))))
    assert [(group.reason, group.keys) for group in groups] == [
        ("out of memory", ("static/c000/s0", "static/c000/s1")),
        ("it diverged", ("static/c000/s2",)),
    ]


def test_trials_that_were_stopped_or_interrupted_are_told_of() -> None:
    records = [
        make_record("static", seed, status=status) for seed, status in enumerate(("stopped", "stopped", "unfinished"))
    ]
    said = findings.other_ends(compare(records, make_facts(("static",), seeds=(0, 1, 2))))
    assert said == [
        "static: the scheduler stopped 2 trials early; paid for, but not to be chosen.",
        "static: 1 trial has no result yet; resume the sweep to get it.",
    ]


def test_training_that_was_dropped_is_told_of() -> None:
    history = pd.DataFrame({"dropped/noise": [0.0, 1.0, 1.0, float("nan")], "dropped/left": 0.0})
    records = [make_record("static", seed, history=history) for seed in (0, 1)]
    assert findings.other_ends(compare(records, make_facts(("static",), seeds=(0, 1)))) == [
        "static: dropped, as their steps or losses were not finite: noise in 4 rounds (of 8)."
    ]
