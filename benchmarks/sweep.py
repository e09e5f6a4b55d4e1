"""What a sweep costs beside its training: `python benchmarks/sweep.py`, or with the names of parts (`… sweep.py real`).

simulated: 500 and 2,000 trials (100 and 400 configurations, five seeds) whose training is nothing, four at a time; all
else is real: Ray Tune, records, the tracking store, the report. Then `--resume` with all trials done, and `report`.
real: 500 trials of one step each. static: 32 trials of about five seconds of training each, two at a time.
Each measurement is a process of its own; its CPU time and memory are those of this process alone, without Ray's and the
one that writes to the tracking store.
"""

from __future__ import annotations

import argparse
import io
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
ROUNDS, SEEDS = 5, 5
"""Of a simulated trial: rounds, and seeds of each configuration."""
STEPS = 140
"""Of a round of the static trials: ten rounds take about five seconds on a core of 2020."""


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
    """Let trials do nothing in place of training; they report, and leave what a trial leaves."""
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


class Stamped(io.StringIO):
    """What a sweep prints, kept only as far as it says when it starts."""

    started = 0.0

    def write(self, text: str) -> int:
        """Note the time at which the trials are looked through."""
        if "are already done" in text:
            self.started = time.time()
        return len(text)


def measured(what: str, trials: int, folder: Path) -> dict[str, float]:
    """One measurement, in this process: seconds by the clock, seconds of CPU, MiB."""
    samples, printed = Samples(), Stamped()
    samples.start()
    if what == "report":
        from avil_ray.cli import app

        app(["report", f"s{trials}", "--storage", str(folder)], standalone_mode=False)
    else:
        run(what, trials, folder, printed)
    samples.take()
    wall, cpu, _ = samples.taken[-1]
    found = {"wall": wall, "cpu": cpu, "memory": max(memory for _, _, memory in samples.taken)}
    if printed.started:
        found["started"] = printed.started - samples.began
    times = sorted(path.stat().st_mtime for path in (folder / f"s{trials}").glob("trials/*/result.json"))
    if what not in ("report", "resume"):
        first, last = samples.at(times[0] - samples.began), samples.at(times[-1] - samples.began)
        found |= {"first": first[0], "last": last[0], "cpu_between": last[1] - first[1]}
        found |= {"memory_first": first[2], "memory_last": last[2]}
    return found


def run(what: str, trials: int, folder: Path, printed: Stamped) -> None:
    """A sweep of one kind."""
    from rich.console import Console

    from avil_ray.pools.connection import connected
    from avil_ray.spaces.search_space import read_search_space
    from avil_ray.sweeps.sweep import run_sweep

    shape: dict[str, Any] = {"configurations": trials // SEEDS}
    if what == "real":
        shape |= {"rounds": 1, "resources": {"per_task": {"cpu": 0.5}, "driver": {"cpu": 0.5}, "slots": 1}}
    if what == "static":
        shape |= {"configurations": trials // 4, "seeds": 4, "rounds": 10, "steps_per_round": STEPS}
        shape |= {"resources": {"per_task": {"cpu": 1}, "driver": {"cpu": 0}, "slots": 1}}
    if what in ("simulated", "resume"):
        simulate()
    with connected("local", cpus=2):
        known, console = read_search_space(space(f"s{trials}", **shape)), Console(file=printed)
        outcome = run_sweep(known, folder, resume=what == "resume", console=console)
    if outcome.failed or outcome.unfinished or outcome.trouble:
        raise SystemExit(f"{outcome.failed} failed, {outcome.unfinished} unfinished, {outcome.trouble}")


def measure(what: str, trials: int, folder: Path) -> dict[str, float]:
    """One measurement, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, __file__, "one", "--trials", str(trials), "--kind", what, "--folder", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(what, trials, {name: round(value, 1) for name, value in found.items()}, flush=True)
    return found


def compare(counts: list[int], folder: Path) -> None:
    """Simulated sweeps of several sizes, each resumed and reported again."""
    for trials in counts:
        found = measure("simulated", trials, folder)
        clock, cpu = found["last"] - found["first"], found["cpu_between"]
        print(f"{trials}: {1000 * clock / trials:.1f} ms a trial, {1000 * cpu / trials:.1f} ms of CPU here", flush=True)
        measure("resume", trials, folder)
        measure("report", trials, folder)


def main() -> None:
    """All parts, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["simulated", "real", "static"], help="which; all if not given")
    parser.add_argument("--trials", nargs="+", type=int, default=[500, 2000], help="of the simulated sweeps")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where to keep the sweeps; removed at the end if not given")
    given = parser.parse_args()
    if given.kind:
        print(json.dumps(measured(given.kind, given.trials[0], given.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if "simulated" in given.parts:
            compare(given.trials, folder)
        if "real" in given.parts:
            found = measure("real", 500, folder / "real")
            print(f"500 real trials: {found['last'] - found['first']:.0f} s from the first to the last", flush=True)
        if "static" in given.parts:
            found = measure("static", 32, folder / "static")
            print(f"32 static trials: {found['wall']:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
