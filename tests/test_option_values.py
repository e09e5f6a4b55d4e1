"""Options that are no numbers are refused in Python too, where no annotation is enforced."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.methods.fork_merge import ForkMerge
from avil_ray.methods.method import Method
from avil_ray.methods.svd_reweighting import SVDReweighting


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (avil.AlphaVIL, {"alpha_steps": 2.5}, "alpha_steps must be a whole number, at most 1,000,000, not 2.5"),
        (avil.AlphaVIL, {"alpha_steps": True}, "alpha_steps must be a whole number, at most 1,000,000, not True"),
        (avil.AlphaVIL, {"alpha_steps": 10**18}, "alpha_steps must be a whole number, at most 1,000,000, not 1000000"),
        (avil.AlphaVIL, {"alpha_steps": 0}, "alpha_steps must be at least 1, not 0"),
        (avil.AlphaVIL, {"alpha_bounds": 3}, "alpha_bounds must be two numbers, such as [0, 4], not 3"),
        (avil.AlphaVIL, {"alpha_bounds": (0, 1, 2)}, "alpha_bounds must be two numbers, such as [0, 4], not (0, 1, 2)"),
        (avil.AlphaVIL, {"safeguard": 1}, "safeguard must be true or false, not 1"),
        (avil.Equal, {"learning_rate": "0.1"}, "learning_rate must be a finite number, not '0.1'"),
        (avil.Equal, {"learning_rate": math.nan}, "learning_rate must be a finite number, not nan"),
        (avil.Equal, {"learning_rate": math.inf}, "learning_rate must be a finite number, not inf"),
        (avil.Equal, {"learning_rate": 1e300}, "learning_rate must be at most 1e+38 in absolute value, not 1e+300"),
        (avil.Equal, {"learning_rate": True}, "learning_rate must be a finite number, not True"),
        (avil.Equal, {"learning_rate": -1.0}, "learning_rate must be above 0, not -1.0"),
        (avil.Static, {"weights": 3}, "weights must be a mapping of names to numbers, not 3"),
        (avil.Static, {"weights": {"a": "1"}}, "weights must be a mapping of names to numbers, not {'a': '1'}"),
        (avil.Static, {"weights": {"a": True}}, "weights must be a mapping of names to numbers, not {'a': True}"),
        (
            avil.Static,
            {"weights": {"a": -math.inf}},
            "weights: a: a weight must be a number, at least 0, and finite, not -inf",
        ),
        (ForkMerge, {"top_k": 3}, "top_k must be a list of numbers, such as [0, 1], not 3"),
        (ForkMerge, {"top_k": [0.5]}, "top_k must be a list of numbers, such as [0, 1], not [0.5]"),
        (ForkMerge, {"coefficients": "01"}, "coefficients must be a list of numbers, such as [0, 1], not '01'"),
        (SVDReweighting, {"centred": "yes"}, "centred must be true or false, not 'yes'"),
    ],
)
def test_each_wrong_number_is_one_line(method: type[Method], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        method(**options)
    assert str(caught.value).startswith(message)


def test_numbers_of_numpy_whole_ones_as_floats_and_infinite_bounds_are_right() -> None:
    avil.AlphaVIL(alpha_steps=np.int64(3), alpha_bounds=(0, math.inf), learning_rate=np.float32(0.5))
    avil.Static(weights={"a": 1}, learning_rate=1)
