"""What is said of an auxiliary is what select and the histories say of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated import make_facts, make_record

from avil_ray.reports import auxiliaries
from avil_ray.reports.comparison import Comparison, compare
from avil_ray.reports.records import TrialRecord

SEEDS = (0, 1, 2)


def grid(effect: float = 0.1, noise: float = 0.01) -> list[TrialRecord]:
    """Two weights and a rate; `right` adds `effect` whatever its weight, `noise` nothing but a little per seed."""
    points = [(right, other, rate) for right in (0, 0.5, 1) for other in (0.0, 0.5) for rate in (0.01, 0.1)]
    records = []
    for index, (right, other, rate) in enumerate(points):
        trained = {f"train_loss/{task}": [1.0] for task in ("left", *["right"] * (right > 0), *["noise"] * (other > 0))}
        for seed in SEEDS:
            select = 0.5 + rate + effect * (right > 0) + noise * (other > 0) * (seed - 1)
            record = make_record(
                "static", seed, index, select=select, test=select, history=pd.DataFrame({"round": [0], **trained}),
                options={"weights.right": right, "weights.noise": other, "rate": rate},
            )  # fmt: skip
            records.append(record)
    return records


def compared(records: list[TrialRecord], **changes: object) -> Comparison:
    labels = tuple(dict.fromkeys(record.label for record in records))
    return compare(records, make_facts(labels, seeds=SEEDS, **changes))


def test_the_effect_is_paired_within_the_grid_and_corrected_for_the_number_of_auxiliaries() -> None:
    rng = np.random.default_rng(0)
    luck = {seed: float(rng.normal(0, 0.01)) for seed in SEEDS}
    records = grid()
    for index, record in enumerate(records):
        if record.options["weights.right"]:
            object.__setattr__(records[index], "select", record.select + luck[record.seed])
    found = {one.task: one.effect for one in auxiliaries.evidence(compared(records))}
    assert found["left_odd"] is None
    right, noise = found["right"], found["noise"]
    assert right is not None
    assert noise is not None
    expected = stats.ttest_1samp([0.1 + luck[seed] for seed in SEEDS], 0)
    assert right.estimate.difference == pytest.approx(0.1 + np.mean(list(luck.values())))
    assert right.estimate.p_value == pytest.approx(expected.pvalue)
    assert right.corrected == pytest.approx(min(1, 2 * expected.pvalue))
    assert noise.estimate.difference == pytest.approx(0)
    assert auxiliaries.judged(compared(records), noise).startswith("made no difference")


@pytest.mark.parametrize(
    ("effect", "mode", "word"), [(0.1, "max", "helped"), (-0.1, "max", "hurt"), (-0.1, "min", "helped")]
)
def test_whether_it_helped_follows_the_mode(effect: float, mode: str, word: str) -> None:
    comparison = compared(grid(effect), mode=mode)
    [right] = [one.effect for one in auxiliaries.evidence(comparison) if one.task == "right"]
    assert right is not None
    assert auxiliaries.judged(comparison, right) == word
    assert f"In the grid of static, on select: right {word}; noise made no difference" in " ".join(
        auxiliaries.sentences(comparison)
    )


def test_the_weights_of_the_chosen_configuration_say_what_is_used() -> None:
    found = auxiliaries.evidence(compared(grid()))
    assert [(one.task, one.used, one.use) for one in found] == [
        ("right", True, "weight 0.5"),
        ("left_odd", False, "not trained"),
        ("noise", False, "not trained"),
    ]
    assert auxiliaries.sentences(compared(grid()))[0] == (
        "static as chosen uses right (weight 0.5) beside the target, and not left_odd and noise."
    )


def kept(seed: int, alone: float) -> TrialRecord:
    columns = {"kept/right": [np.nan, 1.0], "kept/left_odd": [1.0, 0.0], "from_target_only": [np.nan, alone]}
    history = pd.DataFrame({"round": [0, 1], "train_loss/left": 1.0, "train_loss/right": 1.0, **columns})
    return make_record("chooser", seed, history=history)


def test_a_task_that_was_kept_is_used_unless_the_result_is_the_target_alones() -> None:
    comparison = compared([kept(0, 0.0), kept(1, 1.0), kept(2, 0.0)])
    found = {one.task: one for one in auxiliaries.evidence(comparison)}
    assert (found["right"].used, found["right"].use, found["right"].kept) == (
        True,
        "used in 2 of 3 runs",
        (("chooser", 3, 3),),
    )
    assert (found["left_odd"].used, found["left_odd"].kept) == (False, (("chooser", 0, 3),))
    assert any(
        "In 1 of 3 runs its result is that of training the target alone" in text
        for text in auxiliaries.sentences(comparison)
    )
    every = compared([kept(seed, 1.0) for seed in SEEDS])
    assert auxiliaries.sentences(every)[0] == "chooser as chosen uses no auxiliary."


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert auxiliaries.evidence(compare([], make_facts(("equal",)))) == []
    comparison = compared([make_record("equal", seed) for seed in SEEDS])
    assert {one.use for one in auxiliaries.evidence(comparison)} == {"not recorded"}
    lone = compared([make_record("equal", seed) for seed in SEEDS], tasks=("left",))
    assert auxiliaries.sentences(lone) == ["This suite has no auxiliary task."]
