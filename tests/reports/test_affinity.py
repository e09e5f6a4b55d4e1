"""The numbers of a diagnosis: means, standard errors, and the order of its rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulated_affinity import CHANGES, make_affinity


def test_a_row_an_auxiliary_with_the_lowest_change_of_the_dev_loss_first() -> None:
    affinity = make_affinity()
    frame = affinity.frame()
    assert affinity.auxiliaries == ("bad", "good", "odd")
    assert frame["auxiliary"].tolist() == list(affinity.ranked) == ["good", "odd", "bad"]
    rows = frame.set_index("auxiliary")
    for auxiliary, values in CHANGES.items():
        mean = sum(values) / 4
        error = math.sqrt(sum((value - mean) ** 2 for value in values) / 3 / 4)
        assert rows.loc[auxiliary, "loss_change"] == pytest.approx(mean)
        assert rows.loc[auxiliary, "loss_change_error"] == pytest.approx(error)
        assert rows.loc[auxiliary, "metric_change"] == pytest.approx(-mean / 10)
    assert rows["cosine"].to_dict() == {"good": 0.25, "odd": 0.0, "bad": -0.5}
    assert set(rows["cosine_error"]) == {0.0}


def test_similarities_are_scores_relative_to_those_of_the_tasks_with_themselves() -> None:
    scores = np.tile(np.array([[0.5, 0.1], [0.1, 0.02]]), (3, 1, 1))
    affinity = make_affinity(3, tasks=("goal", "good"), scores=scores, loss_changes=np.zeros((3, 1)))
    assert affinity.similarity_matrix == pytest.approx(np.array([[1.0, 1.0], [1.0, 1.0]]))
    assert affinity.of("good")["covariance_score"] == pytest.approx([0.1] * 3)
    usual = make_affinity().frame()
    assert usual["covariance_score"].tolist() == pytest.approx([0.2] * 3)
    assert usual["input_similarity"].tolist() == pytest.approx([0.4] * 3)


def test_inputs_of_zeros_are_like_none() -> None:
    affinity = make_affinity(scores=np.zeros((4, 4, 4)))
    assert affinity.similarity_matrix is not None
    assert not affinity.similarity_matrix.any()


def test_what_is_not_defined_has_no_column() -> None:
    frame = make_affinity(scores=None).frame()
    assert make_affinity(scores=None).similarity_matrix is None
    assert not {"covariance_score", "input_similarity"} & set(frame.columns)
    assert {"loss_change", "metric_change", "cosine"} <= set(frame.columns)


def test_one_seed_has_no_standard_error() -> None:
    frame = make_affinity(1).frame()
    assert frame["loss_change"].tolist() == [-0.5, -0.3, 0.2]
    assert frame["loss_change_error"].isna().all()
