"""Notice that a node is about to be taken away: the run is stored, and goes on elsewhere before the node is gone."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, placement_group_table

EVERY = 1.0
"""Seconds between two questions to Ray, which take about a millisecond each."""


class Notice:
    """Whether Ray drains a node that a trial runs on, as it does for a spot machine or a pod that must go.

    Parameters
    ----------
    group
        The trial's placement group; None where it has none, and then there is never a notice.

    Attributes
    ----------
    given
        Whether there was one when `arrived` was asked last.
    """

    def __init__(self, group: PlacementGroup | None) -> None:
        self._group, self._asked = group, -EVERY
        self.given = False

    def arrived(self) -> bool:
        """Ask Ray, at most every second: a run that may be told to go is stored now, whatever is due."""
        if self._group is not None and not self.given and time.monotonic() - self._asked >= EVERY:
            self._asked = time.monotonic()
            self.given = bool(self._leaving())
        return self.given

    def leave(self) -> None:
        """End the trial's attempt: Tune starts another, in a new placement group, which avoids the nodes that leave.

        Raises
        ------
        RayActorError
            Always. It says that the cause is preemption, which Tune does not count as a failure.
        """
        nodes = ", ".join(node[:8] for node in self._leaving()) or "a node"
        raise RayActorError(error_msg=f"{nodes} will be preempted; the trial continues elsewhere", preempted=True)

    def _leaving(self) -> list[str]:
        """The ids of the trial's nodes that are being drained."""
        draining: dict[str, Any] = ray._private.state.state.get_draining_nodes()  # noqa: SLF001 (Ray has no public call)
        if not draining:
            return []
        own = placement_group_table(self._group)["bundles_to_node_id"].values()
        return sorted(set(draining) & set(own))
