"""Which device a process may use: on a cluster, only one that it has reserved."""

from __future__ import annotations

import sys

import torch


def own_device() -> str:
    """`cuda` if there is a GPU that this process may use, otherwise `cpu`.

    A Ray worker may use only what it has reserved. Ray hides other GPUs from workers that requested some, but not from
    those that requested none, so a trial's driver would otherwise use the first GPU although another process has
    reserved it.
    """
    return device_of(torch.cuda.is_available(), gpu_reserved())


def device_of(available: bool, reserved: bool | None) -> str:
    """The device, given whether a GPU is available and reserved by this process (None: not a Ray worker)."""
    return "cuda" if available and reserved is not False else "cpu"


def gpu_reserved() -> bool | None:
    """Whether this Ray worker has reserved a GPU or a fraction of one; None if this process is not a worker."""
    ray = sys.modules.get("ray")  # a process that has not imported Ray is not a worker
    if ray is None or not ray.is_initialized() or ray.get_runtime_context().worker.mode != ray.WORKER_MODE:
        return None
    return bool(ray.get_gpu_ids())
