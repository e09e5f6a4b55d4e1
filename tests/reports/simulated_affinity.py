"""A diagnosis made from numbers rather than from training: four seeds, a target and three auxiliaries."""

from __future__ import annotations

import numpy as np

from avil_ray.reports.affinity import Affinity

TASKS = ("bad", "goal", "good", "odd")
CHANGES = {"bad": (0.2, 0.3, 0.2, 0.3), "good": (-0.5, -0.4, -0.6, -0.5), "odd": (-0.3, 0.3, -0.2, 0.2)}


def make_affinity(seeds: int = 4, **changes: object) -> Affinity:
    losses = np.array(list(CHANGES.values())).T[:seeds]
    cosines = np.tile(np.eye(4), (seeds, 1, 1))
    for one, other, value in ((0, 1, -0.5), (1, 2, 0.25), (1, 3, 0.0), (0, 2, 0.125)):
        cosines[:, one, other] = cosines[:, other, one] = value
    scores = np.tile(np.full((4, 4), 0.2) + 0.3 * np.eye(4), (seeds, 1, 1))
    values = {
        "suite": "digits",
        "target": "goal",
        "tasks": TASKS,
        "metric": "accuracy",
        "mode": "max",
        "steps": 60,
        "seeds": tuple(range(seeds)),
        "cosines": cosines,
        "loss_changes": losses,
        "metric_changes": -losses / 10,
        "scores": scores,
        "inputs": "",
        "gradient_steps": 1234,
        "configuration": {"suite": "digits", "target": "goal", "suite.size": 18, "steps": 60, "seeds": [0, 1, 2, 3]},
    }
    return Affinity(**{**values, **changes})
