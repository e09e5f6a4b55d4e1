"""What Ray's errors say of why a round failed."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, ObjectLostError, RayError, RayTaskError

from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.world import PeerLost
from avil_ray.pools.lost import DEATH, OF_PEER, OWN, failure, weight


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("perform", "Traceback", cause)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ActorDiedError(), DEATH),
        (ObjectLostError("a", None, ""), DEATH),
        (raised(ValueError("of its own")), OWN),
        (raised(PeerLost("timed out")), OF_PEER),
    ],
)
def test_a_death_explains_more_than_an_error_and_an_error_more_than_a_waiting_worker(
    error: RayError, expected: int
) -> None:
    assert weight(error) == expected
    assert OF_PEER < OWN < DEATH


def test_a_users_mistake_stays_a_user_error() -> None:
    assert isinstance(failure(raised(UserError("wrong data")), "round 3"), UserError)
    told = failure(raised(ValueError("broken")), "round 3")
    assert isinstance(told, WorkFailed)
    assert str(told) == "round 3: ValueError: broken"
