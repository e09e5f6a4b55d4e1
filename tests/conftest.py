"""What every test may use; one Ray for the whole session, as starting it takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from avil_ray.telemetry import no_calls_home

no_calls_home()  # before any test imports ray, mlflow or transformers


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray with four CPUs."""
    import ray

    # workers must find the suites that tests define
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()
