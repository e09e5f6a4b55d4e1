"""Locks on folders at a URI, by claims: a claim is a small file that its process keeps changing while it is alive.

A store knows nothing about processes, and its clock may differ from ours. So a claim that does not change for a while
belongs to a process that is gone. A process that wants to write puts a requesting claim; among the requesting
processes, the one whose claim's name sorts first takes the lock: it marks its claim as holding and then checks again.
If two do so at the same time, at least one sees the other and returns to requesting.
"""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from avil_ray.errors import UserError
from avil_ray.locking import LOCK
from avil_ray.storage import PART, Storage, Unreachable

log = logging.getLogger(__name__)

BEAT, DEAD = 10.0, 35.0
"""Seconds between two changes of a claim, and seconds after which an unchanged claim is considered dead."""
LOOK = 1.0
"""Average seconds between two checks of other claims."""
LENGTH = 512
"""Bytes of a claim: always as many, since a client asks for the size first and the claim may change before it reads."""

_held: list[str] = []
"""The folders that this process has claimed, including their subfolders."""


@contextmanager
def claimed(storage: Storage, wait: float) -> Iterator[None]:
    """Keep other processes from writing to the folder within the block.

    A killed process leaves its claim behind. The next one detects that it is dead, immediately if it was on this
    machine, and otherwise by waiting for `DEAD` seconds.

    Parameters
    ----------
    wait
        Seconds to wait, after logging a message, for a living process to release the folder.

    Raises
    ------
    UserError
        Another process writes there.
    Unreachable
        The store does not answer.
    """
    place = storage.where()
    if any(place == other or place.startswith(f"{other}/") for other in _held):
        yield
        return
    claim = Claim(storage)
    try:
        _acquire(claim, wait)
    except BaseException:
        with suppress(Unreachable):
            claim.withdraw()
        raise
    stop = threading.Event()
    beating = threading.Thread(target=claim.beat, args=(stop,), name="claim", daemon=True)
    _held.append(place)
    beating.start()
    try:
        yield
    finally:
        _held.remove(place)
        stop.set()
        beating.join()
        with suppress(Unreachable):
            claim.withdraw()


@dataclass
class Claim:
    """The claim of this process to a folder."""

    storage: Storage
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    count: int = 0

    @property
    def file(self) -> str:
        """The claim's file name."""
        return f"{LOCK}/{self.name}"

    def put(self, holds: bool) -> None:
        """Write the claim with new content."""
        self.count += 1
        content = {"process": os.getpid(), "host": socket.gethostname(), "system": system()}
        text = json.dumps({**content, "holds": holds, "count": self.count})
        self.storage.write(self.file, text.ljust(LENGTH).encode())

    def withdraw(self) -> None:
        """Remove the claim."""
        self.storage.delete(self.file)

    def others(self) -> dict[str, bytes]:
        """The other claims: name -> content."""
        found = {}
        for name in self.storage.names(LOCK):
            if name == self.name or name.endswith(PART):
                continue
            with suppress(FileNotFoundError):
                found[name] = self._read(f"{LOCK}/{name}")
        return found

    def _read(self, file: str) -> bytes:
        """Another claim, which may be changed or withdrawn during the request: stores then fail in various ways."""
        try:
            return self.storage.read(file)
        except Unreachable:
            if not self.storage.exists(file):
                raise FileNotFoundError(file) from None
            return self.storage.read(file)

    def beat(self, stop: threading.Event) -> None:
        """Keep changing it until `stop` is set, or until another process has removed it as dead."""
        while not stop.wait(BEAT):
            with suppress(Unreachable):  # it may succeed next time
                if not self.storage.exists(self.file):
                    log.error("%s: this process did not answer for %.0f s, and another took over", self.storage, DEAD)
                    return
                self.put(holds=True)


def _acquire(claim: Claim, wait: float) -> None:
    """Acquire the folder; UserError if another process holds it and does not release it in time."""
    others = Others(claim.storage)
    start, where = time.monotonic(), claim.storage.where()
    told = False
    while True:
        claim.put(holds=False)
        there = claim.others()
        if not any(map(holds, there.values())) and all(claim.name < name for name in there):
            claim.put(holds=True)
            if not any(map(holds, claim.others().values())):
                return
        holders = others.look(there)
        if holders and time.monotonic() - start >= wait:
            waited = f" (after {wait:.0f} s)" if wait else ""
            raise UserError(f"{where}: in use by {holders[0]}{waited}; wait until it ends, or choose another folder")
        if there and not told:
            told = True
            known, most = who(min(there.values())), max(wait, DEAD)
            log.warning("%s: in use by %s, or by a process that was killed; waiting up to %.0f s", where, known, most)
        time.sleep(LOOK * random.uniform(0.5, 1.5))  # noqa: S311 (so that two do not meet again and again)


class Others:
    """Observes others' claims over time, and removes those of dead processes."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._alive: set[str] = set()

    def look(self, there: Mapping[str, bytes]) -> list[str]:
        """The processes known to hold the folder now; only a claim that has changed belongs to a living process."""
        now = time.monotonic()
        for name, content in there.items():
            before, since = self._seen.setdefault(name, (content, now))
            if content != before:
                self._alive.add(name)
                self._seen[name] = content, now
            elif is_gone(content) or now - since > DEAD:
                self._storage.delete(f"{LOCK}/{name}")
        return [who(content) for name, content in there.items() if name in self._alive and holds(content)]


def holds(content: bytes) -> bool:
    """Whether the claim is, or may be, that of a process holding the folder."""
    try:
        return bool(json.loads(content)["holds"])
    except (ValueError, LookupError, TypeError):
        return True


def who(content: bytes) -> str:
    """A description of the claim's owner."""
    try:
        found = json.loads(content)
        return f"process {found['process']} on {found['host']}"
    except (ValueError, LookupError, TypeError):
        return "another process"


def is_gone(content: bytes) -> bool:
    """Whether the claim's process ran on this system and has ended; False if unknown."""
    try:
        found = json.loads(content)
        if found["system"] is None or found["system"] != system():
            return False
        os.kill(int(found["process"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, LookupError, TypeError, OSError, OverflowError):
        return False
    return False


def system() -> str | None:
    """The scope in which process ids are unique: this boot of this machine, and the container's pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None
