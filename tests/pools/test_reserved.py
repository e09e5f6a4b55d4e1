"""Which device a process may use, on a Ray with a GPU that is declared and not there."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from avil_ray.pools.reserved import device_of, gpu_reserved, own_device

SCRIPT = """
import ray
from avil_ray.pools.reserved import gpu_reserved
from avil_ray.telemetry import no_calls_home

no_calls_home()
ray.init(address="local", num_cpus=3, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
asked = [ray.remote(num_cpus=1, num_gpus=gpus)(gpu_reserved).remote() for gpus in (0, 0.5)]
print(gpu_reserved(), *ray.get(asked))
"""


def test_a_process_that_is_not_a_ray_worker_may_use_any_device() -> None:
    assert gpu_reserved() is None
    assert own_device() == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("available", "reserved", "device"),
    [
        (True, None, "cuda"),
        (True, True, "cuda"),
        (True, False, "cpu"),
        (False, None, "cpu"),
        (False, True, "cpu"),
        (False, False, "cpu"),
    ],
)
def test_a_worker_uses_a_gpu_only_if_it_has_reserved_one(available: bool, reserved: bool | None, device: str) -> None:
    assert device_of(available, reserved) == device


@pytest.mark.slow
def test_ray_workers_know_what_they_have_reserved() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["None", "False", "True"]
