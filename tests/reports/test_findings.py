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
        ("max", ["Worse than higher", "same: too few seeds to tell", "Better than lower", "broken: no result"]),
        ("min", ["Worse than lower", "same: too few seeds to tell", "Better than higher", "broken: no result"]),
    ],
)
def test_losses_come_first_then_what_is_open_wins_and_what_has_no_result(mode: str, leads: list[str]) -> None:
    found = findings.statements(four(mode))
    assert [one.lead for one in found] == leads
    assert [one.tone for one in found] == ["bad", "open", "good", "open"]


def test_with_seeds_enough_a_tie_is_called_no_difference_shown() -> None:
    noise = (0.004, -0.004, 0.001, 0.0, -0.001)
    records = [*scattered("alpha-vil", 0.8, noise), *scattered("same", 0.8005, noise[::-1])]
    [found] = findings.statements(compare(records, make_facts(("alpha-vil", "same"))))
    assert found.lead == "No difference shown from same"


def test_a_statement_has_its_figures() -> None:
    loss, tie, win, open_ = (one.text for one in findings.statements(four("max")))
    assert loss.startswith("alpha-vil is 0.100 lower on test accuracy (95 % interval [")
    assert "corrected p = 0.00" in loss
    assert f"It took 1 {TIMES} the gradient steps and 1 {TIMES} the reserved device time." in loss
    assert "lower on test" in tie
    assert win.startswith("alpha-vil is 0.100 higher")
    assert open_.startswith("broken has no result on every seed.")


def test_one_seed_is_too_few() -> None:
    records = [make_record("alpha-vil", test=0.9), make_record("equal", test=0.8)]
    [found] = findings.statements(compare(records, make_facts(("alpha-vil", "equal"), seeds=(0,))))
    assert found.lead == "equal: too few seeds to tell"
    assert "(one seed, so no interval)" in found.text


def test_a_search_is_told_at_the_references_steps_and_time() -> None:
    grid = [one for index in range(4) for one in scattered("static", 0.7 + index / 100, configuration=index)]
    facts = make_facts(("alpha-vil", "static"), seeds=(0, 1, 2))
    cheap = [*scattered("alpha-vil", 0.8, cost=Cost(99, 1.0, 1.0, 8.0)), *grid]
    [told] = findings.statements(compare(cheap, facts))
    assert f"It took 0.25 {TIMES} the gradient steps and 0.5 {TIMES} the reserved device time." in told.text
    # all select figures are equal, so the earliest drawn is chosen: of two of 0 … 3 that is 2/3 on average
    assert "At equal gradient steps: not one of 4 configurations; at equal reserved device time: 2 of 4" in told.text
    assert "expected to reach 0.707 (alpha-vil: 0.800)." in told.text
    dear = [*scattered("alpha-vil", 0.8, cost=Cost(500, 1.0, 1.0)), *grid]
    [told] = findings.statements(compare(dear, facts))
    assert "At equal gradient steps: the whole search of static costs no more (alpha-vil: 0.800)." in told.text


def test_nothing_is_said_of_a_reference_without_a_result() -> None:
    records = [failed(make_record("alpha-vil"), "out of memory"), make_record("equal")]
    found = compare(records, make_facts(("alpha-vil", "equal"), seeds=(0,)))
    assert [one.lead for one in findings.statements(found)] == ["equal: no result"]


def test_what_was_compared_is_one_line(comparison: Comparison) -> None:
    assert findings.setting(comparison) == (
        "Suite multimnist; target left; metric accuracy (higher is better); seeds 0, 1, 2, 3, 4."
    )


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
    assert told["static"].varied == "weights.right = 1, weights.left_odd = 1"
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
        "static: the scheduler stopped 2 trials early: counted in the cost, never chosen.",
        "static: 1 trial has no result yet; resume the sweep to get it.",
    ]


def test_training_that_was_dropped_is_told_of() -> None:
    history = pd.DataFrame({"dropped/noise": [0.0, 1.0, 1.0, float("nan")], "dropped/left": 0.0})
    records = [make_record("static", seed, history=history) for seed in (0, 1)]
    assert findings.other_ends(compare(records, make_facts(("static",), seeds=(0, 1)))) == [
        "static: dropped, as their steps or losses were not finite: noise in 4 rounds (of 8)."
    ]
