"""Vectors in files of their own: what is remembered of arrays and of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avil_ray.checkpoint_vectors import FOLDER, LARGE, Vectors
from avil_ray.learning.parameters import Vector
from avil_ray.storage import LocalStorage


def vector(value: float) -> Vector:
    return np.full(LARGE // 4, value, np.float32)


def test_an_array_is_hashed_once(tmp_path: Path) -> None:
    vectors, array = Vectors(LocalStorage(tmp_path)), vector(0)
    named = vectors.write({"a": array})
    array += 1  # which nobody may do: it shows that the bytes are not looked at again
    assert vectors.write({"a": array}) == named
    assert Vectors(LocalStorage(tmp_path)).write({"a": array}) != named


def test_an_array_that_was_read_is_not_hashed_again(tmp_path: Path) -> None:
    named = Vectors(LocalStorage(tmp_path)).write({"a": vector(0)})
    vectors = Vectors(LocalStorage(tmp_path))
    array = vectors.read(named)["a"]
    array += 1
    assert vectors.write({"b": array}) == {"b": named["a"]}


def test_an_array_in_the_place_of_one_that_is_gone_is_another(tmp_path: Path) -> None:
    vectors, array = Vectors(LocalStorage(tmp_path)), vector(0)
    vectors.write({"a": array})
    place, others = id(array), []
    del array
    while not others or id(others[-1]) != place:
        others.append(vector(1))
        assert len(others) < 1000, "no array has taken its place"
    assert vectors.read(vectors.write({"a": others[-1]}))["a"][0] == 1


def test_a_file_that_was_neither_written_nor_read_here_is_not_trusted(tmp_path: Path) -> None:
    named = Vectors(LocalStorage(tmp_path)).write({"a": vector(0)})
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_bytes(b"damaged")
    vectors = Vectors(LocalStorage(tmp_path))
    assert vectors.write({"a": vector(0)}) == named
    assert vectors.read(named)["a"].tobytes() == vector(0).tobytes()


def test_a_file_that_is_gone_is_written_again(tmp_path: Path) -> None:
    vectors, array = Vectors(LocalStorage(tmp_path)), vector(0)
    named = vectors.write({"a": array})
    LocalStorage(tmp_path).delete(FOLDER)
    vectors.write({"a": array})
    assert vectors.read(named)["a"].tobytes() == array.tobytes()
