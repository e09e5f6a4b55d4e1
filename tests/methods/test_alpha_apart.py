"""The fit of alpha on deltas that never meet: each of two processes holds its own, and half of the dev rows."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import deltas_apart
import pytest
import torch

from avil_ray.methods.alpha_fit import AlphaFit, fit_alpha
from avil_ray.methods.alpha_optimizers import OPTIMIZERS


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_deltas_in_two_processes_give_the_fit_of_their_matrix(optimizer: str, tmp_path: Path) -> None:
    options = {"optimizer": optimizer, "lower": -0.5, "upper": 0.8}
    context = multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=deltas_apart.fit_in_part, args=(rank, 2, tmp_path, options), daemon=True)
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
        assert rank.exitcode == 0
    first, second = (AlphaFit(**torch.load(tmp_path / f"{rank}.pt")) for rank in range(2))
    theta, deltas, inputs, labels = deltas_apart.problem()
    whole = fit_alpha(lambda at: deltas_apart.loss_of(at, inputs, labels), theta, deltas, **options)
    assert torch.equal(first.alpha, second.alpha), "every rank finds the same"
    torch.testing.assert_close(first.alpha, whole.alpha, rtol=1e-7, atol=1e-9)
    assert first.loss_after == pytest.approx(whole.loss_after, rel=1e-12)
    assert (first.loss_before, first.loss_start) == pytest.approx((whole.loss_before, whole.loss_start), rel=1e-12)
    assert first.evaluations == whole.evaluations
    assert whole.loss_after < 0.9 * whole.loss_start, "or there was nothing to find"
