"""Optimizer states stay with workers, move between them where a team needs them, and come back where someone looks."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
from tiny_suite import TASKS, tiny_suite

import avil_ray as avil
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.member import Kept, at_hand
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.track import MAIN, Track
from avil_ray.pools.crew import Slots
from avil_ray.pools.inline import InlinePool
from avil_ray.pools.pool import WorkersLost
from avil_ray.pools.ray_pool import RayPool

pytestmark = pytest.mark.usefixtures("ray_session")


def work(track: str) -> Assignment:
    learning: dict[str, Any] = {"optimizer": "AdamW", "learning_rate": 0.01}
    weights = dict.fromkeys(TASKS, 1.0)
    return Assignment(
        name=track, track=track, weights=weights, steps=3, learning=avil.Learning(**learning), continues=True
    )


def test_a_copy_of_a_kept_state_holds_only_its_key() -> None:
    kept = Kept("4/main/main", dict)
    assert pickle.loads(pickle.dumps(kept)).key == "4/main/main"
    with pytest.raises(RuntimeError, match="'4/main/main' is with another process"):
        pickle.loads(pickle.dumps(kept)).at_hand()


def test_states_follow_their_tracks_from_worker_to_worker_and_old_ones_are_forgotten() -> None:
    theta = initial_model(tiny_suite(), 0).vector()
    names = [MAIN, "one", "two"]
    inline = InlinePool(tiny_suite(), tiny_suite().draw(0), 0)
    with RayPool(tiny_suite(), 0, 1, Slots(2, {"CPU": 0.5})) as pool:
        ours, theirs = ({name: Track(theta) for name in names} for _ in range(2))
        for number, order in enumerate(([0, 1, 2], [2, 1, 0], [1], [0, 2, 1])):  # another worker for each, now and then
            assignments = [work(names[index]) for index in order]
            for tracks, updates in (
                (ours, pool.run(assignments, ours, number)),
                (theirs, inline.run(assignments, theirs, number)),
            ):
                tracks |= {update.track: tracks[update.track].advanced(update) for update in updates}
            assert all(isinstance(ours[names[index]].optimizer, Kept) for index in order)
        for name in names:
            assert ours[name].theta.tobytes() == theirs[name].theta.tobytes()
            state = at_hand(ours[name])
            assert {key: value.tobytes() for key, value in state.items()} == {
                key: value.tobytes() for key, value in theirs[name].optimizer.items()
            }
        assert {track.optimizer.key for track in ours.values()} <= set(pool._holders._ranks)
        assert not any(key.startswith("0/") for key in pool._holders._ranks)


def test_a_state_that_is_lost_is_reported() -> None:
    theta = initial_model(tiny_suite(), 0).vector()
    with RayPool(tiny_suite(), 0, 1, Slots(1, {"CPU": 0.5})) as pool:
        track = replace(Track(theta), optimizer=Kept("gone"))
        with pytest.raises(WorkersLost, match="no worker has the optimizer's state of track 'main'"):
            pool.run([work(MAIN)], {MAIN: track}, 0)
