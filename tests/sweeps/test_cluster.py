"""Which Ray a sweep connects to, and what Tune hands to its trials."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ray.tune.execution import class_cache

from avil_ray.sweeps.cluster import connected

WHERE = """
import ray
from avil_ray.sweeps.cluster import connected
with connected("auto"):
    print("at", ray.get_runtime_context().gcs_address)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_auto_does_not_join_a_ray_that_another_program_runs_for_itself() -> None:
    """This test session's own Ray is such a one: it ends with the session."""
    import ray

    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run([sys.executable, "-c", WHERE], capture_output=True, text=True, env=environment, check=True)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("at "))
    assert line.removeprefix("at ") != ray.get_runtime_context().gcs_address


@pytest.mark.usefixtures("ray_session")
def test_tune_gives_trials_no_credentials_and_leaves_them_in_the_folder_of_the_sweep() -> None:
    with connected("auto"):
        assert not [name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")]
        assert "RAY_CHDIR_TO_TRIAL_DIR" in class_cache.ENV_VARS_TO_PROPAGATE
        assert os.environ["RAY_CHDIR_TO_TRIAL_DIR"] == "0"
