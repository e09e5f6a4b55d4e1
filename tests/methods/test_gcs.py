"""GCS against a run by hand, and on gradients whose cosine is known."""

from __future__ import annotations

import numpy as np
import pytest
import small
import torch.nn.functional as F

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.gcs import GCS
from avil_ray.rounds import Round

SEED, STEPS = 1, 6


def by_hand(form: str, trunk: slice):
    def weigh(seen: small.Seen) -> dict[str, float]:
        own, weights = seen.gradient("left")[trunk], {}
        for task in small.TASKS:
            similarity = 1.0 if task == "left" else float(F.cosine_similarity(seen.gradient(task)[trunk], own, dim=0))
            weights[task] = max(0.0, similarity) if form == "weighted" else float(similarity > 0)
        return weights

    return weigh


@pytest.mark.parametrize("form", ["weighted", "unweighted"])
def test_a_run_follows_the_cosines_of_every_step(form: str) -> None:
    suite, done = small.small_suite(), []
    start = initial_model(suite, SEED)
    theta, used = small.joint_by_hand(suite, SEED, start.vector(), STEPS, by_hand(form, start.space.trunk))
    avil.train(suite, GCS(form=form), rounds=2, steps_per_round=STEPS // 2, seed=SEED, on_round=done.append)
    np.testing.assert_allclose(done[-1].theta, theta, rtol=1e-3, atol=1e-5)
    for number, each in enumerate(done):
        part = used[number * STEPS // 2 : (number + 1) * STEPS // 2]
        for task in small.TASKS:
            assert each.row[f"weight/{task}"] == pytest.approx(np.mean([w[task] for w in part]), abs=1e-4)
    assert any(w["noise"] == 0 for w in used), "the test must see a task turned down"


def test_the_targets_own_task_counts_and_its_opposite_does_not() -> None:
    done: list[Round] = []
    avil.train(small.opposed_suite(), GCS(), rounds=1, steps_per_round=1, on_round=done.append)
    assert done[0].row["weight/right"] > 0.9
    assert done[0].row["weight/noise"] == 0


def test_an_unknown_form_is_one_line() -> None:
    with pytest.raises(UserError, match="unknown form 'wieghted'; did you mean 'weighted'"):
        GCS(form="wieghted")
