"""The connection to Ray for a sweep, and what the cluster has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from avil_ray.pools import connection
from avil_ray.pools.ray_pool import node_resources

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
}


@contextmanager
def connected(address: str) -> Iterator[None]:
    """As `connection.connected`, with Tune set up for a sweep."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray.tune.execution import class_cache

    # Tune would hand these keys to its trials by Ray's runtime environment, which Ray writes into logs that everyone on
    # the machine may read. On one machine processes inherit them anyway; other nodes need their own.
    class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    with connection.connected(address):
        yield


def nodes_at(address: str) -> list[dict[str, float]]:
    """The resources of each node of the cluster at an address, as of `nodes`; no Ray is started to count them."""
    if not ray.is_initialized() and connection.starts_its_own(address):
        return [connection.own_node()]
    with connected(address):
        return nodes()


def nodes() -> list[dict[str, float]]:
    """The resources of each node; a cluster that grows on demand counts as one node of the size it may grow to."""
    there = node_resources()
    grown = ray._private.state.state.get_max_resources_from_cluster_config()  # noqa: SLF001 (Ray has no public call)
    if not grown:
        return there
    return [
        *there,
        {name: max(0.0, float(grown.get(name, 0)) - sum(n[name] for n in there)) for name in ("CPU", "GPU")},
    ]
