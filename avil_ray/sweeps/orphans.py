"""What Ray Train leaves behind when a trial is stopped or dies: removed while the sweep runs, awaited at its end.

A trial's ranks stand in a placement group that Train's controller made. Ray removes a group when both its maker and the
whole job are gone, so one whose controller has died keeps its CPUs, and trials that wait for them would wait for ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import ray
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]  # generated
from ray.tune import Callback
from ray.util.placement_group import PlacementGroup, remove_placement_group

log = logging.getLogger(__name__)

OFTEN, LAST = 1.0, 60.0
"""Seconds between two looks; and those that the last controllers have to end."""


class Orphans(Callback):
    """Removes the groups of dead controllers while Tune runs; leaving its block waits for all controllers to end."""

    def __init__(self) -> None:
        self._looked = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `Watch`."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune is about to look for news again."""
        if time.monotonic() - self._looked >= OFTEN:
            self._looked = time.monotonic()
            remove_orphans()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        until = time.monotonic() + LAST
        while remove_orphans() and time.monotonic() < until:
            time.sleep(0.2)


def remove_orphans() -> bool:
    """Remove the groups whose controllers are dead; whether there are groups, these too, that are not yet gone."""
    found = list(_groups())
    for group, alive in found:
        if not alive:
            log.info("removing a placement group that a finished trial left behind")
            remove_placement_group(group)
    return bool(found)


def _groups() -> Iterator[tuple[PlacementGroup, bool]]:
    """Groups of this job that controllers of Train have made, and whether the controller is alive."""
    state = ray._private.state  # noqa: SLF001 (no public call tells who made a group)
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    for content in state.state._connect_and_get_accessor().get_placement_group_table():  # noqa: SLF001
        group = PlacementGroupTableData.FromString(content)
        if group.state == PlacementGroupTableData.REMOVED or group.creator_job_id != job or not group.creator_actor_id:
            continue
        actor = state.actors(group.creator_actor_id.hex())
        if actor.get("ActorClassName") == "TrainController":
            yield PlacementGroup(ray.PlacementGroupID(group.placement_group_id)), actor["State"] != "DEAD"
