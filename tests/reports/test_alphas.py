"""What alpha and w came to, over the right rounds, and in the right words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from simulated import make_facts, make_record

from avil_ray.reports.alphas import (
    CAVEAT,
    AlphaFinding,
    alpha_findings,
    alpha_labels,
    explain,
    fitted_rounds,
    is_finish,
)
from avil_ray.reports.comparison import Comparison, compare

HALF = ("left", "noise")


def rounds(
    alpha: dict[str, list[float]], weight: dict[str, list[float]] | None = None, finish: int = 0
) -> pd.DataFrame:
    """A history with these alphas and weights in its main rounds, and `finish` rounds of fine-tuning without any."""
    count = len(next(iter(alpha.values())))
    columns: dict[str, list[float]] = {"round": list(range(count + finish)), "finish": [0] * count + [1] * finish}
    for kind, tasks in (("alpha", alpha), ("weight", weight or {})):
        columns |= {f"{kind}/{task}": values + [math.nan] * finish for task, values in tasks.items()}
    return pd.DataFrame(columns)


def finding(histories: list[pd.DataFrame]) -> AlphaFinding:
    records = [make_record("alpha-vil", seed, history=history) for seed, history in enumerate(histories)]
    facts = make_facts(("alpha-vil",), tasks=HALF, seeds=tuple(range(len(histories))))
    [found] = alpha_findings(compare(records, facts))
    return found


def test_the_second_half_of_the_main_phase_counts_and_the_finish_does_not() -> None:
    left = [0.0] * 6 + [0.4] * 3 + [0.6] * 3
    found = finding([rounds({"left": left, "noise": [0.1] * 12}, finish=5)])
    assert found.rounds == 6
    assert [row.alpha.mean for row in found.tasks] == pytest.approx([0.5, 0.1])


def test_means_are_over_seeds_with_their_interval() -> None:
    found = finding([rounds({"left": [value] * 4, "noise": [0.5] * 4}) for value in (0.4, 0.5, 0.6)])
    assert found.seeds == 3
    assert found.tasks[0].alpha.mean == pytest.approx(0.5)
    assert found.tasks[0].alpha.interval is not None
    assert found.tasks[1].alpha.interval == (0.5, 0.5)


def test_the_share_is_alpha_times_w_and_one_where_all_are_even() -> None:
    even = finding([rounds({"left": [0.5], "noise": [0.5]})])
    assert [row.share for row in even.tasks] == pytest.approx([1.0, 1.0])
    found = finding([rounds({"left": [0.75], "noise": [0.5]}, {"left": [2.0], "noise": [1.0]})])
    assert [row.share for row in found.tasks] == pytest.approx([1.5, 0.5])
    assert found.tasks[0].weight is not None
    assert found.tasks[0].weight.mean == 2.0


@pytest.mark.parametrize(
    ("noise", "word"),
    [
        (1.0, "turned up"),
        (0.45, "used about evenly"),
        (0.2, "turned down"),
        (0.0, "almost switched off"),
        (-0.1, "pushed against"),
    ],
)
def test_a_share_has_its_word(noise: float, word: str) -> None:
    found = finding([rounds({"left": [0.5], "noise": [noise]})])
    assert found.tasks[1].word == word
    assert any(sentence.startswith(f"{word}: ") and "noise" in sentence for sentence in found.sentences("left"))
    assert any("left (the target)" in sentence for sentence in found.sentences("left"))


def test_rounds_without_an_alpha_are_left_out_of_the_mean() -> None:
    found = finding([rounds({"left": [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, math.nan, 0.9], "noise": [0.5] * 8})])
    assert found.tasks[0].alpha.mean == pytest.approx(0.3)


def test_columns_that_are_not_there_are_none() -> None:
    row = finding([rounds({"left": [0.5], "noise": [0.5]})]).tasks[0]
    assert (row.weight, row.cosine) == (None, None)


def test_the_rounds_that_fit_alpha_are_those_that_have_one_whatever_their_phase() -> None:
    history = pd.DataFrame({"round": [3, 2, 1, 0], "phase": [2, 1, 1, 0], "alpha/left": [math.nan, 0.3, 0.2, math.nan]})
    assert fitted_rounds(history)["round"].tolist() == [1, 2]
    assert fitted_rounds(history[["round", "phase"]]).empty


def test_the_finish_is_what_the_history_says() -> None:
    history = pd.DataFrame({"round": range(4), "finish": [0.0, 0.0, 1.0, 1.0]})
    assert is_finish(history).tolist() == [False, False, True, True]
    assert not is_finish(history.assign(finish=np.nan)).any()
    assert not is_finish(history[["round"]]).any()


def test_only_alpha_vil_labels_with_a_choice_and_an_alpha_are_told_of(comparison: Comparison) -> None:
    assert [method.label for method in alpha_labels(comparison)] == ["alpha-vil", "alpha-vil-paper"]
    assert alpha_labels(compare([make_record("alpha-vil")], make_facts(("alpha-vil",), seeds=(0,)))) == []


def test_the_simulated_sweep_turns_the_noise_down(comparison: Comparison) -> None:
    robust, paper = alpha_findings(comparison)
    assert robust.rounds == 10
    assert {row.task: row.word for row in robust.tasks}["noise"] == "almost switched off"
    assert {row.word for row in paper.tasks} == {"used about evenly"}


def test_a_run_is_explained_in_words_with_evidence_and_the_caveat() -> None:
    history = rounds({"left": [0.6] * 4, "noise": [0.0] * 4}, {"left": [1.5] * 4, "noise": [0.5] * 4})
    text = explain(history.assign(**{"without/left": 0.25, "cosine/noise": -0.1}), HALF, "left")
    assert "turned up: left (the target)" in text
    assert "almost switched off: noise" in text
    assert "- left: alpha 0.600, w 1.50, without it the dev loss rises by 0.2500" in text
    assert "- noise: alpha 0.000, w 0.50, cosine to the target -0.10" in text
    assert text.endswith(CAVEAT)
    assert "no alpha" in explain(pd.DataFrame({"round": [0]}), HALF, "left")


@pytest.mark.parametrize("runs", [1, 2])
def test_what_a_race_kept_is_told(runs: int) -> None:
    """Where it kept nothing beside the target, that too."""
    fitted = rounds({"left": [0.5], "noise": [0.5]})
    race = {"round": 9, "phase": 0, "race/0": 0.7, "race/1": 0.8, "weight/left": 1.0}
    histories = [pd.concat([fitted, pd.DataFrame([{**race, "weight/noise": kept}])]) for kept in (1.0, 0.0)[:runs]]
    said = finding(histories).sentences("left")[-1]
    expected = {1: "the target: noise", 2: "the target (in so many of 2 runs): noise 1"}
    assert said == f"a race of task sets then kept, beside {expected[runs]}"
    alone = finding([pd.concat([fitted, pd.DataFrame([{**race, "weight/noise": 0.0}])])])
    assert alone.sentences("left")[-1] == "a race of task sets then kept, beside the target: none"
    assert not any("race" in text for text in finding([fitted]).sentences("left"))


def test_where_one_set_was_left_it_is_said_that_nothing_raced() -> None:
    fitted = rounds({"left": [0.5], "noise": [0.5]})
    row = {"round": 9, "phase": 0, "race/1": 0.8, "weight/left": 1.0, "weight/noise": 1.0}
    single, raced = (pd.concat([fitted, pd.DataFrame([{**row, **more}])]) for more in ({}, {"race/0": 0.7}))
    kept, said = finding([single]).sentences("left")[-2:]
    assert (kept, said) == ("then kept, beside the target: noise", "one set of tasks was left, so nothing raced")
    assert finding([single, raced, raced]).sentences("left")[-1] == (
        "in 1 of these runs one set of tasks was left, so nothing raced"
    )
    assert finding([raced]).sentences("left")[-1] == "a race of task sets then kept, beside the target: noise"


def test_where_the_target_alone_was_not_behind_it_is_said_that_its_rounds_are_the_result() -> None:
    """The line of rounds that the last one stands on; rows need not be in order."""
    raced = rounds({"left": [0.5], "noise": [0.5]})
    last = {"round": 9, "phase": 0, "alpha/left": np.nan}
    own, other = (pd.concat([pd.DataFrame([{**last, "line": line}]), raced.assign(line=1 - line)]) for line in (1, 0))
    said = "the target alone was as good on select, so its own rounds are the result"
    assert finding([own]).sentences("left")[-1] == said
    assert said not in finding([other]).sentences("left")
    assert finding([other, own, other]).sentences("left")[-1] == (
        "in 1 of these runs the target alone was as good on select, so its own rounds are their result"
    )


def test_an_auxiliarys_dropped_updates_are_told_of() -> None:
    history = rounds({"left": [0.5, 0.5], "noise": [0.5, 0.5]}).assign(**{"dropped/noise": [1.0, 0.0]})
    said = "dropped, as their steps or losses were not finite: noise in 1 round"
    assert finding([history]).sentences("left")[-1] == said
    assert f"- {said}" in explain(history, ("left", "noise"), "left").splitlines()
    assert said in explain(history.filter(like="dropped/"), ("left", "noise"), "left")
