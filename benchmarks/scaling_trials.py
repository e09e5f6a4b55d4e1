"""How many rounds a second a sweep takes from concurrent trials, which do nothing but report."""

from __future__ import annotations

import pickle
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import avil_ray as avil
from avil_ray.catalog import build_suite
from avil_ray.pools.connection import connected
from benchmarks.sweep import SUITE, TASKS, space

CONCURRENT, REPORTS = (1, 4, 16, 64), 6400
"""Trials at a time, and rounds that all of them report together."""
SHARE = {"cpu": 0.01}
"""What a trial and its driver occupy: all of them run at the same time."""


class Samples(threading.Thread):
    """Takes this process's CPU time every moment."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.taken: list[tuple[float, float]] = []

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.taken.append((time.time(), time.process_time()))
            time.sleep(0.2)

    def between(self, first: float, last: float) -> float:
        """CPU seconds from one moment to another."""
        begin, end = (min(self.taken, key=lambda one: abs(one[0] - moment))[1] for moment in (first, last))
        return end - begin


def reporting(count: int, row: Mapping[str, Any], theta: Any, test: Mapping[str, float]) -> Any:
    """A trial that waits for the others of `count`, reports rounds as often as it can, and leaves what a trial does."""

    def trial(config: Mapping[str, Any]) -> None:  # within a function: Ray sends it whole, without this module
        from ray import tune

        from avil_ray.reports.records import trial_folder, write_record
        from avil_ray.sweeps.trial import Job, make_record, save_theta

        job, facts = Job(**config["job"]), config["trial"]
        folder = trial_folder(Path(job.folder), facts["key"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "here").touch()
        while len(list(folder.parent.glob("*/here"))) < count:
            time.sleep(0.1)
        rows = [{**row, "round": number} for number in range(job.rounds)]
        for one in rows:
            tune.report({"round": one["round"], "score": 0.5, "row": pickle.dumps(one)})
        save_theta(folder, theta)
        found = {"select": 0.5, "test": test, "best_round": job.rounds - 1}
        write_record(folder, make_record(facts, "finished", rows, **found))

    return trial


def trials() -> Iterator[dict[str, Any]]:
    """Rounds a second that the sweep takes while all trials run, and its CPU seconds for each."""
    from avil_ray.sweeps import sweep as module
    from avil_ray.tracking.callback import TrackingCallback

    suite, method = build_suite(SUITE), avil.Static(weights=dict.fromkeys(TASKS, 0.5))
    real = avil.train(suite, method, rounds=1, steps_per_round=1, seed=0)
    times: dict[str, list[float]] = {}
    usual, samples = TrackingCallback.log_trial_result, Samples()

    def noting(self: TrackingCallback, iteration: int, trial: Any, result: Any) -> None:
        usual(self, iteration, trial, result)
        times.setdefault(trial.trial_id, []).append(time.time())

    TrackingCallback.log_trial_result = noting  # type: ignore[method-assign]
    samples.start()
    with tempfile.TemporaryDirectory() as folder:
        for count in CONCURRENT:
            times.clear()
            trial = reporting(count, dict(real.rows[0]), real.theta, dict(real.test))
            module._run_here = trial  # noqa: SLF001 (the one thing that is not real)
            resources = {"per_task": SHARE, "driver": SHARE, "slots": 1}
            asked = space(
                f"trials-{count}",
                count,
                seeds=1,
                rounds=REPORTS // count,
                resources=resources,
                search={"vectorize": False},
            )
            with connected("local", cpus=2):
                avil.sweep(asked, storage=folder)
            first, last = max(part[0] for part in times.values()), min(part[-1] for part in times.values())
            reports = sum(first < moment <= last for part in times.values() for moment in part)
            cpu = samples.between(first, last) / reports
            yield {"trials": count, "reports": reports, "rate": reports / (last - first), "cpu": cpu}
