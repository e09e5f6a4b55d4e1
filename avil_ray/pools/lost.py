"""What the errors of Ray's workers say: who was lost, and what to tell the user."""

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
"""What Ray raises where a worker is gone, or a vector that it had."""


def fate(reference: Any) -> Literal["well", "dead", "silent"]:
    """What has become of a worker, by what it was asked."""
    try:
        ray.get(reference, timeout=0)
    except GetTimeoutError:
        return "silent"
    except DEAD:
        return "dead"
    except RayError:  # it lives to tell of it
        return "well"
    return "well"


OF_PEER, OWN, DEATH = range(3)


def weight(error: RayError) -> int:
    """How much an error says of why a round failed: of a worker's own, it says more than of one that waited for it."""
    if isinstance(error, DEAD):
        return DEATH
    return OF_PEER if isinstance(getattr(error, "cause", None), PeerLost) else OWN


def failure(error: RayError, where: str) -> UserError | WorkFailed:
    """What to raise where a worker raised: a user's mistake stays one, as in this process."""
    raised = error.cause if isinstance(error, RayTaskError) else error
    return UserError(str(raised)) if isinstance(raised, UserError) else WorkFailed(f"{where}: {cause(error)}")


def cause(error: RayError) -> str:
    """What a worker raised, in one line: our own errors say it all, others also what kind they are."""
    raised = error.cause if isinstance(error, RayTaskError) else error
    said = plain(raised)
    ours = isinstance(raised, UserError | WorkFailed)
    return said if ours else f"{type(raised).__name__}: {said}".removesuffix(": ")
