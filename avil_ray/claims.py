"""Who writes to a folder at a URI: a claim, a small file that its process keeps changing for as long as it lives.

A store knows nothing of processes, and its clock and ours may differ. So a claim that stays as it is for a while
belongs to a process that is gone. Whoever wants to write puts its own claim there first and looks for others
afterwards: of two that come at the same time at least one sees the other.
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from avil_ray.errors import UserError
from avil_ray.locking import LOCK
from avil_ray.storage import Storage, Unreachable

log = logging.getLogger(__name__)

BEAT, DEAD = 10.0, 35.0
"""Seconds between two changes of a claim, and those after which one that did not change counts no more."""
LOOK = 1.0
"""Seconds between two looks at the claims of others, about."""

_held: list[str] = []
"""The folders that this process has claimed; those inside are its own too."""


@contextmanager
def claimed(storage: Storage, wait: float) -> Iterator[None]:
    """Keep other processes from writing to the folder for the block.

    A process that was killed leaves a claim; the next one sees that it is dead, at once where it was of this machine
    and otherwise within `DEAD` seconds, which it waits.

    Parameters
    ----------
    wait
        Seconds to wait, with a word, for a living process to let go.

    Raises
    ------
    UserError
        Where another process writes there.
    Unreachable
        Where the store does not answer.
    """
    place = storage.where()
    if any(place == other or place.startswith(f"{other}/") for other in _held):
        yield
        return
    claim = Claim(storage)
    _acquire(claim, wait)
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
        """The claim's name in the folder."""
        return f"{LOCK}/{self.name}"

    def put(self) -> None:
        """Write it, changed."""
        self.count += 1
        content = {"process": os.getpid(), "host": socket.gethostname(), "system": system(), "count": self.count}
        self.storage.write(self.file, json.dumps(content).encode())

    def withdraw(self) -> None:
        """Remove it."""
        self.storage.delete(self.file)

    def others(self) -> dict[str, bytes]:
        """The other claims, by their names."""
        found = {}
        for name in set(self.storage.names(LOCK)) - {self.name}:
            with suppress(FileNotFoundError):
                found[name] = self.storage.read(f"{LOCK}/{name}")
        return found

    def beat(self, stop: threading.Event) -> None:
        """Change it again and again until told to stop, or until another process took this one for dead."""
        while not stop.wait(BEAT):
            with suppress(Unreachable):  # the next time, perhaps
                if not self.storage.exists(self.file):
                    log.error("%s: this process did not answer for %.0f s, and another took over", self.storage, DEAD)
                    return
                self.put()


def _acquire(claim: Claim, wait: float) -> None:
    """Put the claim where no other one lives; UserError where one does and does not let go in time."""
    seen: dict[str, tuple[bytes, float]] = {}
    alive: set[str] = set()
    start, told = time.monotonic(), False
    while True:
        claim.put()
        others = claim.others()
        if not others:
            return
        claim.withdraw()  # for as long as we wait
        now = time.monotonic()
        for name, content in others.items():
            before, since = seen.setdefault(name, (content, now))
            if content != before:
                alive.add(name)
                seen[name] = content, now
            elif is_gone(content) or now - since > DEAD:
                claim.storage.delete(f"{LOCK}/{name}")
        living = alive & set(others)
        if living and now - start >= wait:
            waited = f" (after {wait:.0f} s)" if wait else ""
            holder = who(others[min(living)])
            advice = "wait until it ends, or choose another folder"
            raise UserError(f"{claim.storage.where()}: in use by {holder}{waited}; {advice}")
        if not told:
            told = True
            log.warning(
                "%s: in use by %s, or by nobody since it was killed; looking for up to %.0f s",
                claim.storage.where(),
                who(min(others.values())),
                max(wait, DEAD),
            )
        time.sleep(LOOK * random.uniform(0.5, 1.5))  # noqa: S311 (so that two that wait do not meet again and again)


def who(content: bytes) -> str:
    """Whose claim it is."""
    try:
        found = json.loads(content)
        return f"process {found['process']} on {found['host']}"
    except (ValueError, LookupError, TypeError):
        return "another process"


def is_gone(content: bytes) -> bool:
    """Whether the claim is that of a process of this very system that is no more; where we cannot know, False."""
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
    """What process numbers are unique in: this start of this machine, and a container's own numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None
