"""Local folders for libraries that read and write by path, if the storage has no local path."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from avil_ray.storage import Place, Storage, at


@contextmanager
def staged(place: Place) -> Iterator[Path]:
    """A folder to write files to; after the block they are uploaded to the storage. Local storage is used directly."""
    storage = at(place)
    if storage.local is not None:
        yield storage.local
        return
    with tempfile.TemporaryDirectory() as spare:
        yield Path(spare)
        upload(Path(spare), storage)


@contextmanager
def copied(place: Place, names: Sequence[str]) -> Iterator[Path]:
    """A folder with copies of the named files or folders within the block. Local storage is used directly."""
    storage = at(place)
    if storage.local is not None:
        yield storage.local
        return
    with tempfile.TemporaryDirectory() as spare:
        for name in names:
            _download(storage, name, Path(spare))
        yield Path(spare)


def upload(folder: Path, storage: Storage, last: str = "") -> None:
    """Write the files of a folder to the storage, the `last` one after all others."""
    storage.make()
    for path in sorted(folder.iterdir(), key=lambda path: (path.name == last, path.name)):
        if path.is_dir():
            upload(path, storage / path.name)
        elif path.stat().st_size == 0:  # an empty file cannot be mapped
            storage.write(path.name, b"")
        else:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                storage.write(path.name, memoryview(content))


def _download(storage: Storage, name: str, folder: Path) -> None:
    """Copy a file, or a folder with its contents, if it exists."""
    if (storage / name).is_there():
        (folder / name).mkdir()
        for inner in (storage / name).names():
            _download(storage / name, inner, folder / name)
    elif storage.exists(name):
        (folder / name).write_bytes(storage.read(name))
