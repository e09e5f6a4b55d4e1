"""A real store for every test: one database is migrated once and copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from avil_ray.reports.records import Cost, TrialRecord
from avil_ray.tracking.store import open_store
from avil_ray.tracking.writer import Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run


class Store:
    """A store, and what stands in it as MLflow's own client reads it."""

    experiment, sweep = "two-moons", "first sweep"

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @property
    def path(self) -> Path:
        return Path(self.uri.removeprefix("sqlite:///"))

    def tracker(self) -> Tracker:
        tracker = Tracker(self.uri, self.experiment, self.sweep)
        tracker.prepare()
        return tracker

    def runs(self) -> dict[str, Run]:
        """Every run by its avil.key; fails where two runs have the same."""
        client = open_store(self.uri)
        experiment = client.get_experiment_by_name(self.experiment)
        found = client.search_runs([experiment.experiment_id])
        keys = [run.data.tags["avil.key"] for run in found]
        assert len(set(keys)) == len(keys), keys
        return dict(zip(keys, found, strict=True))

    def run(self, key: str | None) -> Run:
        return self.runs()[self.sweep if key is None else f"{self.sweep}/{key}"]

    def history(self, key: str | None, metric: str) -> list[tuple[int, float]]:
        """(step, value) of everything ever logged as a metric, in order of steps."""
        found = open_store(self.uri).get_metric_history(self.run(key).info.run_id, metric)
        return sorted((metric.step, metric.value) for metric in found)


@pytest.fixture
def store(migrated_store: Path) -> Store:
    """A migrated store without experiments."""
    return Store(f"sqlite:///{migrated_store}")


@pytest.fixture
def record() -> Callable[..., TrialRecord]:
    """`record(seed=3, …)` -> a trial of three rounds that finished."""

    def make(seed: int = 0, **changes: object) -> TrialRecord:
        history = pd.DataFrame(
            {"round": [0, 1, 2], "select/accuracy": [0.5, 0.7, 0.6], "alpha/a": [0.1, float("nan"), 0.3]}
        )
        values = {
            "key": f"equal/c000/s{seed}",
            "label": "equal",
            "method": "static",
            "configuration": 0,
            "options": {"weights": {"a": 0.5}},
            "seed": seed,
            "status": "finished",
            "select": 0.7,
            "test": {"accuracy": 0.65},
            "best_round": 1,
            "cost": Cost(300, 2.5, 1.5, 5.0),
            "history": history,
        }
        return TrialRecord(**{**values, **changes})

    return make
