"""What alpha and w came to, over the right rounds, and in the right words."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from simulated import make_facts, make_record

from avil_ray.reports.alphas import (
    ALONE,
    CAVEAT,
    DIFFERENT,
    AlphaFinding,
    alpha_findings,
    alpha_labels,
    explain,
    fitted_rounds,
)
from avil_ray.reports.comparison import Comparison, compare

HALF = ("left", "noise")


def rounds(alpha: dict[str, list[float]], weight: dict[str, list[float]] | None = None, more: int = 0) -> pd.DataFrame:
    """A history with these alphas and weights in its first rounds, and `more` rounds without any."""
    count = len(next(iter(alpha.values())))
    columns: dict[str, list[float]] = {"round": list(range(count + more))}
    for kind, tasks in (("alpha", alpha), ("weight", weight or {})):
        columns |= {f"{kind}/{task}": values + [math.nan] * more for task, values in tasks.items()}
    return pd.DataFrame(columns)


def finding(histories: list[pd.DataFrame]) -> AlphaFinding:
    records = [make_record("alpha-vil", seed, history=history) for seed, history in enumerate(histories)]
    facts = make_facts(("alpha-vil",), tasks=HALF, seeds=tuple(range(len(histories))))
    [found] = alpha_findings(compare(records, facts))
    return found


def test_the_second_half_of_the_rounds_that_fit_alpha_counts_and_others_do_not() -> None:
    left = [0.0] * 6 + [0.4] * 3 + [0.6] * 3
    found = finding([rounds({"left": left, "noise": [0.1] * 12}, more=5)])
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
    assert any(sentence.startswith(f"alpha {word}: ") and "noise" in sentence for sentence in found.sentences("left"))
    assert any("left (the target)" in sentence for sentence in found.sentences("left"))


def test_rounds_without_an_alpha_are_left_out_of_the_mean() -> None:
    found = finding([rounds({"left": [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, math.nan, 0.9], "noise": [0.5] * 8})])
    assert found.tasks[0].alpha.mean == pytest.approx(0.3)


def test_columns_that_are_not_there_are_none() -> None:
    row = finding([rounds({"left": [0.5], "noise": [0.5]})]).tasks[0]
    assert (row.weight, row.cosine) == (None, None)


def test_the_rounds_that_fit_alpha_are_those_that_have_one() -> None:
    history = pd.DataFrame({"round": [3, 2, 1, 0], "alpha/left": [math.nan, 0.3, 0.2, math.nan]})
    assert fitted_rounds(history)["round"].tolist() == [1, 2]
    assert fitted_rounds(history[["round"]]).empty


def test_every_label_with_a_choice_and_an_alpha_is_told_of_whatever_its_method(comparison: Comparison) -> None:
    assert [method.label for method in alpha_labels(comparison)] == ["alpha-vil", "alpha-vil-paper"]
    own = make_record("mine", method="my_package:Mine", history=rounds({"left": [0.5]}))
    found = compare([own, make_record("alpha-vil")], make_facts(("mine", "alpha-vil"), seeds=(0,)))
    assert [method.label for method in alpha_labels(found)] == ["mine"]


def test_the_simulated_sweep_turns_the_noise_down(comparison: Comparison) -> None:
    robust, paper = alpha_findings(comparison)
    assert robust.rounds == 10
    assert {row.task: row.word for row in robust.tasks}["noise"] == "almost switched off"
    assert {row.word for row in paper.tasks} == {"used about evenly"}


def test_a_run_is_explained_in_words_with_evidence_and_the_caveat() -> None:
    history = rounds({"left": [0.6] * 4, "noise": [0.0] * 4}, {"left": [1.5] * 4, "noise": [0.5] * 4})
    rises = {"dev/loss_rise_without/left": 0.25, "dev/loss_rise_without/noise": -0.1}
    text = explain(history.assign(**rises, **{"cosine/noise": -0.1}), HALF, "left")
    assert "alpha turned up: left (the target)" in text
    assert "alpha almost switched off: noise" in text
    assert "- left: alpha 0.600, w 1.50, without it the dev loss rises by 0.2500" in text
    assert "- noise: alpha 0.000, w 0.50, cosine to the target -0.10, without it the dev loss falls by 0.1000" in text
    assert text.endswith(CAVEAT)
    assert "does not fit alpha" in explain(pd.DataFrame({"round": [0]}), HALF, "left")


def ended(noise: float, kept: float, own: float = 0.0) -> pd.DataFrame:
    """A history whose alpha of noise is so high, that kept noise or did not, and whose result is the target's own."""
    decided = pd.DataFrame({"round": [2, 1], "kept/noise": [kept, 1 - kept]})  # the last round counts
    tuned = pd.DataFrame({"round": [3], "from_target_only": own})
    return pd.concat([tuned, decided, rounds({"left": [0.5], "noise": [noise]})])  # rows need not be in order


def test_what_was_kept_is_told() -> None:
    """Where that is nothing beside the target, that too."""
    for kept, said in ((1.0, "noise"), (0.0, "none")):
        assert f"kept to the end beside the target: {said}" in finding([ended(0.5, kept)]).sentences("left")
    several = finding([ended(0.5, 1.0), ended(0.5, 1.0), ended(0.5, 0.0)]).sentences("left")
    assert "kept to the end beside the target, in how many of 3 runs: noise 2" in several
    assert not any("kept" in text for text in finding([rounds({"left": [0.5], "noise": [0.5]})]).sentences("left"))


@pytest.mark.parametrize(
    ("noise", "kept", "differs"), [(0.5, 1, False), (0.5, 0, True), (0.0, 1, True), (0.0, 0, False)]
)
def test_where_alpha_and_what_was_kept_differ_it_is_said_why(noise: float, kept: float, differs: bool) -> None:
    said = f"alpha and what was kept differ on noise: {DIFFERENT}"
    assert (said in finding([ended(noise, kept)]).sentences("left")) == differs


def test_a_result_of_the_target_alone_is_told_first() -> None:
    own, other = ended(0.5, 1.0, own=1.0), ended(0.5, 1.0)
    said = f"the result is that of the target alone: {ALONE}"
    assert finding([own]).sentences("left")[0] == said
    assert explain(own, HALF, "left").startswith(f"- {said}\n")
    assert not any(ALONE in text for text in finding([other]).sentences("left"))
    assert finding([other, own, other]).sentences("left")[0] == f"in 1 of 3 runs {said}"


def test_an_auxiliarys_dropped_updates_are_told_of() -> None:
    history = rounds({"left": [0.5, 0.5], "noise": [0.5, 0.5]}).assign(**{"dropped/noise": [1.0, 0.0]})
    said = "dropped, as their steps or losses were not finite: noise in 1 round"
    assert finding([history]).sentences("left")[-1] == said
    assert f"- {said}" in explain(history, ("left", "noise"), "left").splitlines()
    assert said in explain(history.filter(like="dropped/"), ("left", "noise"), "left")
