"""Texts with a label for each word: a dataset of token ids with labels at the first token of each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from avil_ray.suites.files.labels import Labels
from avil_ray.suites.files.table import Integers
from avil_ray.suites.tokens import Tokens

IGNORED = -100
"""The label of tokens that are not the first of a word."""

Item = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class TaggedTexts(Dataset[Item]):
    """Some of the texts, in some order.

    Parameters
    ----------
    tokens
        All texts, with the column `words`; shared by datasets on the same data.
    tags
        [tokens], the label of each token, -100 if it has none.
    rows
        [N], the numbers of the texts.
    """

    tokens: Tokens
    tags: Integers = field(repr=False)
    rows: Integers = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        """The token ids of one text and their labels, [length] each."""
        row = self.rows[index]
        end = int(self.tokens.ends[row])
        part = slice(end - int(self.tokens.lengths[row]), end)
        columns = {name: torch.from_numpy(ids[part].astype(np.int64)) for name, ids in self.tokens.columns.items()}
        return columns, torch.from_numpy(self.tags[part])


@dataclass(frozen=True)
class Padded:
    """Makes a batch of such texts, [B, length], padded to the longest one.

    Parameters
    ----------
    padding
        The padding id.
    """

    padding: int

    def __call__(self, items: Sequence[Item]) -> Item:
        """The batch."""
        first, *others = items[0][0]
        ids = _stacked([columns[first] for columns, _ in items], self.padding)
        mask = _stacked([torch.ones_like(columns[first]) for columns, _ in items], 0)
        batch = {first: ids, "attention_mask": mask}
        batch |= {name: _stacked([columns[name] for columns, _ in items], 0) for name in others}
        return batch, _stacked([tags for _, tags in items], IGNORED)


def tags_of_tokens(tokens: Tokens, labels: Labels) -> Integers:
    """The label of each token, [tokens]: the word's at its first token, -100 at the others."""
    assert labels.ends is not None
    numbers = tokens.columns["words"].astype(np.int64)
    before = np.repeat(labels.ends - np.diff(labels.ends, prepend=0), tokens.lengths)  # words in earlier rows
    places = np.where(numbers > 0, before + numbers - 1, 0)
    return np.where(numbers > 0, labels.values[places], IGNORED)


def _stacked(rows: list[Tensor], padding: int) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=padding)
