"""Whether every node sees a sweep's folder: asked once, before trials on one that does not would all fail."""

from __future__ import annotations

import logging

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from avil_ray.errors import UserError, WorkFailed, told
from avil_ray.storage import Storage, at
from avil_ray.sweeps.storage import SPACE
from avil_ray.sweeps.trial import unseen

log = logging.getLogger(__name__)

SECONDS = 120.0
"""How long to wait for the nodes' answers; a store that does not answer is asked for less."""


def require_seen(folder: Storage) -> None:
    """UserError, naming a node, where one that may run trials does not see the sweep that is stored in the folder.

    Costs nothing where there is no other node than the driver's own.
    """
    own = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != own and _works(node["Resources"])]
    look = ray.remote(num_cpus=0, max_retries=0)(_not_seen)
    asked = {
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            str(folder)
        ): node["NodeManagerAddress"]
        for node in nodes
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS) if asked else ([], [])
    for reference in late:
        log.warning("node %s does not say whether it sees %s", asked[reference], folder)
    for reference in ready:
        try:
            trouble = ray.get(reference)
        except RayError:  # a node that is about to leave
            continue
        if trouble:
            raise UserError(f"node {asked[reference]}: {trouble}; then continue with --resume")


def _works(resources: dict[str, float]) -> bool:
    return bool(resources.get("CPU") or resources.get("GPU"))


def _not_seen(folder: str) -> str | None:
    """Why this node does not see the sweep; None where it does."""
    try:
        storage = at(folder)
        return None if storage.exists(SPACE) else unseen(storage)
    except Exception as error:  # noqa: BLE001 - whatever a store's client raises, in a node's own environment
        return str(error) if isinstance(error, UserError | WorkFailed) else told(error)
