"""The connection to Ray for a sweep, and what the cluster has."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_ray_address_file

from avil_ray.errors import UserError
from avil_ray.pools.ray_pool import node_resources

log = logging.getLogger(__name__)

QUIET = {
    # Tune's own CSV, JSON and TensorBoard loggers would write a second, poorer record of every trial
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ray announces that it will stop hiding GPUs from processes that asked for none; we ask for what we use
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune would announce a run of its own, in boxes
    "RAY_AIR_NEW_OUTPUT": "0",
    # Tune's advice on its own snapshots: a sweep is resumed from its trials' records, not from them
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

IN_TRIALS = {
    # Tune would start every trial in a folder of its own, where the paths that a suite's options name are not found
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to Ray for the block; a Ray that was connected before is used as it is, and left so.

    Parameters
    ----------
    address
        `local`: a new Ray on this machine. `auto`: the cluster that RAY_ADDRESS names or `ray start` has started here,
        else as `local`. Otherwise HOST:PORT.

    Raises
    ------
    UserError
        Where no cluster answers at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        yield
        return
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {"PYTHONPATH": _python_path(), **IN_TRIALS}},
    }
    try:
        _connect(address, common)
    except ConnectionError as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({reason}); start one, or use 'local'"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str, common: Mapping[str, Any]) -> None:
    if address == "auto" and not _meant_to_be_joined():
        address = "local"
    if address == "auto":
        try:
            ray.init(address="auto", **common)
            where = ray.get_runtime_context().gcs_address
            log.warning("using the Ray cluster at %s (--address local starts one of its own)", where)
        except ConnectionError:
            address = "local"
        else:
            return
    if address == "local":
        ray.init(address="local", include_dashboard=False, **common)
    else:
        ray.init(address=address, **common)


def _meant_to_be_joined() -> bool:
    """Whether there may be a cluster for all. Ray itself would also join one that another program runs for itself.

    Such a one ends with its program, and takes whoever joined it along.
    """
    return bool(os.environ.get("RAY_ADDRESS")) or Path(get_ray_address_file(None)).exists()


def _python_path() -> str:
    """The current folder first, so that workers find a suite's factory where the command found it."""
    return os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))


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
