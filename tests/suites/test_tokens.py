from pathlib import Path

import numpy as np
import pytest
import torch
from text_models import save_encoder

from avil_ray.errors import UserError
from avil_ray.models.text import load_tokenizer
from avil_ray.suites.tokens import Texts, TokenColumn, tokenise

FIRST = ["The cat sees a river.", "A dog!", "", "The storm left the old city quiet and green near the river."]
SECOND = ["Yes.", "The dog found a cat under the river near the old city.", "no", "maybe"]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: str(save_encoder(folder / kind, FIRST + SECOND, kind)) for kind in ("bert", "roberta")}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokens"


def column(texts: Texts, model: str, max_length: int = 20) -> TokenColumn:
    tokens = tokenise(texts, model, max_length)
    return TokenColumn(tokens, np.arange(len(tokens)))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("second", [None, SECOND])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [3, 1], [2], [1, 1]])
def test_a_batch_is_what_the_tokenizer_would_pad(encoders, kind, second, rows) -> None:
    found = column(Texts(FIRST, second), encoders[kind])[torch.tensor(rows)]
    tokenizer, _ = load_tokenizer(encoders[kind], 20)
    pairs = None if second is None else [second[row] for row in rows]
    expected = tokenizer(
        [FIRST[row] for row in rows], pairs, truncation=True, max_length=20, padding=True, return_tensors="pt"
    )
    assert set(found) == set(expected)
    for name, tensor in found.items():
        assert tensor.dtype == torch.int64
        assert torch.equal(tensor, expected[name]), name


def test_choices_are_texts_of_one_example(encoders) -> None:
    alone = column(Texts(FIRST), encoders["bert"])
    choices = column(Texts(FIRST, choices=2), encoders["bert"])
    assert (len(alone), len(choices)) == (4, 2)
    batch = choices[torch.tensor([1, 0])]
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["input_ids"].shape[:2] == (2, 2)
    assert torch.equal(batch["input_ids"].flatten(0, 1), alone[torch.tensor([2, 3, 0, 1])]["input_ids"])


def test_marks_stand_at_the_tokens_of_the_spans(encoders) -> None:
    spans = [((0, 4, 7), (1, 0, 3)), ((0, 2, 5), (1, 4, 7)), ((0, 0, 0), (1, 0, 2)), ((0, 4, 9), (1, 0, 5))]
    words = [("cat", "yes"), ("dog", "dog"), ("", "no"), ("storm", "maybe")]
    found = column(Texts(FIRST, SECOND, spans=spans), encoders["bert"], 40)[torch.arange(4)]
    tokenizer, _ = load_tokenizer(encoders["bert"], 40)
    for ids, marks, pair in zip(found["input_ids"], found["marks"], words, strict=True):
        for number, word in enumerate(pair, start=1):
            assert tokenizer.decode(ids[marks == number]).replace(" ", "") == word
    assert not found["marks"][found["attention_mask"] == 0].any()


def test_columns_are_joined_and_taken_from(encoders) -> None:
    whole = column(Texts(FIRST, SECOND), encoders["bert"])
    parts = [column(Texts(FIRST[part], SECOND[part]), encoders["bert"]) for part in (slice(0, 1), slice(1, 4))]
    for both in (parts[0].join(parts[1]), whole.take(np.array([0])).join(whole.take(np.array([1, 2, 3])))):
        assert len(both) == 4
        for rows in ([0, 3], [2, 1, 0]):
            batch, expected = both[torch.tensor(rows)], whole[torch.tensor(rows)]
            assert all(torch.equal(batch[name], expected[name]) for name in expected)
    backwards = whole.take(np.array([3, 2, 1, 0])).take(np.array([0, 3]))
    assert torch.equal(backwards[torch.tensor([0])]["input_ids"], whole[torch.tensor([3])]["input_ids"])
    with pytest.raises(ValueError, match="cannot be joined"):
        whole.join(column(Texts(FIRST), encoders["roberta"]))


def test_texts_are_tokenised_once(encoders, cache: Path) -> None:
    def count() -> int:
        return len(list(cache.iterdir()))

    tokenise(Texts(FIRST, SECOND), encoders["bert"], 20)
    tokenise(Texts(tuple(FIRST), SECOND), encoders["bert"], 20)
    assert count() == 1
    changes = [(Texts(FIRST), "bert", 20), (Texts(FIRST, SECOND), "bert", 19), (Texts(FIRST, SECOND), "roberta", 20)]
    for number, (texts, kind, length) in enumerate(changes, start=2):
        tokenise(texts, encoders[kind], length)
        assert count() == number
    kept = next(cache.iterdir())
    stamp = kept.stat().st_mtime_ns
    tokenise(Texts(FIRST, SECOND), encoders["bert"], 20)
    assert kept.stat().st_mtime_ns == stamp


def test_long_texts_are_cut(encoders) -> None:
    tokens = tokenise(Texts(FIRST, SECOND), encoders["bert"], 8)
    assert np.diff(tokens.ends, prepend=0).max() == 8
    with pytest.raises(UserError, match=r"max_length must be at most 64 for model .*, not 65"):
        tokenise(Texts(FIRST), encoders["bert"], 65)
