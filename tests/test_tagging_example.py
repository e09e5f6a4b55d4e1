"""The example of tagging beside classification: its loss, its metric, its sentences, and that it learns."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import avil_ray as avil
from avil_ray.catalog import build_suite

FACTORY = {"factory": "examples.tagging:suite"}


@pytest.fixture
def tagging(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example's module, found as the command line finds it: from the project's folder."""
    root = Path(__file__).parents[1]
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(root)
    import examples.tagging

    yield examples.tagging
    for name in [name for name in sys.modules if name.partition(".")[0] == "examples"]:
        del sys.modules[name]


def test_a_sentences_loss_is_the_mean_over_its_words(tagging: ModuleType) -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(3, 10, 5, dtype=torch.float64), torch.randint(5, (3, 10))
    targets[0, 4:], targets[2] = tagging.PADDING, tagging.PADDING
    losses = tagging.tagging_loss(outputs, targets)
    for row, words in ((0, 4), (1, 10)):
        one = [-math.log(outputs[row, place].softmax(0)[targets[row, place]]) for place in range(words)]
        assert losses[row].item() == pytest.approx(sum(one) / words)
    assert losses[2] == 0


def test_accuracy_counts_words_and_no_padding(tagging: ModuleType) -> None:
    metric = tagging.TagAccuracy()
    outputs = torch.eye(5)[torch.tensor([[0, 1, 2], [3, 3, 3]])]
    metric.update(outputs[:1], torch.tensor([[0, 1, 1]]))
    metric.update(outputs[1:], torch.tensor([[3, -100, -100]]))
    assert metric.compute() == 3 / 4
    metric.reset()
    metric.update(outputs[1:], torch.tensor([[3, -100, -100]]))
    assert metric.compute() == 1


def test_tags_hang_on_the_neighbours_and_kinds_on_where_the_verb_stands(tagging: ModuleType) -> None:
    drawn = tagging.sentences(0, "train", 300)
    words, tags = drawn["words"], drawn["tags"]
    assert torch.equal(words == 0, tags == tagging.PADDING)
    found = {(word, tag) for word, tag in zip(words[words != 0].tolist(), tags[words != 0].tolist(), strict=True)}
    assert len(found) > len({word for word, _ in found}) + 20, "many words have two tags"
    first = tags[:, 0] == tagging.TAGS.index("verb")
    assert torch.equal(first, drawn["kinds"] != tagging.KINDS.index("statement"))


def test_splits_differ_and_seeds_repeat(tagging: ModuleType) -> None:
    first, again, other = (tagging.sentences(0, split, 20)["words"] for split in ("train", "train", "test"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_padding_changes_nothing(tagging: ModuleType) -> None:
    model, words = tagging.model(), tagging.sentences(0, "train", 30)["words"]
    with torch.no_grad():
        model.trunk.embedding.weight[0] = 0
        vectors = model.trunk(words)
    assert (vectors[words == 0] == 0).all()
    assert model(words, "tags").shape == (30, tagging.LENGTH, len(tagging.TAGS))
    assert model(words, "kind").shape == (30, len(tagging.KINDS))


@pytest.mark.parametrize("method", [avil.TargetOnly(), avil.Equal(), avil.AlphaVIL()])
def test_the_example_learns_with_every_kind_of_method(tagging: ModuleType, method: avil.Method) -> None:
    result = avil.train(build_suite(FACTORY), method, rounds=6, steps_per_round=15)
    assert result.test["tag_accuracy"] > 0.8
    assert set(result.test) == {"tag_accuracy", "loss"}
