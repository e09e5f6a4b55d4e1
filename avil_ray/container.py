"""Named arrays and JSON in one file, with a format version and a checksum over everything.

The file is plain safetensors, which other tools can open and which executes no code when loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from avil_ray.errors import UserError

FORMAT = 4
"""The version that this library writes and reads.

Version 1 (avil_ray 0.1) had no checksum; 2 had no tracks; 3 stored a whole checkpoint in one file.
"""
VERSION, FACTS, CHECKSUM = "avil_ray.format", "avil_ray.facts", "avil_ray.checksum"
"""Keys of the safetensors file's metadata."""
VECTOR = "vector"
"""The name of the array in a file with a single array."""


TYPES = {"bool": "BOOL", "float16": "F16", "float32": "F32", "float64": "F64"} | {
    f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}
"""The safetensors names of NumPy types; arrays of these types can be stored as separate files."""


class Damaged(UserError):
    """A file's content differs from what was written."""


@dataclass(frozen=True)
class Container:
    """Arrays by name, and everything else as JSON values."""

    arrays: Mapping[str, npt.NDArray[Any]]
    facts: Mapping[str, Any]


def pack(container: Container) -> bytes:
    """The content of a file, which `unpack` restores bit for bit."""
    arrays = {name: np.asarray(array, order="C") for name, array in container.arrays.items()}
    facts = json.dumps(container.facts)
    return save(arrays, {VERSION: str(FORMAT), FACTS: facts, CHECKSUM: _checksum(str(FORMAT), arrays, facts)})


def unpack(content: bytes) -> Container:
    """The inverse of `pack`.

    Raises
    ------
    Damaged
        The content differs from what was written: truncated, changed, or another kind of file.
    UserError
        It was written by another version of the library.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        if VERSION in metadata:
            _require_version(int(metadata[VERSION]))
        elif "progress" in metadata:
            raise UserError("was written by avil_ray 0.1, whose checkpoints this version cannot read")
        arrays = load(content)
        if metadata[CHECKSUM] != _checksum(metadata[VERSION], arrays, metadata[FACTS]):
            raise Damaged("the checksum is wrong")
        return Container(arrays, json.loads(metadata[FACTS]))
    except UserError:
        raise
    except SafetensorError as error:
        raise Damaged(f"not a whole safetensors file: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise Damaged("not an avil_ray file" if content else "the file is empty") from error


def pack_vector(array: npt.NDArray[Any]) -> tuple[bytes, memoryview]:
    """The content of a safetensors file with one array (of one of the `TYPES`): header and bytes.

    The bytes are a view of the array, not a copy, as the array may take up much of the memory.
    """
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    described = {"dtype": TYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": [0, array.nbytes]}
    header = json.dumps({VECTOR: described}).encode()
    header += b" " * (-len(header) % 8)  # aligns the array's bytes
    return len(header).to_bytes(8, "little") + header, array.reshape(-1).view(np.uint8).data


def unpack_vector(content: bytes, digest: str) -> npt.NDArray[Any]:
    """The inverse of `pack_vector`; raises Damaged if the content has another digest."""
    if digest_of(content) != digest:
        raise Damaged("the checksum is wrong")
    return load(content)[VECTOR]


def digest_of(*content: bytes | memoryview) -> str:
    """SHA-256 of a file's content, given in one or several pieces; the same as `sha256sum` prints."""
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
    return digest.hexdigest()


def _require_version(version: int) -> None:
    if version != FORMAT:
        writer = "a newer" if version > FORMAT else "an older"
        raise UserError(f"was written by {writer} avil_ray (format {version}); this one reads format {FORMAT}")


def _checksum(version: str, arrays: Mapping[str, npt.NDArray[Any]], facts: str) -> str:
    """SHA-256 of the arrays' names, types, shapes and bytes, the facts and the version."""
    described = [[name, array.dtype.str, list(array.shape)] for name, array in sorted(arrays.items())]
    digest = hashlib.sha256(json.dumps([version, facts, described]).encode())
    for _, array in sorted(arrays.items()):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.ndim else array.tobytes())
    return digest.hexdigest()
