"""The cache folder for downloaded or computed data: data sets, embeddings, token ids. Safe to delete at any time.

It is `$AVIL_CACHE`, otherwise `avil_ray` in `$XDG_CACHE_HOME` or `~/.cache`. Computed files are named by their inputs,
so they are never stale; they are first written under another name, so other processes only see complete ones.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt

from avil_ray.errors import WorkFailed
from avil_ray.storage import make_folder, replace_file

log = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[Any]]


def cache_folder(*parts: str) -> Path:
    """The cache, or a folder in it; it need not exist yet."""
    chosen = os.environ.get("AVIL_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute().joinpath(*parts)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache").joinpath("avil_ray", *parts)


def sha256(file: Path) -> str:
    """A file's checksum, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def checksum(file: Path) -> str:
    """A file's checksum, cached in memory by its size and modification time."""
    status = file.stat()
    return _kept_checksum(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _kept_checksum(file: Path, size: int, changed: int) -> str:
    del size, changed  # part of the cache key
    return sha256(file)


def content_key(*parts: str | Iterable[str]) -> str:
    """A key for content: equal for equal texts in the same order, on every machine."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for text in [part] if isinstance(part, str) else part:
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        digest.update(b"\xff" * 8)  # no text is this long: marks where a part ends
    return digest.hexdigest()


def kept_arrays(kind: str, key: str, make: Callable[[], Mapping[str, npt.NDArray[Any]]]) -> Arrays:
    """The arrays with this kind and key, computed and stored if missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file, save

    file = cache_folder(kind, f"{key}.safetensors")
    if file.is_file():
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            log.warning("%s: the file is damaged (%s); it is rebuilt", file, error)
    arrays = dict(make())
    try:
        make_folder(file.parent)
        replace_file(file, save(arrays))
    except WorkFailed as error:
        log.warning("%s; the next process computes it again", error)
    return arrays
