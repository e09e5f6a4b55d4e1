"""Files that are whole or not there, in a folder that one process writes to at a time."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from avil_ray.errors import UserError, WorkFailed

log = logging.getLogger(__name__)

Content = bytes | memoryview
"""A file's content, or a piece of it: a view of an array is written without a copy."""

LOCK = ".lock"
PART = ".part"
"""How the name of a file ends while it is written."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What a file system that has no locks answers."""


class Storage(Protocol):
    """Named files. A write is atomic and durable: whoever reads finds the old content or the new one, never a part.

    A name may have one folder before it, `vectors/a`.
    """

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

    def where(self, name: str) -> str:
        """What messages call a file."""


@dataclass(frozen=True)
class LocalStorage:
    """A folder on a disk of this machine, or on a shared one. It is not made: see `locked`."""

    folder: Path

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

    def where(self, name: str) -> str:
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


def cannot_write(path: Path, error: OSError) -> WorkFailed:
    """What to raise where a file cannot be written."""
    advice = "free some space, then go on; " if error.errno in _FULL else ""
    return WorkFailed(f"{path}: cannot be written ({why(error)}); {advice}what was stored before is kept")


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


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Make the folder, and keep other processes from writing there for the block.

    The system lets go of the lock when its process ends, however it ends. The folder is removed again where it was made
    here and the block leaves it empty.

    Parameters
    ----------
    wait
        Seconds to wait, with a word, for another process to let go.

    Raises
    ------
    UserError
        Where another process writes there, or the folder cannot be used.
    """
    made = _make(folder)
    try:
        with _held(folder, wait):
            for rest in folder.glob(f".*{PART}"):  # of a process that was killed while it wrote
                rest.unlink(missing_ok=True)
            yield
    finally:
        for parent in made:
            with suppress(OSError):  # not empty: it is used
                parent.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder; those that were made, the innermost first."""
    try:
        lacking = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        raise _unusable(folder, error) from error
    return lacking


@contextmanager
def _held(folder: Path, wait: float) -> Iterator[None]:
    from filelock import FileLock, Timeout

    path = folder / LOCK
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if wait:
                log.warning("%s: in use by %s; waiting for up to %.0f s", folder, _holder(path), wait)
            lock.acquire(timeout=wait, poll_interval=0.2)
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    except Timeout:
        waited = f" (after {wait:.0f} s)" if wait else ""
        raise UserError(
            f"{folder}: in use by {_holder(path)}{waited}; wait until it ends, or choose another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in _NO_LOCKS:
            lock.release()
            raise _unusable(folder, error) from error
        log.warning("%s: this file system has no locks, so a second process there would not be noticed", folder)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def _unusable(folder: Path, error: Exception) -> UserError | WorkFailed:
    if isinstance(error, OSError) and error.errno in _FULL:
        return cannot_write(folder, error)
    return UserError(f"{folder}: cannot be written ({why(error)}); choose another folder")


def _holder(path: Path) -> str:
    """Who holds a lock, as far as it says so."""
    try:
        return path.read_text().strip() or "another process"
    except (OSError, ValueError):
        return "another process"


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
