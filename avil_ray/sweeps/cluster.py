"""The connection to Ray for a sweep, and what the cluster has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

from avil_ray.pools import connection
from avil_ray.pools.placement import selects
from avil_ray.pools.ray_pool import node_resources
from avil_ray.spaces.resources import Resources

SETTINGS = {
    # Tune's own CSV, JSON and TensorBoard loggers would write a second, poorer record of every trial
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ray announces that it will stop hiding GPUs from processes that asked for none; we ask for what we use
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune would announce a run of its own, in boxes
    "RAY_AIR_NEW_OUTPUT": "0",
    # Tune's advice on its own snapshots: a sweep is resumed from its trials' records, not from them
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Tune would write the state of all trials every few seconds, to restore it: we do that from records
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # Tune would start every trial in a folder of its own, where the paths that a suite's options name are not found
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # seconds in which a trial that was stopped may end its ranks, before its process is replaced (Tune's own is 2)
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
}


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """As `connection.connected`, with Tune set up for a sweep."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray.tune.execution import class_cache

    # Tune would hand these keys to its trials by Ray's runtime environment, which Ray writes into logs that everyone on
    # the machine may read. On one machine processes inherit them anyway; other nodes need their own.
    class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    with connection.connected(address):
        yield


def nodes_at(address: str | None) -> list[dict[str, float]]:
    """The resources of each node of the cluster at an address, as of `nodes`; no Ray is started to count them."""
    if not ray.is_initialized() and connection.starts_its_own(address):
        return [connection.own_node()]
    with connected(address):
        return nodes()


def nodes() -> list[dict[str, float]]:
    """The resources of each node; a cluster that grows on demand counts as one node of the size it may grow to."""
    there = node_resources()
    grown = _most()
    if not grown:
        return there
    return [*there, {name: max(0.0, float(most) - sum(n.get(name, 0) for n in there)) for name, most in grown.items()}]


def lacking_labels(resources: Resources) -> str | None:
    """The line that says which label selector no node answers to, None where each has one or the cluster grows."""
    if _most():  # nodes that are yet to come may have the labels
        return None
    there = [node["Labels"] for node in ray.nodes() if node["Alive"]]
    for name, share in (("per_task", resources.per_task), ("driver", resources.driver)):
        if not any(selects(share.label_selector, labels) for labels in there):
            asked = ", ".join(f"{label}: {condition}" for label, condition in share.label_selector.items())
            return f"resources.{name}.label_selector: no node of the cluster has labels as in {{{asked}}}"
    return None


def _most() -> Mapping[str, float]:
    """What a cluster that grows on demand may have at most; nothing where it does not grow."""
    return ray._private.state.state.get_max_resources_from_cluster_config() or {}  # noqa: SLF001 (Ray has no public call)
