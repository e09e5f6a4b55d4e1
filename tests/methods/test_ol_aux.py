"""OL-AUX against a run by hand: sums over N steps, moves, the bound at 0."""

from __future__ import annotations

import numpy as np
import pytest
import small
import torch.nn.functional as F

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.ol_aux import OLAux
from avil_ray.rounds import Round

SEED, STEPS = 1, 12


@pytest.mark.parametrize(("similarity", "rate"), [("cosine", 0.5), ("dot", 2.0)])
def test_weights_are_updated_every_few_steps_by_the_mean_similarity(similarity: str, rate: float) -> None:
    suite = small.small_suite()
    start = initial_model(suite, SEED)
    weights, sums = dict.fromkeys(small.TASKS, 1.0), dict.fromkeys(small.TASKS, 0.0)

    def weigh(seen: small.Seen) -> dict[str, float]:
        before, own = dict(weights), seen.gradient("left")[start.space.trunk]
        for task in small.TASKS:
            other = seen.gradient(task)[start.space.trunk]
            sums[task] += float(F.cosine_similarity(other, own, dim=0) if similarity == "cosine" else other @ own)
        if seen.number % 3 == 2:
            for task in ("right", "noise"):
                weights[task] = max(0.0, weights[task] + rate * sums[task] / 3)
            sums.update(dict.fromkeys(small.TASKS, 0.0))
        return before

    theta, used = small.joint_by_hand(suite, SEED, start.vector(), STEPS, weigh)
    done: list[Round] = []
    method = OLAux(similarity=similarity, weight_rate=rate, interval=3)
    avil.train(suite, method, rounds=3, steps_per_round=STEPS // 3, seed=SEED, on_round=done.append)
    np.testing.assert_allclose(done[-1].theta, theta, rtol=1e-3, atol=1e-5)
    for task in small.TASKS:
        last = np.mean([each[task] for each in used[-STEPS // 3 :]])
        assert done[-1].row[f"weight/{task}"] == pytest.approx(last, rel=1e-3, abs=1e-5)
    assert used[3]["left"] == used[-1]["left"] == 1.0
    assert used[2] == dict.fromkeys(small.TASKS, 1.0) != used[3]


def test_the_weight_of_an_opposed_task_falls_and_that_of_the_targets_own_rises() -> None:
    history = avil.train(small.opposed_suite(), OLAux(), rounds=20, steps_per_round=5).history
    assert history["weight/noise"].iloc[-1] < 0.05
    assert history["weight/noise"].min() == 0, "at the bound, not below"
    assert history["weight/right"].iloc[-1] > 1.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight_rate": 0.0}, "weight_rate must be above 0, not 0.0"),
        ({"weight_rate": float("nan")}, "weight_rate must be a finite number, not nan"),
        ({"interval": 0}, "interval must be at least 1, not 0"),
        ({"similarity": "cos"}, "unknown similarity 'cos'; did you mean 'cosine'?"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        OLAux(**options)
    assert str(caught.value) == said
