"""Checkpoints written in the background, while the next round is running."""

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
"""A run with fewer parameters is stored after every round."""


def is_due(run: Run, every: float, started: float | None, now: float) -> bool:
    """Whether to store `run` at time `now` (`time.monotonic`): a small one always, a large one `every` seconds.

    `started` is the time when it was last stored; None if never.
    """
    return run.main.theta.size < SMALL or started is None or now - started >= every


class Checkpoints:
    """The checkpoints of one run, written by a separate thread, at most one at a time.

    As a context manager, it waits on exit until the last one is stored, even after an error.

    Parameters
    ----------
    storage
        The storage to write to, exclusively.
    configuration
        The run's settings as plain values; a run can only be resumed with the same ones.
    every
        Minimum seconds from the start of one to the start of the next; small runs are stored after every round.
    """

    def __init__(self, storage: Storage, configuration: Mapping[str, Any], every: float) -> None:
        self._storage, self._configuration, self._every = storage, configuration, every
        self._vectors = Vectors(storage)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._started: float | None = None
        self._stored: weakref.ref[Run] | None = None  # weak, to free memory for later rounds

    def load(self, setting: Setting, memory: type[Memory]) -> Run | None:
        """The stored run, or None if there is none; see `checkpoint.load`, also for errors."""
        run = checkpoint.load(self._storage, setting, memory, self._configuration, self._vectors)
        self._stored = None if run is None else weakref.ref(run)
        return run

    def due(self, run: Run, now: float) -> bool:
        """Whether to store `run` at time `now` (`time.monotonic`); the first one always is."""
        return is_due(run, self._every, self._started, now)

    def begin(self, run: Run) -> None:
        """Start storing `run` in the background; does nothing if it is the one stored last.

        Waits for the previous one. The run's arrays must not be modified afterwards, as they are not copied.

        Raises
        ------
        WorkFailed
            The previous checkpoint could not be written.
        """
        if self._stored is not None and self._stored() is run:
            return
        self.finish()
        self._started, self._stored = time.monotonic(), weakref.ref(run)
        self._writing = self._thread.submit(checkpoint.save, self._storage, run, self._configuration, self._vectors)

    def finish(self) -> None:
        """Wait for the checkpoint being written; raises its failure, once."""
        if self._writing is None:
            return
        wait([self._writing])  # if a signal interrupts this, it can still be waited for
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
            log.warning("%s", failure)  # the block's own error is the reason why the run ended
        finally:
            self._thread.shutdown()
