"""How many rounds a second a sweep takes from concurrent trials, which do nothing but report."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import avil_ray as avil
from avil_ray.pools.connection import connected

CONCURRENT, REPORTS = (1, 4, 16, 64), 1500
"""Trials at a time, and rounds that all of them report together."""
TASKS = ("helpful_1", "helpful_2", "neutral_1", "harmful_1", "harmful_2", "noise_1")
SUITE = {"name": "synthetic", "target_labels": 40, "train": 60}


def space(count: int) -> dict[str, Any]:
    """A search space of so many trials, all of which run at the same time."""
    weights: dict[str, Any] = dict.fromkeys(TASKS, 0.5)
    weights["helpful_1"] = {"grid": [round(number / count, 6) for number in range(count)]}
    return {
        "name": f"trials-{count}",
        "suite": SUITE,
        "rounds": REPORTS // count,
        "steps_per_round": 1,
        "seeds": [0],
        "resources": {"per_task": {"cpu": 0.01}, "driver": {"cpu": 0.01}, "slots": 1},
        "methods": [{"method": "static", "weights": weights}],
    }


def reporting(row: Mapping[str, Any], theta: Any, test: Mapping[str, float]) -> Any:
    """A trial that reports a real trial's row as often as it can, and leaves what a trial leaves."""

    def trial(config: Mapping[str, Any]) -> None:  # within a function, so that Ray does not import this module for it
        from ray import tune

        from avil_ray.reports.records import trial_folder, write_record
        from avil_ray.storage import make_folder
        from avil_ray.sweeps.trial import THETA, Job, make_record, save_theta

        job, facts = Job(**config["job"]), config["trial"]
        folder, rows, times = trial_folder(Path(job.folder), facts["key"]), [], []
        make_folder(folder)
        for number in range(job.rounds):
            rows.append({**row, "round": number})
            tune.report({**rows[-1], "score": 0.5})
            times.append(time.time())
        (folder / "times").write_text("\n".join(map(str, times)))
        save_theta(folder / THETA, theta)
        found = {"select": 0.5, "test": test, "best_round": job.rounds - 1}
        write_record(folder, make_record(facts, "finished", rows, **found))

    return trial


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


def trials() -> Iterator[dict[str, Any]]:
    """Rounds a second that the sweep takes while all trials run, and its CPU seconds for each."""
    from avil_ray.sweeps import sweep as module

    weights = dict.fromkeys(TASKS, 0.5)
    one = avil.train(
        avil.suites.synthetic(target_labels=40, train=60),
        avil.Static(weights=weights),
        rounds=1,
        steps_per_round=1,
        seed=0,
    )
    module._run_here = reporting(dict(one.rows[0]), one.theta, dict(one.test))  # noqa: SLF001 (the one thing not real)
    samples = Samples()
    samples.start()
    with tempfile.TemporaryDirectory() as folder:
        for count in CONCURRENT:
            with connected("local", cpus=2):
                avil.sweep(space(count), storage=folder)
            files = Path(folder).glob(f"*-{count}/trials/*/times")
            times = [[float(line) for line in file.read_text().split()] for file in files]
            first, last = max(part[0] for part in times), min(part[-1] for part in times)
            reports = sum(first < moment <= last for part in times for moment in part)
            cpu = samples.between(first, last) / reports
            yield {"trials": count, "reports": reports, "rate": reports / (last - first), "cpu": cpu}
