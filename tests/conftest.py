"""What every test may use; one Ray for the whole session, as starting it takes seconds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import place, s3  # noqa: F401

from avil_ray.telemetry import no_calls_home

no_calls_home()  # before any test imports ray, mlflow or transformers


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray with four CPUs."""
    from avil_ray.pools.connection import connected

    patch = pytest.MonkeyPatch()
    # workers must find the suites that tests define
    patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    with connected("local", cpus=4):
        patch.undo()
        yield


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from avil_ray.tracking.store import open_store

    database = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    open_store(f"sqlite:///{database}")
    return database


@pytest.fixture
def migrated_store(_migrated: Path, tmp_path: Path) -> Path:
    """A tracking database without experiments, in a folder whose name has a space; migrating one takes seconds."""
    folder = tmp_path / "my results"
    folder.mkdir()
    return Path(shutil.copy(_migrated, folder / "mlflow.db"))
