"""What a sweep costs beside its training: `python benchmarks/sweep.py`, or `… simulated` for one part.

simulated: 500 and 2,000 trials (100 and 400 configurations, five seeds) whose training is a sleep, in four processes;
all else is real: Ray Tune, records, the tracking store, the report. Then `--resume` with all trials done, and `report`.
real: 500 trials of one step each. static: 32 trials of about five seconds of training each, on two cores.
Every measurement is a process of its own; its CPU time is that of this process alone, without Ray's.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TASKS = ("helpful_1", "helpful_2", "neutral_1", "harmful_1", "harmful_2", "noise_1")
SUITE = {"name": "synthetic", "target_labels": 40, "train": 60}
ROUNDS, SEEDS, SLEEP = 5, 5, 0.0
"""Of a simulated trial: rounds, seeds of each configuration, and seconds that its training takes."""


def space(name: str, configurations: int, seeds: int = SEEDS, **changes: Any) -> dict[str, Any]:
    """A search space of static weights."""
    weights: dict[str, Any] = dict.fromkeys(TASKS, 0.5)
    weights["helpful_1"] = {"grid": [round(number / configurations, 6) for number in range(configurations)]}
    return {
        "name": name,
        "suite": SUITE,
        "rounds": ROUNDS,
        "steps_per_round": 1,
        "seeds": list(range(seeds)),
        "resources": {"per_task": {"cpu": 0.25}, "driver": {"cpu": 0.25}, "slots": 1},
        "methods": [{"method": "static", "weights": weights}],
        **changes,
    }


def simulate() -> None:
    """Let trials sleep in place of training; they report, and leave what a trial leaves."""
    import avil_ray as avil
    from avil_ray.catalog import build_suite
    from avil_ray.sweeps import sweep

    suite = build_suite(SUITE)
    weights = dict.fromkeys(TASKS, 0.5)
    known = avil.train(suite, avil.Static(weights=weights), rounds=1, steps_per_round=1, seed=0)
    theta, row = known.theta, dict(known.rows[0])

    def trial(config: Mapping[str, Any]) -> None:
        from ray import tune

        from avil_ray.reports.records import trial_folder, write_record
        from avil_ray.storage import make_folder
        from avil_ray.sweeps.trial import THETA, Job, make_record, save_theta

        job, facts = Job(**config["job"]), config["trial"]
        folder = trial_folder(Path(job.folder), facts["key"])
        make_folder(folder)
        rows = []
        for number in range(job.rounds):
            time.sleep(SLEEP / job.rounds)
            figure = (hash((facts["configuration"], facts["seed"])) % 1000 + number) / 2000
            rows.append({**row, "round": number, "select/accuracy": figure})
            tune.report({"round": number, "score": figure, "row": pickle.dumps(rows[-1])})
        save_theta(folder / THETA, theta)
        found = {"select": rows[-1]["select/accuracy"], "test": known.test, "best_round": job.rounds - 1}
        write_record(folder, make_record(facts, "finished", rows, **found))

    sweep._run_here = trial  # noqa: SLF001 (the one thing that is not real)


class Samples(threading.Thread):
    """Takes this process's CPU time and memory every half second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.taken: list[tuple[float, float, float]] = []
        self.began = time.time()

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.take()
            time.sleep(0.5)

    def take(self) -> None:
        """Seconds since the start, CPU seconds, MiB."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.taken.append((time.time() - self.began, time.process_time(), pages * resource.getpagesize() / 2**20))

    def at(self, moment: float) -> tuple[float, float, float]:
        """The sample nearest to a moment."""
        return min(self.taken, key=lambda one: abs(one[0] - moment))


def measured(what: str, trials: int, folder: Path) -> dict[str, float]:
    """One measurement, in this process: seconds by the clock, seconds of CPU, MiB."""
    samples = Samples()
    samples.start()
    if what == "report":
        from avil_ray.cli import app

        app(["report", f"s{trials}", "--storage", str(folder)], standalone_mode=False)
    else:
        run(what, trials, folder)
    samples.take()
    wall, cpu, _ = samples.taken[-1]
    found = {"wall": wall, "cpu": cpu, "memory": max(memory for _, _, memory in samples.taken)}
    times = sorted(path.stat().st_mtime for path in (folder / f"s{trials}").glob("trials/*/result.json"))
    if what in ("report", "resume") or not times:
        return found
    first, last = samples.at(times[0] - samples.began), samples.at(times[-1] - samples.began)
    found |= {"first": first[0], "last": last[0], "cpu_between": last[1] - first[1]}
    return found | {"memory_first": first[2], "memory_last": last[2]}


def run(what: str, trials: int, folder: Path) -> None:
    """A sweep of one kind."""
    from rich.console import Console

    from avil_ray.pools.connection import connected
    from avil_ray.sweeps.start import sweep

    shape: dict[str, Any] = {"configurations": trials // SEEDS}
    if what == "real":
        shape |= {"rounds": 1, "resources": {"per_task": {"cpu": 0.5}, "driver": {"cpu": 0.5}, "slots": 1}}
    if what == "static":
        shape |= {
            "configurations": trials // 4,
            "seeds": 4,
            "rounds": 10,
            "steps_per_round": int(os.environ.get("STEPS", "140")),
        }
        shape |= {"resources": {"per_task": {"cpu": 1}, "driver": {"cpu": 0}, "slots": 1}}
    if what in ("simulated", "resume"):
        simulate()
    with connected("local", cpus=2):
        outcome = sweep(space(f"s{trials}", **shape), storage=folder, resume=what == "resume")
    Console().print(f"{len(outcome.comparison.methods)} methods, {outcome.failed} failed, trouble: {outcome.trouble}")


def measure(what: str, trials: int, folder: Path) -> dict[str, float]:
    """One measurement, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "one", what, str(trials), str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(what, trials, {name: round(value, 1) for name, value in found.items()}, flush=True)
    return found


def main(parts: list[str]) -> None:
    """All parts, or those that are named."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("BENCH_FOLDER", temporary))
        if "simulated" in parts:
            for trials in map(int, os.environ.get("TRIALS", "500,2000").split(",")):
                found = measure("simulated", trials, folder)
                clock, cpu = found["last"] - found["first"], found["cpu_between"]
                print(
                    f"{trials}: {1000 * clock / trials:.1f} ms a trial, {1000 * cpu / trials:.1f} ms CPU of the driver"
                )
                measure("resume", trials, folder)
                measure("report", trials, folder)
        if "real" in parts:
            measure("real", int(os.environ.get("REAL", "500")), folder)
        if "static" in parts:
            measure("static", 32, folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        what, trials, folder = sys.argv[2:]
        if os.environ.get("PROFILE"):
            import cProfile

            profile = cProfile.Profile()
            profile.enable()
        found = measured(what, int(trials), Path(folder))
        if os.environ.get("PROFILE"):
            profile.disable()
            profile.dump_stats(os.environ["PROFILE"] + what)
        print(json.dumps(found))
    else:
        main(sys.argv[1:] or ["simulated", "real", "static"])
