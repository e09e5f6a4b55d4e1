"""Atomic files in a folder on disk or at a URI; `locking.locked` ensures a single writer."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Protocol, Self, TypeVar, runtime_checkable

from avil_ray.errors import UserError, WorkFailed

Content = bytes | memoryview
"""A file's content or a part of it; a view of an array is written without a copy."""

PART = ".part"
"""The suffix of a file while it is being written."""

AT_ONCE = 32
"""The number of parallel requests to a storage on the network."""

FULL = {errno.ENOSPC, errno.EDQUOT}

One = TypeVar("One")
Found = TypeVar("Found")


class Unreachable(WorkFailed):
    """The storage does not answer, or refuses access: nothing is known about its content."""


@runtime_checkable
class Storage(Protocol):
    """Named files in a folder. Writes are atomic and durable: readers see either the old or the new content.

    A name may include one folder, as in `vectors/a`. `storage / "trials"` is the storage of a subfolder, and
    `at(str(storage))` opens the same storage in any process that can access it. All operations on a storage at a URI
    may raise `Unreachable`.
    """

    @property
    def local(self) -> Path | None:
        """The folder, if it is on this machine; None if it has no local path."""

    def __truediv__(self, name: str) -> Self: ...

    def require_writable(self) -> None:
        """Raise UserError if the folder is not writable; leaves nothing behind."""

    def make(self) -> None:
        """Create the folder if it is missing and the store has folders; WorkFailed if that fails."""

    def is_there(self) -> bool:
        """Whether the folder exists; for a store without folders, whether it contains anything."""

    def read(self, name: str) -> bytes:
        """The content; FileNotFoundError if there is no such file, another OSError if it cannot be read."""

    def write(self, name: str, *content: Content) -> None:
        """Replace the content, given in one or more pieces; if that fails, WorkFailed, and the old one is kept."""

    def move(self, name: str, to: str) -> None:
        """Rename a file, replacing any of the new name; a power failure may undo the last renames."""

    def exists(self, name: str) -> bool:
        """Whether a file or folder of this name exists."""

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with its contents, if it exists."""

    def names(self, folder: str = "") -> list[str]:
        """The names in the folder, sorted; none if it does not exist."""

    def where(self, name: str = "") -> str:
        """The name of a file or of the folder, for messages."""


Place = Storage | PathLike[str] | str
"""A storage, the path of a folder, or a URI."""


def at(place: Place) -> Storage:
    """The storage at a path or a URI; a storage is returned unchanged.

    Raises
    ------
    UserError
        The URI's store cannot be opened. The store is not accessed yet.

    Examples
    --------
    >>> at("results").where("a.json")
    'results/a.json'
    """
    if not isinstance(place, str | PathLike):
        return place
    text = os.fspath(place)
    if "://" in text:
        from avil_ray.storage_uri import opened

        return opened(text)
    if isinstance(place, PathLike) and re.match(r"[a-z][a-z0-9+.-]+:/", text):
        raise UserError(f"{text}: pass a URI as text, since a Path drops one of its slashes")
    return LocalStorage(Path(text))


def over(storage: Storage, function: Callable[[One], Found], items: Iterable[One]) -> list[Found]:
    """The function's result for each item; several run in parallel if each waits for the network."""
    if storage.local is not None:
        return list(map(function, items))
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="storage") as threads:
        return list(threads.map(function, items))


@dataclass(frozen=True)
class LocalStorage:
    """A folder on a local or shared disk. It is not created: see `make` and `locked`."""

    folder: Path

    @property
    def local(self) -> Path | None:
        """See `Storage`."""
        return self.folder

    def __truediv__(self, name: str) -> LocalStorage:
        return LocalStorage(self.folder / name)

    def __str__(self) -> str:
        return str(self.folder)

    def require_writable(self) -> None:
        """See `Storage`."""
        folder = self.folder.absolute()
        try:
            parent = next(path for path in (folder, *folder.parents) if path.exists())
        except (OSError, ValueError) as error:  # a name that is too long or has a null byte
            raise UserError(f"{self.folder}: cannot be written ({why(error)}); choose another folder") from error
        if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
            raise UserError(f"{self.folder}: cannot be written ({parent} is not a folder that you may write to)")

    def make(self) -> None:
        """See `Storage`."""
        make_folder(self.folder)

    def is_there(self) -> bool:
        """See `Storage`."""
        return self.folder.is_dir()

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        return (self.folder / name).read_bytes()

    def write(self, name: str, *content: Content) -> None:
        """See `Storage`."""
        path = self.folder / name
        if path.parent != self.folder and not path.parent.is_dir():
            _make_inside(path.parent)
        replace_file(path, *content)

    def move(self, name: str, to: str) -> None:
        """See `Storage`."""
        try:
            if (self.folder / to).is_dir():
                discard(self.folder / to)
            (self.folder / name).replace(self.folder / to)
        except OSError as error:
            raise cannot_write(self.folder / to, error) from error

    def exists(self, name: str) -> bool:
        """See `Storage`."""
        return os.path.lexists(self.folder / name)

    def delete(self, name: str) -> None:
        """See `Storage`."""
        discard(self.folder / name)

    def names(self, folder: str = "") -> list[str]:
        """See `Storage`."""
        place = self.folder / folder
        return sorted(path.name for path in place.iterdir()) if place.is_dir() else []

    def where(self, name: str = "") -> str:
        """See `Storage`."""
        return str(self.folder / name)


def _make_inside(folder: Path) -> None:
    """Create a folder inside an existing one, replacing anything else in its place."""
    try:
        if os.path.lexists(folder):
            discard(folder)
        folder.mkdir()
        _sync_folder(folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from error


def replace_file(path: Path, *content: Content) -> None:
    """Write a file atomically: after a crash or power failure it has either its old or its new content.

    Parameters
    ----------
    content
        One or more pieces, which are concatenated.

    Raises
    ------
    WorkFailed
        The disk is full, read-only or gone, for example; nothing is left behind.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would hide results from others on a shared disk
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents; WorkFailed if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(path: Path | str, error: OSError) -> WorkFailed:
    """What to raise where a file cannot be written."""
    advice = "free some space, then resume; " if error.errno in FULL else ""
    return WorkFailed(f"{path}: cannot be written ({why(error)}); {advice}earlier data is kept")


def why(error: Exception) -> str:
    """The reason for an error, in a few words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def discard(path: Path) -> None:
    """Delete a file of ours, or anything in its place, if it exists."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except NotADirectoryError:  # its parent is not a folder, so it does not exist
        return
    except OSError as error:
        raise WorkFailed(f"{path}: cannot be removed ({why(error)})") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure, if the file system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
