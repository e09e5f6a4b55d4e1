"""MNIST and Fashion-MNIST in their original format: a folder with four IDX files, gzipped or not.

The format is that of http://yann.lecun.com/exdb/mnist: two zero bytes, the type (8 for uint8), the number of
dimensions, each dimension as four bytes (big-endian), then the values.
"""

from __future__ import annotations

import gzip
import zlib
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avil_ray.errors import UserError
from avil_ray.suites.sources import Images

SIDE = 28
"""Height and width of the images in pixels."""

CLASSES = 10

FILES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
"""The standard names: training images and labels, images and labels of the official test."""


@cache
def idx_images(folder: Path) -> Images:
    """The images of a folder with the four standard files: training images, then those of the official test.

    Read once per process.

    Raises
    ------
    UserError
        A file is missing, truncated or of another kind; the message says which and what is wrong.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one that holds {FILES[0][0]}[.gz] and so on")
    parts = [_pair(_file(folder, images), _file(folder, labels)) for images, labels in FILES]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Images(pixels, labels.astype(np.int64), official_test=len(parts[1][1]))


def _file(folder: Path, name: str) -> Path:
    for found in (folder / name, folder / f"{name}.gz"):
        if found.is_file():
            return found
    raise UserError(f"{folder}: neither {name} nor {name}.gz is there; all four standard IDX files are needed")


def _pair(images: Path, labels: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    pixels, classes = read_idx(images, dimensions=3), read_idx(labels, dimensions=1)
    if pixels.shape[1:] != (SIDE, SIDE):
        height, width = pixels.shape[1:]
        raise UserError(f"{images}: images of {SIDE} x {SIDE} pixels expected, found {height} x {width}")
    if len(pixels) != len(classes):
        why = f"one for each image of {images.name}"
        raise UserError(f"{labels}: {len(pixels)} labels expected, {why}, found {len(classes)}")
    if len(classes) and classes.max() >= CLASSES:
        raise UserError(f"{labels}: labels from 0 to {CLASSES - 1} expected, found {classes.max()}")
    return pixels, classes


def read_idx(file: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array in an IDX file of bytes; gzip is detected by content, not by the file's name.

    Raises
    ------
    UserError
        The file cannot be read, has another magic number, or its size does not match its header.
    """
    content = _content(file)
    magic, found = bytes((0, 0, 8, dimensions)), content[:4]
    if found != magic:
        raise UserError(f"{file}: magic number 0x{magic.hex()} expected, found 0x{found.hex()}; is it another file?")
    header = 4 + 4 * dimensions
    shape = [int(size) for size in np.frombuffer(content[4:header].ljust(header - 4, b"\0"), ">u4")]
    expected = header + prod(shape)
    if len(content) != expected or len(content) < header:
        sizes, fetch = " x ".join(map(str, shape)), "download the file again"
        raise UserError(f"{file}: {expected} bytes expected for {sizes} values, found {len(content)}; {fetch}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(file: Path) -> Any:
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: cannot be read ({error}); download the file again") from error
