"""Checkpoints that are written beside the next round: the run goes on while the disk is at work."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self

from avil_ray import checkpoint
from avil_ray.checkpoint_vectors import Vectors
from avil_ray.methods.method import Memory, Run, Setting
from avil_ray.storage import Storage

log = logging.getLogger(__name__)

SMALL = 2**20
"""A run whose theta has fewer numbers is stored after every round."""


def is_due(run: Run, every: float, started: float | None, now: float) -> bool:
    """Whether to keep `run` at `now` seconds of `time.monotonic`: a small one always, a large one `every` seconds.

    `started` is when it was last kept; None where it never was.
    """
    return run.main.theta.size < SMALL or started is None or now - started >= every


class Checkpoints:
    """The checkpoints of one run, written by a thread of their own: at most one at a time.

    The block that it is the context of ends once the last one is stored, also where an error ends it.

    Parameters
    ----------
    storage
        Where they go; nobody else writes there.
    configuration
        What led to the run, as plain values: a run is resumed with the same one only.
    every
        Seconds from the start of one to the start of the next, at least; small runs are stored after every round.
    """

    def __init__(self, storage: Storage, configuration: Mapping[str, Any], every: float) -> None:
        self._storage, self._configuration, self._every = storage, configuration, every
        self._vectors = Vectors(storage)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._started: float | None = None
        self._stored: weakref.ref[Run] | None = None  # weak: memory is for the rounds to come

    def load(self, setting: Setting, memory: type[Memory]) -> Run | None:
        """The stored run, or None where there is none: see `checkpoint.load`, also for what it raises."""
        run = checkpoint.load(self._storage, setting, memory, self._configuration, self._vectors)
        self._stored = None if run is None else weakref.ref(run)
        return run

    def due(self, run: Run, now: float) -> bool:
        """Whether to store `run`, at `now` seconds of `time.monotonic`; the first one always is."""
        return is_due(run, self._every, self._started, now)

    def begin(self, run: Run) -> None:
        """Store `run` while the caller goes on; where it is the one that was stored last, there is nothing to do.

        Waits for the one before. Nobody may change the arrays of the run any more: they are not copied.

        Raises
        ------
        WorkFailed
            Where the one before could not be written.
        """
        if self._stored is not None and self._stored() is run:
            return
        self.finish()
        self._started, self._stored = time.monotonic(), weakref.ref(run)
        self._writing = self._thread.submit(checkpoint.save, self._storage, run, self._configuration, self._vectors)

    def finish(self) -> None:
        """Wait for the one that is being written; raises why it could not be, once."""
        if self._writing is None:
            return
        wait([self._writing])  # where a signal interrupts this, it is still there to wait for
        writing, self._writing = self._writing, None
        if writing.exception() is not None:
            self._stored = None
        writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.finish()
        except Exception as failure:
            if error is None:
                raise
            log.warning("%s", failure)  # the block's own error says why the run ended
        finally:
            self._thread.shutdown()
