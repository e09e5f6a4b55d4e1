"""The large arrays of checkpoints: each is a file named by its SHA-256, so that one that did not change is kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from avil_ray.container import TYPES, Damaged, digest_of, pack_vector, unpack_vector
from avil_ray.storage import Storage

FOLDER = "vectors"
LARGE = 2**16
"""Arrays of so many bytes are files of their own."""


def is_large(array: npt.NDArray[Any]) -> bool:
    """Whether an array is a file of its own."""
    return array.nbytes >= LARGE and array.dtype.name in TYPES


class Vectors:
    """The vectors on one storage, which one thread at a time writes and reads.

    An array is taken to be the same as long as it is the same object: whoever hands one over must not change it.

    Parameters
    ----------
    storage
        Where the checkpoints are; vectors stand in a folder of it.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._digests: dict[int, tuple[weakref.ref[npt.NDArray[Any]], str]] = {}
        self._sound: set[str] = set()

    def write(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
        """Write those that are not there yet; name -> digest.

        A file that this object has neither written nor read is written again, as it may be damaged.

        Raises
        ------
        WorkFailed
            Where one cannot be written.
        """
        named = {name: self._digest(array) for name, array in arrays.items()}
        for digest, array in {named[name]: array for name, array in arrays.items()}.items():
            if digest not in self._sound or not self.storage.exists(_file(digest)):
                self.storage.write(_file(digest), *pack_vector(array))
                self._sound.add(digest)
        self._digests = {key: known for key, known in self._digests.items() if known[0]() is not None}
        return named

    def read(self, named: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
        """The arrays, by the names of their digests; those of the same digest are the same object.

        Raises
        ------
        Damaged
            Where one is missing, or is not what was written.
        OSError
            Where one cannot be read.
        """
        found = {digest: self._read(digest) for digest in dict.fromkeys(named.values())}
        return {name: found[digest] for name, digest in named.items()}

    def delete_but(self, needed: Callable[[], set[str]]) -> None:
        """Delete every file in the folder but those of the digests needed, which are asked for where there is any."""
        there = self.storage.names(FOLDER)
        if not there:
            return
        digests = needed()
        for name in {f"{FOLDER}/{name}" for name in there} - set(map(_file, digests)):
            self.storage.delete(name)
        self._sound &= digests

    def _digest(self, array: npt.NDArray[Any]) -> str:
        known = self._digests.get(id(array))
        if known is None or known[0]() is not array:  # another one may have had this id before
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
