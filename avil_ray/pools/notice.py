"""Notice that a node is about to be removed: the run is stored and continues elsewhere before the node is gone."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, placement_group_table

EVERY = 1.0
"""Seconds between two queries to Ray, which take about a millisecond each."""


class Notice:
    """Detects that Ray is draining a node that a trial runs on, as for a spot instance or pod about to be removed.

    Parameters
    ----------
    group
        The trial's placement group; without one (None), there is never a notice.

    Attributes
    ----------
    given
        The result of the last call of `arrived`.
    """

    def __init__(self, group: PlacementGroup | None) -> None:
        self._group, self._asked = group, -EVERY
        self.given = False

    def arrived(self) -> bool:
        """Whether a node is being drained (queried at most once a second): the run must then be stored immediately."""
        if self._group is not None and not self.given and time.monotonic() - self._asked >= EVERY:
            self._asked = time.monotonic()
            self.given = bool(self._leaving())
        return self.given

    def leave(self) -> None:
        """End the trial's attempt; Tune starts another in a new placement group, which avoids draining nodes.

        Raises
        ------
        RayActorError
            Always, with preemption as its cause, which Tune does not count as a failure.
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
