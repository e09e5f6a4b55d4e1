"""Which Ray a sweep connects to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from avil_ray.sweeps.cluster import _meant_to_be_joined

WHERE = """
import ray
from avil_ray.sweeps.cluster import connected
with connected("auto"):
    print("at", ray.get_runtime_context().gcs_address)
"""


@pytest.mark.usefixtures("ray_session")
def test_auto_does_not_join_a_ray_that_another_program_runs_for_itself() -> None:
    """This test session's own Ray is such a one: it ends with the session."""
    import ray

    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run([sys.executable, "-c", WHERE], capture_output=True, text=True, env=environment, check=True)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("at "))
    assert line.removeprefix("at ") != ray.get_runtime_context().gcs_address


def test_auto_joins_the_cluster_that_ray_address_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert _meant_to_be_joined()
