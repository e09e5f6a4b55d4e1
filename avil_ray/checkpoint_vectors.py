"""The large arrays of checkpoints: each is a file named by its SHA-256, so unchanged ones are not rewritten."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from avil_ray.container import TYPES, Damaged, digest_of, pack_vector, unpack_vector
from avil_ray.storage import Storage

FOLDER = "vectors"
LARGE = 2**16
"""Arrays of at least this many bytes are stored as separate files."""


def is_large(array: npt.NDArray[Any]) -> bool:
    """Whether an array is stored as a separate file."""
    return array.nbytes >= LARGE and array.dtype.name in TYPES


class Vectors:
    """The vectors on one storage; to be used by one thread at a time.

    Arrays are compared by identity, so an array must not be modified after it was passed in.

    Parameters
    ----------
    storage
        The storage of the checkpoints; vectors are in a folder of it.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._digests: dict[int, tuple[weakref.ref[npt.NDArray[Any]], str]] = {}
        self._sound: set[str] = set()

    def write(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
        """Write the arrays that are not stored yet; returns name -> digest.

        A file that this object has neither written nor read is rewritten, as it may be damaged.

        Raises
        ------
        WorkFailed
            An array cannot be written.
        """
        named = {name: self._digest(array) for name, array in arrays.items()}
        for digest, array in {named[name]: array for name, array in arrays.items()}.items():
            if digest not in self._sound or not self.storage.exists(_file(digest)):
                self.storage.write(_file(digest), *pack_vector(array))
                self._sound.add(digest)
        self._digests = {key: known for key, known in self._digests.items() if known[0]() is not None}
        return named

    def read(self, named: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
        """The arrays, keyed by name; arrays with the same digest are the same object.

        Raises
        ------
        Damaged
            An array is missing, or differs from what was written.
        OSError
            An array cannot be read.
        """
        found = {digest: self._read(digest) for digest in dict.fromkeys(named.values())}
        return {name: found[digest] for name, digest in named.items()}

    def delete_but(self, needed: Callable[[], set[str]]) -> None:
        """Delete every file in the folder except those with needed digests (computed only if there are files)."""
        there = self.storage.names(FOLDER)
        if not there:
            return
        digests = needed()
        for name in {f"{FOLDER}/{name}" for name in there} - set(map(_file, digests)):
            self.storage.delete(name)
        self._sound &= digests

    def _digest(self, array: npt.NDArray[Any]) -> str:
        known = self._digests.get(id(array))
        if known is None or known[0]() is not array:  # the id may have belonged to a freed array
            known = self._remember(array, digest_of(*pack_vector(array)))
        return known[1]

    def _remember(self, array: npt.NDArray[Any], digest: str) -> tuple[weakref.ref[npt.NDArray[Any]], str]:
        known = self._digests[id(array)] = weakref.ref(array), digest
        return known

    def _read(self, digest: str) -> npt.NDArray[Any]:
        name = _file(digest)
        try:
            array = unpack_vector(self.storage.read(name), digest)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise Damaged(f"{name} is missing") from error
        except Damaged as error:
            raise Damaged(f"{name}: {error}") from error
        self._remember(array, digest)
        self._sound.add(digest)
        return array


def _file(digest: str) -> str:
    return f"{FOLDER}/{digest}.safetensors"
