"""A file of arrays and JSON: to the last bit or not at all."""

from __future__ import annotations

import hashlib
import math
import time

import numpy as np
import pytest
from safetensors.numpy import load

from avil_ray.container import TYPES, Container, Damaged, digest_of, pack, pack_vector, unpack, unpack_vector
from avil_ray.errors import UserError


def content() -> Container:
    arrays = {
        "a/theta": np.array([1.5, math.nan, -math.inf], np.float32),
        "a/state/step": np.array(7),
        "é": np.zeros((0, 3)),
        "turned": np.arange(6, dtype=np.int16).reshape(2, 3).T,
        "flags": np.array([True, False]),
    }
    return Container(arrays, {"list": [1, 0.1 + 0.2, None, True, "ä\n"], "nan": math.nan, "deep": {"x": {"y": []}}})


def test_what_is_packed_comes_back_to_the_last_bit() -> None:
    stored, found = content(), unpack(pack(content()))
    assert set(found.arrays) == set(stored.arrays)
    for name, array in stored.arrays.items():
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape), name
        assert found.arrays[name].tobytes() == array.tobytes(), name
    assert repr(found.facts) == repr(stored.facts)
    assert unpack(pack(Container({}, {}))) == Container({}, {})


def test_every_flipped_bit_is_found() -> None:
    whole = pack(content())
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(UserError) as caught:
            unpack(bytes(changed))
        assert "\n" not in str(caught.value)


def test_every_part_of_a_file_is_damaged() -> None:
    whole = pack(content())
    for length in range(0, len(whole), 7):
        with pytest.raises(Damaged):
            unpack(whole[:length])
    with pytest.raises(Damaged):
        unpack(whole + b"\0")


@pytest.mark.parametrize(
    "other", [b"\x00" * 100, b"\xff" * 100, b"theta: 1\n" * 20, (10**5).to_bytes(8, "little") + b"[" * 10**5]
)
def test_another_kind_of_file_is_damaged(other: bytes) -> None:
    with pytest.raises(Damaged):
        unpack(other)


def test_a_small_container_costs_less_than_a_millisecond() -> None:
    small = Container({f"{index}": np.zeros(2000, np.float32) for index in range(4)}, {"rows": [{"x": 0.5}] * 20})
    best = math.inf
    for _ in range(20):
        started = time.perf_counter()
        unpack(pack(small))
        best = min(best, time.perf_counter() - started)
    assert best < 1e-3


@pytest.mark.parametrize("kind", TYPES)
def test_a_vector_comes_back_to_the_last_bit_and_is_plain_safetensors(kind: str) -> None:
    array = np.arange(24).reshape(4, 6).T.astype(kind)
    header, data = pack_vector(array)
    content = header + data
    assert len(header) % 8 == 0
    found = unpack_vector(content, digest_of(header, data))
    for one in (found, load(content)["vector"]):
        assert (one.dtype, one.shape, one.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert digest_of(content) == hashlib.sha256(content).hexdigest()


def test_the_bytes_of_a_vector_are_not_copied() -> None:
    array = np.zeros(8, np.float32)
    _, data = pack_vector(array)
    array[0] = 1
    assert bytes(data) == array.tobytes()


def test_every_flipped_bit_of_a_vector_is_found() -> None:
    content = b"".join(pack_vector(np.arange(4.0)))
    digest = digest_of(content)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(Damaged, match="the checksum is wrong"):
            unpack_vector(bytes(changed), digest)
