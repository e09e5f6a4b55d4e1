"""Maps words to their tokens: a word's label is read at its first token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any


def encode_words(tokenizer: Any, sentences: Sequence[Sequence[str]], max_length: int) -> tuple[Any, list[list[int]]]:
    """The tokens of sentences given as words, and the position of each word's first token.

    Words are joined by spaces, so tokenizers see ordinary text. Sentences are truncated to `max_length` tokens: words
    without a token then have no position, so a sentence has as many positions as remaining words. A word for which the
    tokenizer has no token gets the position of the next token.

    Returns
    -------
    tuple[BatchEncoding, list[list[int]]]
        The tokenizer's result, not padded; for each sentence the positions, at most one per word.
    """
    texts = [" ".join(words) for words in sentences]
    encoded = tokenizer(texts, truncation=True, max_length=max_length, return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")
    return encoded, [_places(words, spans) for words, spans in zip(sentences, offsets, strict=True)]


def _places(words: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[int]:
    """For each word, the first token that ends after the word's first character; special tokens have empty spans."""
    starts = list(accumulate((len(word) + 1 for word in words[:-1]), initial=0))
    places: list[int] = []
    place = 0
    for start in starts:
        while place < len(spans) and (spans[place][0] == spans[place][1] or spans[place][1] <= start):
            place += 1
        if place == len(spans):
            break
        places.append(place)
    return places
