"""`learning: {compile: true}`: a compiled model learns what the plain one learns, on workers too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small
import torch

import avil_ray as avil

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

RUN: dict[str, Any] = {"rounds": 3, "steps_per_round": 4, "seed": 1}


@pytest.mark.filterwarnings("ignore")  # of PyTorch's compiler, about its own libraries
def test_a_compiled_model_gives_the_same_results_as_the_plain_one_and_the_same_on_workers() -> None:
    torch.compiler.reset()
    before = torch._dynamo.utils.counters["frames"]["ok"]
    plain = avil.train(small.small_suite(small.plain), avil.AlphaVIL(), **RUN)
    assert torch._dynamo.utils.counters["frames"]["ok"] == before
    suite = small.small_suite(small.plain, compile=True)
    compiled = avil.train(suite, avil.AlphaVIL(), **RUN)
    assert torch._dynamo.utils.counters["frames"]["ok"] > before
    np.testing.assert_allclose(compiled.theta, plain.theta, rtol=1e-4, atol=1e-5)
    workers = avil.train(suite, avil.AlphaVIL(), **RUN, pool="ray", workers=2)
    assert workers.theta.tobytes() == compiled.theta.tobytes()
