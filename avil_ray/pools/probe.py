"""Checks once, before any trial, that a joined cluster can run our tasks at all."""

from __future__ import annotations

import ray
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from avil_ray import __version__
from avil_ray.errors import UserError
from avil_ray.plain import plain

PROBE_SECONDS = 60.0
"""Seconds to wait for the first tasks, for which nodes start processes."""


def require_same_version(named: str, advice: str) -> None:
    """Raise `UserError` unless tasks run on the cluster's nodes with this version of avil_ray.

    Otherwise every trial would fail with a message from Ray that does not say why ("The actor never ran").
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    probe = ray.remote(num_cpus=0, max_retries=0)(_version)
    asked = {
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(): node
        for node in nodes
    }
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=PROBE_SECONDS)
    if not ready:
        raise UserError(f"{plain(named)}: no node of that cluster runs a task within {PROBE_SECONDS:g} s; {advice}")
    for reference in ready:
        where = f"{plain(named)}: node {asked[reference]['NodeManagerAddress']} of that cluster"
        try:
            found = ray.get(reference)
        except RayTaskError as error:
            raise UserError(f"{where} cannot import avil_ray ({plain(error.cause)}); {advice}") from error
        except RuntimeEnvSetupError as error:
            raise UserError(f"{where} cannot run a task ({plain(error).splitlines()[0]}); {advice}") from error
        except RayError:  # a node that is about to be removed
            continue
        if found != __version__:
            raise UserError(f"{where} has avil_ray {found}, and this is {__version__}; {advice}")


def _version() -> str:
    return __version__
