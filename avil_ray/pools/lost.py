"""Interprets the errors of Ray's workers: which worker was lost, and what to raise."""

from __future__ import annotations

from typing import Any, Literal

import ray
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.world import PeerLost
from avil_ray.plain import plain

DEAD = (RayActorError, ObjectLostError, NodeDiedError, OutOfMemoryError)
"""What Ray raises if a worker, or a vector that it owned, is lost."""


def fate(reference: Any) -> Literal["well", "dead", "silent"]:
    """The state of a worker, judged by the reference to its answer."""
    try:
        ray.get(reference, timeout=0)
    except GetTimeoutError:
        return "silent"
    except DEAD:
        return "dead"
    except RayError:  # an error that it reports itself: it is alive
        return "well"
    return "well"


OF_PEER, OWN, DEATH = range(3)


def weight(error: RayError) -> int:
    """How much an error explains why a round failed: a worker's own error says more than that of one waiting for it."""
    if isinstance(error, DEAD):
        return DEATH
    return OF_PEER if isinstance(getattr(error, "cause", None), PeerLost) else OWN


def failure(error: RayError, where: str) -> UserError | WorkFailed:
    """The error to raise for a worker's error: a user's mistake remains a `UserError`, as in this process."""
    raised = error.cause if isinstance(error, RayTaskError) else error
    return UserError(str(raised)) if isinstance(raised, UserError) else WorkFailed(f"{where}: {cause(error)}")


def cause(error: RayError) -> str:
    """A worker's error in one line: its message and, unless it is one of ours, its type."""
    raised = error.cause if isinstance(error, RayTaskError) else error
    said = plain(raised)
    ours = isinstance(raised, UserError | WorkFailed)
    return said if ours else f"{type(raised).__name__}: {said}".removesuffix(": ")
