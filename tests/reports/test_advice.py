"""The answers say what the figures say, and no more; the command says all that the run needs."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

import pandas as pd
import pytest
from simulated import SETUP, failed, make_facts, make_record

from avil_ray.config import parse_setting
from avil_ray.reports import advice
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.records import Cost, TrialRecord

NOISE = (0.004, -0.004, 0.001, 0.0, -0.001)


def method(label: str, centre: float, seeds: int, *, alone: bool = False, **changes: object) -> list[TrialRecord]:
    """Trials at `centre` on select and, with noise of their own, on test."""
    tasks = ("left",) if alone else ("left", "right")
    history = pd.DataFrame({"round": [0], **{f"train_loss/{task}": [1.0] for task in tasks}})
    noise = NOISE if alone else NOISE[::-1]
    return [
        make_record(label, seed, select=centre, **{"test": centre + noise[seed], "history": history, **changes})
        for seed in range(seeds)
    ]


def answered(records: list[TrialRecord], seeds: int, **changes: object) -> list[advice.Answer]:
    return advice.answers(compared(records, seeds, **changes))


def compared(records: list[TrialRecord], seeds: int, **changes: object) -> Comparison:
    labels = tuple(dict.fromkeys(record.label for record in records))
    return compare(records, make_facts(labels, seeds=tuple(range(seeds)), **changes))


@pytest.mark.parametrize(
    ("gain", "seeds", "short"),
    [
        (0.1, 5, "Yes"),
        (0.1, 3, "Yes"),
        (0.0005, 5, "Not shown"),
        (0.0005, 3, "Too few seeds to tell"),
        (0.1, 1, "Too few seeds to tell"),
        (-0.1, 5, "Not in this sweep"),
    ],
)
def test_whether_auxiliaries_help(gain: float, seeds: int, short: str) -> None:
    first = answered([*method("baseline", 0.8, seeds, alone=True), *method("joint", 0.8 + gain, seeds)], seeds)[0]
    assert first.question == "Do auxiliary tasks help left?"
    assert first.short == short


def test_lower_may_be_better() -> None:
    records = [*method("baseline", 0.8, 5, alone=True), *method("joint", 0.7, 5)]
    assert answered(records, 5, mode="min")[0].short == "Yes"


def test_select_chooses_even_where_test_disagrees_and_that_is_told() -> None:
    worse = [*method("baseline", 0.8, 5, alone=True), *method("joint", 0.9, 5, test=0.7)]
    assert answered(worse, 5)[0].short == "No"
    better = [*method("baseline", 0.8, 5, alone=True), *method("joint", 0.7, 5, test=0.9)]
    found = answered(better, 5)
    assert found[0].short == "Not in this sweep"
    assert "On test, though, joint is better." in " ".join(found[0].sentences)
    assert "On test joint is better, though select chose baseline." in " ".join(found[-1].sentences)


def test_without_a_baseline_nothing_can_be_said() -> None:
    assert answered(method("joint", 0.8, 3), 3)[0].short == "Cannot tell"


def test_the_seeds_that_would_tell_are_named() -> None:
    found = answered([*method("baseline", 0.8, 3, alone=True), *method("joint", 0.805, 3)], 3)[0]
    [said] = [text for text in found.sentences if "seeds would show it" in text]
    assert 3 < int("".join(filter(str.isdigit, said))) <= 200


def test_a_method_that_is_as_good_at_half_the_steps_is_named() -> None:
    cheap = method("cheap", 0.8, 5, alone=True, cost=Cost(20, 1.0, 1.0, 1.0))
    records = [*method("best", 0.801, 5), *cheap, *method("dear", 0.8, 5)]
    said = " ".join(answered(records, 5)[-1].sentences)
    assert "half the steps or fewer, and no difference is shown, with cheap (0.2" in said
    assert "dear (" not in said


def test_the_answers_of_a_whole_sweep(comparison: Comparison) -> None:
    helps, which, what, sure = advice.answers(comparison)
    assert (helps.short, helps.tone) == ("Yes", "good")
    assert which.short == "right and left_odd"
    assert what.short == "static with weights.right = 1, weights.left_odd = 1, momentum = 0.9"
    assert what.sentences[0].startswith("One run of it takes 1,920 gradient steps and 19.2 s of reserved device time.")
    assert "Finding it took 115,200 steps and 19.2 min: 12 configurations over 5 seeds." in what.sentences[0]
    assert sure.short == "Better than 3 of 6 other methods, over 5 seeds"
    assert "Against fork-merge: no result." in sure.sentences
    assert "corrected for all 12 comparisons in this report (Holm)" in sure.sentences[-1]
    assert advice.headline(comparison) == "Train left with static: weights.right = 1, weights.left_odd = 1."


def test_a_sweep_without_a_result_recommends_nothing() -> None:
    empty, broken = compare([], make_facts(())), compared([failed(make_record("equal"), "no")], 1)
    assert advice.headline(empty) == "There is no trial yet, so there is nothing to compare."
    assert "nothing can be recommended" in advice.headline(broken)
    for found in (empty, broken):
        assert advice.answers(found) == []
        assert advice.command(found) is None
        assert found.summary()["recommended"] is None


def settings(command: str) -> dict[str, object]:
    words = shlex.split(command.replace("\\\n", " "))
    return dict(parse_setting(words[place + 1]) for place, word in enumerate(words) if word == "--set")


def test_the_command_gives_every_option_as_yaml_reads_it_back() -> None:
    options = {
        "rate": 1e-05, "words": "two words", "yes": "no", "clip": math.inf, "bounds": [0.0, 4.0], "flag": True,
        "learning.groups.trunk.learning_rate": 0.001, "weights.right": 0.5, "other": 1,
    }  # fmt: skip
    given = ("rate", "words", "yes", "clip", "bounds", "flag", "learning.groups", "weights")
    suite = {"factory": "my.module:suite", "names": ["a", "b c"], "path": "data/x.csv"}
    setup = replace(SETUP, suite=suite, given={"mine": given})
    records = [make_record("mine", method="my.module:Mine", options=options)]
    command = advice.command(compared(records, 1, setup=setup))
    assert command is not None
    assert command.startswith("avil-ray run my.module:suite --method my.module:Mine \\\n")
    assert "--rounds 20 --steps-per-round 24 --seed 0" in command
    expected = {f"method.{name}": value for name, value in options.items() if name != "other"}
    expected["learning.groups.trunk.learning_rate"] = expected.pop("method.learning.groups.trunk.learning_rate")
    assert settings(command) == {**expected, "suite.names": ["a", "b c"], "suite.path": "data/x.csv"}


def test_a_sweep_of_an_earlier_version_has_no_command() -> None:
    comparison = compared([make_record("equal", options={"dev": "train"})], 1, setup=None, starts=())
    assert advice.command(comparison) is None
    assert advice.answers(comparison)[2].short == "equal"
