"""Named arrays and JSON in one file, with a format version and a checksum over everything.

The file is plain safetensors, which other tools can open and which runs no code when it is read.
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

FORMAT = 3
"""The version that this library writes and reads. Version 1, of avil_ray 0.1, had no checksum; 2 knew no tracks."""
VERSION, FACTS, CHECKSUM = "avil_ray.format", "avil_ray.facts", "avil_ray.checksum"
"""The names in the metadata of the safetensors file."""


class Damaged(UserError):
    """A file does not hold what was written to it."""


@dataclass(frozen=True)
class Container:
    """Arrays by name, and whatever else there is to know as JSON values."""

    arrays: Mapping[str, npt.NDArray[Any]]
    facts: Mapping[str, Any]


def pack(container: Container) -> bytes:
    """The content of a file that `unpack` reads back to the last bit."""
    arrays = {name: np.asarray(array, order="C") for name, array in container.arrays.items()}
    facts = json.dumps(container.facts)
    return save(arrays, {VERSION: str(FORMAT), FACTS: facts, CHECKSUM: _checksum(str(FORMAT), arrays, facts)})


def unpack(content: bytes) -> Container:
    """What was packed.

    Raises
    ------
    Damaged
        Where the content is not what was written: cut off, changed, or another kind of file.
    UserError
        Where another version of the library has written it.
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
        raise Damaged("not a file of avil_ray" if content else "the file is empty") from error


def _require_version(version: int) -> None:
    if version != FORMAT:
        writer = "a newer" if version > FORMAT else "an older"
        raise UserError(f"was written by {writer} avil_ray (format {version}); this one reads format {FORMAT}")


def _checksum(version: str, arrays: Mapping[str, npt.NDArray[Any]], facts: str) -> str:
    """SHA-256 over names, types, shapes and bytes of the arrays, the facts and the version."""
    described = [[name, array.dtype.str, list(array.shape)] for name, array in sorted(arrays.items())]
    digest = hashlib.sha256(json.dumps([version, facts, described]).encode())
    for _, array in sorted(arrays.items()):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.ndim else array.tobytes())
    return digest.hexdigest()
