"""One writer at a time: a folder on disk is locked by the system, one at a URI by a claim that is kept alive."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avil_ray.errors import UserError, WorkFailed
from avil_ray.storage import FULL, PART, Place, at, cannot_write, why

log = logging.getLogger(__name__)

LOCK = ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""The errors of file systems without locks."""


@contextmanager
def locked(place: Place, wait: float = 0.0) -> Iterator[None]:
    """Create the folder, and keep other processes from writing there within the block.

    On a disk, the system releases the lock when its process ends, however it ends. The folder is removed again if it
    was created here and is empty after the block. For a folder at a URI see `claims.claimed`.

    Parameters
    ----------
    wait
        Seconds to wait, after logging a message, for another process to release the folder.

    Raises
    ------
    UserError
        Another process writes there, or the folder cannot be used.
    """
    storage = at(place)
    if storage.local is None:
        from avil_ray.claims import claimed

        with claimed(storage, wait):
            yield
        return
    folder = storage.local
    made = _make(folder)
    try:
        with _held(folder, wait):
            for rest in folder.glob(f".*{PART}"):  # left by a process killed while writing
                rest.unlink(missing_ok=True)
            yield
    finally:
        for parent in made:
            with suppress(OSError):  # not empty: it is in use
                parent.rmdir()


def _make(folder: Path) -> list[Path]:
    """Create a folder and its missing parents; returns those created, the innermost first."""
    try:
        lacking = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # a path with a null byte raises ValueError
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
                log.warning("%s: in use by %s; waiting up to %.0f s", folder, _holder(path), wait)
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
        log.warning("%s: this file system does not support locks, so a second process there would go unnoticed", folder)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def _unusable(folder: Path, error: Exception) -> UserError | WorkFailed:
    if isinstance(error, OSError) and error.errno in FULL:
        return cannot_write(folder, error)
    return UserError(f"{folder}: cannot be written ({why(error)}); choose another folder")


def _holder(path: Path) -> str:
    """The holder of a lock, as recorded in its file."""
    try:
        return path.read_text().strip() or "another process"
    except (OSError, ValueError):
        return "another process"
