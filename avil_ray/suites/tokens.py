"""Tokenised text as a suite's inputs: token ids in flat arrays, padded per batch to its longest text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avil_ray.models.text import load_tokenizer
from avil_ray.models.words import encode_words
from avil_ray.suites.cache import content_key, kept_arrays

Integers = npt.NDArray[np.int64]

TEXTS_AT_A_TIME = 2000
"""The number of texts per call of the tokenizer: enough to be fast, few enough to save memory."""

Span = tuple[int, int, int]
"""The text of a pair (0 or 1), and the start and end (exclusive) of a span of characters in it."""


@dataclass(frozen=True)
class Texts:
    """The input of a tokenizer.

    Parameters
    ----------
    first
        [N * choices] texts, with the choices of an example in a row; lists of words if each word has a label.
    second
        The second text of each pair; None for single texts.
    choices
        Texts of each example.
    spans
        The two relevant spans of each text; None if there are none.
    """

    first: Sequence[str] | Sequence[list[str]]
    second: Sequence[str] | None = None
    choices: int = 1
    spans: Sequence[tuple[Span, Span]] | None = None

    @property
    def in_words(self) -> bool:
        """Whether texts are lists of words."""
        return len(self.first) > 0 and not isinstance(self.first[0], str)

    def parts(self) -> list[list[str]]:
        """Everything that token ids depend on, as texts, for the cache key."""
        spans = [] if self.spans is None else [repr(span) for span in self.spans]
        texts = [part for text in self.first for part in ([text] if isinstance(text, str) else [*text, ""])]
        return [texts, ["alone"] if self.second is None else ["pairs", *self.second], spans]


@dataclass(frozen=True)
class Tokens:
    """The concatenated token ids of many texts.

    Parameters
    ----------
    columns
        `input_ids` and the encoder's other inputs, in its order: int32 [tokens] each.
    ends
        [texts], the end of each text in them.
    choices
        Texts of each example.
    padding
        The id that fills short texts.
    cut
        [texts], whether a text was truncated.
    """

    columns: dict[str, npt.NDArray[np.int32]]
    ends: Integers
    choices: int
    padding: int
    cut: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ends) // self.choices

    @cached_property
    def lengths(self) -> Integers:
        """[texts], the number of tokens of each."""
        return np.diff(self.ends, prepend=0)


@dataclass(frozen=True)
class TokenColumn:
    """Some of the texts, in some order, as a suite's inputs: `column[rows]` is a batch for a `TextEncoder`.

    Parameters
    ----------
    tokens
        All texts; shared by columns on the same data.
    rows
        [N], the numbers of the examples.
    """

    tokens: Tokens
    rows: Integers = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor) -> dict[str, Tensor]:
        """The examples at `indices` [B]: tensors [B, length], or [B, choices, length], padded to the longest text."""
        tokens, count = self.tokens, len(indices)
        examples = self.rows[indices.numpy()]
        texts = (examples[:, None] * tokens.choices + np.arange(tokens.choices)).ravel()
        starts = np.where(texts > 0, tokens.ends[texts - 1], 0)
        lengths = tokens.ends[texts] - starts
        places = np.arange(lengths.max(initial=1))
        there = places < lengths[:, None]
        where = np.where(there, starts[:, None] + places, 0)

        def padded(column: npt.NDArray[np.int32], padding: int) -> Tensor:
            filled = torch.from_numpy(np.where(there, column[where], padding).astype(np.int64))
            return filled if tokens.choices == 1 else filled.view(count, tokens.choices, -1)

        ids, *others = tokens.columns
        ones = np.ones(len(tokens.columns[ids]), dtype=np.int32)
        batch = {ids: padded(tokens.columns[ids], tokens.padding), "attention_mask": padded(ones, 0)}
        return batch | {name: padded(tokens.columns[name], 0) for name in others}

    def take(self, rows: Integers) -> TokenColumn:
        """The examples at `rows`."""
        return TokenColumn(self.tokens, self.rows[rows])

    def join(self, other: TokenColumn) -> TokenColumn:
        """These examples followed by the other ones."""
        if other.tokens is self.tokens:
            return TokenColumn(self.tokens, np.concatenate([self.rows, other.rows]))
        one, two = self.tokens, other.tokens
        if (one.choices, one.padding, list(one.columns)) != (two.choices, two.padding, list(two.columns)):
            raise ValueError("texts that were tokenised in different ways cannot be joined")
        columns = {name: np.concatenate([one.columns[name], two.columns[name]]) for name in one.columns}
        ends = np.concatenate([one.ends, two.ends + (one.ends[-1] if len(one.ends) else 0)])
        both = Tokens(columns, ends, one.choices, one.padding, np.concatenate([one.cut, two.cut]))
        return TokenColumn(both, np.concatenate([self.rows, other.rows + len(one)]))


def tokenise(texts: Texts, model: str, max_length: int | None) -> Tokens:
    """Token ids of at most `max_length` for each text, by the tokenizer of `model`; kept in the cache by content.

    If a pair is too long, the longer text is truncated. For a `max_length` of None, see `load_tokenizer`. If texts are
    lists of words, the column `words` has the number of a word (from 1) at its first token, and 0 elsewhere.
    """
    tokenizer, max_length = load_tokenizer(model, max_length)
    described = [
        "with cut",
        tokenizer.backend_tokenizer.to_str(),
        str(max_length),
        *map(str, tokenizer.model_input_names),
    ]
    kept = kept_arrays(
        "tokens", content_key(described, *texts.parts()), lambda: _tokenised(texts, tokenizer, max_length)
    )
    ends = kept.pop("ends").astype(np.int64)
    order = ["input_ids", *(name for name in ("token_type_ids", "marks", "words") if name in kept)]
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return Tokens({name: kept[name] for name in order}, ends, texts.choices, padding, kept["cut"])


def _tokenised(texts: Texts, tokenizer: Any, max_length: int) -> dict[str, npt.NDArray[Any]]:
    lengths: list[int] = []
    cut: list[bool] = []
    columns: dict[str, list[npt.NDArray[np.int32]]] = {}
    for start in range(0, len(texts.first), TEXTS_AT_A_TIME):
        part = slice(start, start + TEXTS_AT_A_TIME)
        encoded, places = _encoded(texts, part, tokenizer, max_length)
        found = {name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded}
        if texts.spans is not None:
            found["marks"] = [_marks(encoded[row], spans) for row, spans in enumerate(texts.spans[part])]
        if texts.in_words:
            found["words"] = [_numbered(there, len(ids)) for there, ids in zip(places, found["input_ids"], strict=True)]
        lengths += map(len, found["input_ids"])
        cut += [bool(encoding.overflowing) for encoding in encoded.encodings]
        for name, lists in found.items():
            columns.setdefault(name, []).append(np.fromiter(chain.from_iterable(lists), dtype=np.int32))
    flat: dict[str, npt.NDArray[Any]] = {name: np.concatenate(parts) for name, parts in columns.items()}
    return flat | {"ends": np.cumsum(lengths, dtype=np.int64), "cut": np.array(cut)}


def _encoded(texts: Texts, part: slice, tokenizer: Any, max_length: int) -> tuple[Any, list[list[int]]]:
    """The tokens of some texts and, if they are lists of words, the position of each word's first token."""
    if texts.in_words:
        return encode_words(tokenizer, [list(words) for words in texts.first[part]], max_length)
    second = None if texts.second is None else list(texts.second[part])
    first = list(texts.first[part])
    return tokenizer(first, second, truncation=True, max_length=max_length, return_attention_mask=False), []


def _numbered(places: Sequence[int], length: int) -> list[int]:
    """The numbers of words (from 1) at their positions among `length` tokens; the last one if positions coincide."""
    numbers = [0] * length
    for number, place in enumerate(places, start=1):
        numbers[place] = number
    return numbers


def _marks(encoding: Any, spans: tuple[Span, Span]) -> list[int]:
    """1 and 2 at tokens that overlap the first and second span, 0 at the others."""
    marks = [0] * len(encoding.ids)
    for place, (text, (start, end)) in enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True)):
        for number, (which, first, last) in enumerate(spans, start=1):
            if text == which and start < last and end > first:
                marks[place] = number
    return marks
