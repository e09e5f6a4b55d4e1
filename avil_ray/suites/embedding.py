"""Texts as fixed features of a frozen encoder, computed once and cached by content."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from avil_ray.models.text import load_encoder, masked_mean
from avil_ray.suites.cache import cache_folder, content_key, kept_arrays
from avil_ray.suites.tokens import Texts, TokenColumn, Tokens, tokenise

log = logging.getLogger(__name__)

LAST_LAYERS = 3
"""The number of last layers whose states are concatenated as features; the last layer alone is less informative."""

BATCH = 32


def embed(
    name: str,
    texts: Sequence[str],
    *,
    model: Callable[[], str],
    identity: str,
    layers: int | None,
    max_length: int,
) -> npt.NDArray[np.float16]:
    """The features of texts [N, width], with mean 0 and variance 1 within each layer's part.

    A layer's part is the mean of its states over the text's tokens. Texts are batched by length over the whole set, and
    each batch is computed by one thread, so the features depend neither on the caller nor on the load.

    Parameters
    ----------
    name
        The texts' name in messages.
    model
        Returns what `transformers` should load; called only if the features are not cached.
    identity
        Identifies the encoder's weights: a checksum, or hub name and revision.
    """
    key = content_key([identity, str(layers), str(max_length), str(LAST_LAYERS)], texts)

    def make() -> dict[str, npt.NDArray[Any]]:
        where = cache_folder("embeddings")
        log.warning("embedding the %s texts of %r once; they are cached in %s", f"{len(texts):,}", name, where)
        place = model()
        tokens = tokenise(Texts(texts), place, max_length)
        return {"features": _features(load_encoder(place, layers).eval(), tokens)}

    return kept_arrays("embeddings", key, make)["features"]


def _features(encoder: nn.Module, tokens: Tokens) -> npt.NDArray[np.float16]:
    lengths = np.diff(tokens.ends, prepend=0)
    order = np.argsort(lengths, kind="stable")
    column = TokenColumn(tokens, order)

    def part(start: int) -> npt.NDArray[np.float16]:
        rows = torch.arange(start, min(start + BATCH, len(column)))
        batch = column[rows]
        with torch.inference_mode():
            states = encoder(**batch, output_hidden_states=True).hidden_states[1:][-LAST_LAYERS:]
            means = [masked_mean(state, batch["attention_mask"]) for state in states]
            features = torch.cat([nn.functional.layer_norm(mean, mean.shape[1:]) for mean in means], dim=1)
        return features.numpy().astype(np.float16)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as threads:
            parts = list(threads.map(part, range(0, len(column), BATCH)))
    finally:
        torch.set_num_threads(before)
    return np.concatenate(parts)[np.argsort(order)]
