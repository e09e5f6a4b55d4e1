"""What every test may use; one Ray for the whole session, as starting it takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from avil_ray.telemetry import no_calls_home

no_calls_home()  # before any test imports ray, mlflow or transformers


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray with four CPUs."""
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
