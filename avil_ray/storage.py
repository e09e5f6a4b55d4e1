"""Files that are whole or not there, in a folder of a disk or at a URI; `locking.locked` keeps it to one writer."""

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
"""A file's content, or a piece of it: a view of an array is written without a copy."""

PART = ".part"
"""How the name of a file ends while it is written."""

AT_ONCE = 32
"""Requests at a time, where each is answered over a network."""

FULL = {errno.ENOSPC, errno.EDQUOT}

One = TypeVar("One")
Found = TypeVar("Found")


class Unreachable(WorkFailed):
    """The storage does not answer, or refuses: nothing is known of what is there."""


@runtime_checkable
class Storage(Protocol):
    """Named files in a folder. A write is atomic and durable: whoever reads finds the old content or the new one.

    A name may have one folder before it, `vectors/a`. `storage / "trials"` is the storage of a folder inside, and
    `str(storage)` opens it again, in any process that sees it: see `at`. Whatever is asked of a storage at a URI may
    raise `Unreachable`.
    """

    @property
    def local(self) -> Path | None:
        """The folder, where it is one of this machine's; None where it has no path."""

    def __truediv__(self, name: str) -> Self: ...

    def require_writable(self) -> None:
        """UserError where nothing can be written there; leaves nothing behind."""

    def make(self) -> None:
        """Make the folder where it is missing and where the store has folders; WorkFailed where that fails."""

    def is_there(self) -> bool:
        """Whether the folder is there: where a store has no folders, whether anything is in it."""

    def read(self, name: str) -> bytes:
        """The content; FileNotFoundError where there is none, another OSError where it cannot be read."""

    def write(self, name: str, *content: Content) -> None:
        """Replace the content, given in one piece or several; WorkFailed where that fails, and the old one is kept."""

    def move(self, name: str, to: str) -> None:
        """Rename a file, replacing the one that is called so; a power cut may undo the last renames."""

    def exists(self, name: str) -> bool:
        """Whether there is something of this name."""

    def delete(self, name: str) -> None:
        """Delete what is called so, if there is anything: of a folder, all that is in it."""

    def names(self, folder: str = "") -> list[str]:
        """What stands in the folder, by its names there, sorted; nothing where it is not there."""

    def where(self, name: str = "") -> str:
        """What messages call a file, or the folder."""


Place = Storage | PathLike[str] | str
"""A storage, the path of a folder, or a URI."""


def at(place: Place) -> Storage:
    """The storage at a path or a URI; a storage is itself.

    Raises
    ------
    UserError
        Where the URI is not one of a store that can be opened. Nothing is asked of the store yet.

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
    """What the function says of each item; several at a time where each waits for answers over a network."""
    if storage.local is not None:
        return list(map(function, items))
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="storage") as threads:
        return list(threads.map(function, items))


@dataclass(frozen=True)
class LocalStorage:
    """A folder on a disk of this machine, or on a shared one. It is not made: see `make` and `locked`."""

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
        except (OSError, ValueError) as error:  # too long a name, or one with a zero byte
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
    """Make a folder inside one that is there; what else stands in its place gives way."""
    try:
        if os.path.lexists(folder):
            discard(folder)
        folder.mkdir()
        _sync_folder(folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from error


def replace_file(path: Path, *content: Content) -> None:
    """Write a file so that a reader, a crash or a power cut finds the old content or the new one, never a part.

    Parameters
    ----------
    content
        One piece or several, which stand one after the other in the file.

    Raises
    ------
    WorkFailed
        Where the disk is full, read-only or gone, say; nothing is left behind then.
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
        temporary.chmod(0o644)  # mkstemp's 0600 would hide results from colleagues on a shared disk
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing; WorkFailed where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(path: Path | str, error: OSError) -> WorkFailed:
    """What to raise where a file cannot be written."""
    advice = "free some space, then resume; " if error.errno in FULL else ""
    return WorkFailed(f"{path}: cannot be written ({why(error)}); {advice}earlier data is kept")


def why(error: Exception) -> str:
    """The reason of an error, in a few words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def discard(path: Path) -> None:
    """Delete a file of ours, or whatever stands in its place; nothing to do where there is nothing."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except NotADirectoryError:  # its folder is none, so it is not there
        return
    except OSError as error:
        raise WorkFailed(f"{path}: cannot be removed ({why(error)})") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
