"""Which device a process may use: on a cluster, none that it did not reserve."""

from __future__ import annotations

import sys

import torch


def own_device() -> str:
    """`cuda` where there is a GPU that this process may use, else `cpu`.

    A worker of Ray may use what it has reserved: Ray hides GPUs from workers that asked for some, but not from those
    that asked for none, so a trial's driver would take the first one beside whoever reserved it.
    """
    return device_of(torch.cuda.is_available(), gpu_reserved())


def device_of(available: bool, reserved: bool | None) -> str:
    """The device, by whether there is a GPU and whether this process has reserved one (None: it reserves nothing)."""
    return "cuda" if available and reserved is not False else "cpu"


def gpu_reserved() -> bool | None:
    """Whether this worker of Ray has reserved a GPU, or a part of one; None in a process that is no worker."""
    ray = sys.modules.get("ray")  # a process that has not imported Ray is no worker of it
    if ray is None or not ray.is_initialized() or ray.get_runtime_context().worker.mode != ray.WORKER_MODE:
        return None
    return bool(ray.get_gpu_ids())
