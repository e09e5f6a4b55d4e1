import pickle
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from sentiment_files import make_sources
from text_models import save_encoder

import avil_ray as avil
from avil_ray import cli
from avil_ray.catalog import build_suite
from avil_ray.errors import UserError
from avil_ray.suites import sentiment_data
from avil_ray.suites.cache import cache_folder
from avil_ray.suites.sentiment import TASKS, identity, sentiment
from avil_ray.suites.sentiment_data import corpus, packaged_encoder
from avil_ray.suites.suite import Suite

SPLITS = ("train", "dev", "select", "test")


@pytest.fixture(scope="module", autouse=True)
def sources(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        yield make_sources(tmp_path_factory.mktemp("cache"), patch)
    for kept in (corpus, packaged_encoder):
        kept.cache_clear()


def small(**options: object) -> Suite:
    return sentiment(**{"target_labels": 15, "select": 8, "test": 10, "max_length": 24, **options})


def texts_of(task: str, examples, suite: Suite) -> set[str]:
    """The texts of some examples, found by their frozen features."""
    whole = small(target=task, auxiliaries=[], **suite_options(suite))
    del whole
    from avil_ray.suites.sentiment import _vectors

    vectors = _vectors(task, suite.tasks.keywords["encoding"]).astype(np.float32)
    found = set()
    for row in examples.inputs.numpy():
        (place,) = np.flatnonzero((vectors == row).all(axis=1))[:1]
        found.add(corpus(task).texts[place])
    return found


def suite_options(suite: Suite) -> dict:
    return {name: suite.options[name] for name in ("features",)}


@pytest.mark.parametrize("target", TASKS)
def test_any_task_may_be_the_target(target) -> None:
    suite = small(target=target)
    tasks = suite.draw(0)
    assert [len(getattr(tasks[target], split)) for split in SPLITS] == [10, 5, 8, 10]
    assert set(suite.auxiliaries) == set(TASKS) - {target}
    result = avil.train(suite, avil.Equal(), rounds=1, steps_per_round=2)
    assert np.isfinite(result.test["loss"])


def test_the_targets_splits_share_no_editorial() -> None:
    found = corpus("nyt")
    places = dict(zip(found.texts, found.groups.tolist(), strict=True))
    for seed in range(3):
        suite = small(auxiliaries=[])
        drawn = suite.draw(seed)["nyt"]
        editorials = {split: {places[text] for text in texts_of("nyt", getattr(drawn, split), suite)} for split in SPLITS}
        for one, other in combinations(SPLITS, 2):
            assert editorials[one]
            assert not editorials[one] & editorials[other]
