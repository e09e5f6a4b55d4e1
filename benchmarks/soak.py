"""A sweep under which something is killed every few seconds: `python benchmarks/soak.py --minutes 10`.

First a sweep runs undisturbed. Then others run beside a stream of faults, each drawn at random: a worker, a trial or
Ray's own daemon is killed, a worker is halted, or the whole sweep is interrupted, terminated or killed, and then
resumed. Every one must come to what the undisturbed one came to, to the last bit: the parameters of every trial, its
history, its test figures, and the comparison; with one run for each trial in MLflow, every round in it once, and no
process left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from avil_ray.reports.records import read_records, trial_folder
from avil_ray.sweeps.trial import THETA
from avil_ray.telemetry import no_calls_home

SPACE: dict[str, Any] = {
    "suite": {"name": "synthetic", "target_labels": 40, "train": 60},
    "rounds": 30,
    "steps_per_round": 20,
    "seeds": [0, 1],
    "resources": {"driver": {"cpu": 0.5}, "per_task": {"cpu": 0.5}, "slots": 2, "timeout": 15},
    "methods": [{"method": "alpha-vil"}, {"method": "equal"}, {"method": "static", "weights": {}}],
}

WORKER, TRIAL, DAEMON = "ray::Worker", "ray::ImplicitFunc", "raylet"
FAULTS = {
    "worker killed": (WORKER, signal.SIGKILL, 6),
    "worker halted": (WORKER, signal.SIGSTOP, 2),
    "trial killed": (TRIAL, signal.SIGKILL, 3),
    "Ray's daemon killed": (DAEMON, signal.SIGKILL, 1),
    "sweep interrupted": ("", signal.SIGINT, 1),
    "sweep terminated": ("", signal.SIGTERM, 1),
    "sweep killed": ("", signal.SIGKILL, 1),
}
"""Name -> whom it hits ("": the command itself), the signal, and how often it is drawn beside the others."""

ENDS = 120.0
"""Seconds in which all processes of a sweep must be gone: two of Ray's own stay for a minute where it was killed."""
STUCK = 300.0
"""Seconds without a new checkpoint or record after which a sweep counts as stuck."""


def living(temporary: Path) -> Iterator[tuple[int, str]]:
    """The ids and names of the processes of the Ray that keeps its files in a folder, and of those that use it.

    Ray's workers have no environment to see, but open logs.
    """
    ours = str(temporary)
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            called, state = (place / "cmdline").read_text(errors="replace"), (place / "stat").read_text()
            told = called + (place / "environ").read_text(errors="replace") + str((place / "fd" / "1").readlink())
            if ours in told and state.rpartition(")")[2].split()[0] != "Z":
                yield int(place.name), called.replace("\0", " ").strip()


@dataclass
class Soak:
    """What is run, and what has befallen it.

    Parameters
    ----------
    place
        A folder for everything; the storage stands in it.
    every
        Seconds between two faults, on average.
    chance
        Draws them.
    """

    place: Path
    every: float
    chance: random.Random
    befell: Counter[str] = field(default_factory=Counter)
    starts: int = 0

    @property
    def storage(self) -> Path:
        """The folder of sweeps."""
        return self.place / "storage"

    def start(self, name: str) -> tuple[subprocess.Popen[bytes], Path]:
        """The command that runs or resumes a sweep, and the folder of its Ray's files."""
        self.starts += 1
        temporary = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # short, as sockets stand in it
        space = self.place / f"{name}.yaml"
        space.write_text(yaml.safe_dump({"name": name, **SPACE}))
        resume = ["--resume"] if (self.storage / name / "space.yaml").exists() else []
        command = [sys.executable, "-m", "avil_ray", "sweep", str(space), "--storage", str(self.storage)]
        with (self.place / f"{name}.txt").open("ab") as said:
            process = subprocess.Popen(  # noqa: S603 (our own command)
                [*command, "--address", "local", *resume],
                env={**os.environ, "RAY_TMPDIR": str(temporary)},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process, temporary

    def run(self, name: str, *, disturbed: bool, until: float) -> None:
        """Run a sweep to its end, resumed at once as often as that takes; nothing befalls it after `until`."""
        places: list[Path] = []
        try:
            while True:
                process, temporary = self.start(name)
                places.append(temporary)
                self.watch(process, temporary, name, disturbed=disturbed, until=until)
                if process.returncode == 0:
                    break
                if not disturbed:
                    raise SystemExit(f"the undisturbed sweep ended with status {process.returncode}: see {self.place}")
            self.require_gone(places)
        finally:
            for place in places:
                for one, _ in living(place):
                    with suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
                shutil.rmtree(place, ignore_errors=True)

    def watch(
        self, process: subprocess.Popen[bytes], temporary: Path, name: str, *, disturbed: bool, until: float
    ) -> None:
        """Wait for the command's end while things befall it."""
        seen, since = self.progress(name), time.monotonic()
        next_fault = time.monotonic() + self.chance.expovariate(1 / self.every)
        while process.poll() is None:
            time.sleep(0.1)
            now = time.monotonic()
            if (there := self.progress(name)) != seen:
                seen, since = there, now
            if now - since > STUCK:
                raise SystemExit(f"{name}: nothing new for {STUCK:.0f} s: see {self.place}")
            if disturbed and next_fault < now < until:
                self.strike(process, temporary)
                next_fault = now + self.chance.expovariate(1 / self.every)

    def progress(self, name: str) -> tuple[float, ...]:
        """What changes as a sweep goes on: the times of its checkpoints and records."""
        found = []
        for path in (self.storage / name / "trials").glob("*/**/*.*"):
            with suppress(OSError):
                found.append(path.stat().st_mtime)
        return tuple(sorted(found))

    def strike(self, process: subprocess.Popen[bytes], temporary: Path) -> None:
        """One fault, drawn among those that there is someone for."""
        there = [(process.pid, ""), *((one, called) for one, called in living(temporary) if called)]
        victims = {
            fault: [one for one, called in there if (_of(called, kind) if kind else one == process.pid and not called)]
            for fault, (kind, _, _) in FAULTS.items()
        }
        names = [fault for fault, found in victims.items() if found]
        fault = self.chance.choices(names, [FAULTS[one][2] for one in names])[0]
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(victims[fault]), FAULTS[fault][1])
            self.befell[fault] += 1

    def require_gone(self, places: Sequence[Path]) -> None:
        """Wait until no process of a sweep that is done is left."""
        until = time.monotonic() + ENDS
        while left := [one for place in places for one in living(place)]:
            if time.monotonic() > until:
                raise SystemExit(f"left behind: {left}")
            time.sleep(0.5)

    def differences(self, name: str, other: str) -> list[str]:
        """How a sweep differs from the undisturbed one, in lines."""
        found = []
        mine, theirs = ({one.key: one for one in read_records(self.storage / each)} for each in (name, other))
        if mine.keys() != theirs.keys():
            return [f"{name}: trials {sorted(mine)}, not {sorted(theirs)}"]
        for key, record in mine.items():
            thetas = [(trial_folder(self.storage / each, key) / THETA).read_bytes() for each in (name, other)]
            columns = [column for column in map(str, theirs[key].history) if not column.startswith("time/")]
            same = thetas[0] == thetas[1] and record.history[columns].equals(theirs[key].history[columns])
            if not (same and (record.status, record.test) == (theirs[key].status, theirs[key].test)):
                found.append(f"{name}: trial {key} differs")
        if self.comparison(name) != self.comparison(other):
            found.append(f"{name}: another comparison")
        return [*found, *self.wrong_runs(name)]

    def comparison(self, name: str) -> Any:
        """The comparison without its name and without times."""
        return _untimed(json.loads((self.storage / name / "summary.json").read_text()))

    def wrong_runs(self, name: str) -> list[str]:
        """What is wrong with a sweep's runs in MLflow, in lines."""
        from avil_ray.tracking.store import open_store

        client = open_store(f"sqlite:///{self.storage}/mlflow.db")
        experiments = [one.experiment_id for one in client.search_experiments()]
        runs = [run for run in client.search_runs(experiments) if run.data.tags["avil.key"].split("/")[0] == name]
        keys = Counter(run.data.tags["avil.key"] for run in runs)
        expected = [name, *(f"{name}/{record.key}" for record in read_records(self.storage / name))]
        found = [] if keys == Counter(expected) else [f"{name}: runs {dict(keys)}"]
        found += [f"{run.data.tags['avil.key']}: {run.info.status}" for run in runs if run.info.status != "FINISHED"]
        for run in runs:
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "select/accuracy")]
            if len(steps) != len(set(steps)):
                found.append(f"{run.data.tags['avil.key']}: a round stands there twice")
        return found


def _of(called: str, kind: str) -> bool:
    """Whether a process of this name is of a kind."""
    return called.startswith(kind) or Path(called.split(" ")[0]).name == kind


def _untimed(content: Any) -> Any:
    """Plain values without those that time decides."""
    if isinstance(content, dict):
        left = {name: _untimed(value) for name, value in content.items() if "seconds" not in name}
        return {name: value for name, value in left.items() if name not in ("sweep", "reserved_cost_ratio", "busy")}
    return [_untimed(one) for one in content] if isinstance(content, list) else content


def main() -> None:
    """Soak for some minutes; the exit status is 1 where anything came out otherwise than undisturbed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=6.0, help="seconds between two faults, on average")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    no_calls_home()
    place = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(place, asked.every, random.Random(asked.seed))  # noqa: S311 (no secret)
    soak.storage.mkdir()
    soak.run("undisturbed", disturbed=False, until=0.0)
    until, wrong, sweeps = time.monotonic() + 60 * asked.minutes, list[str](), 0
    while time.monotonic() < until:
        sweeps += 1
        soak.run(f"disturbed-{sweeps}", disturbed=True, until=until)
        wrong += soak.differences(f"disturbed-{sweeps}", "undisturbed")
    for fault in FAULTS:
        print(f"{soak.befell[fault]:4d}  {fault}")
    trials = sweeps * len(SPACE["methods"]) * len(SPACE["seeds"])
    print(f"{sweeps} sweeps of {trials} trials in all, started {soak.starts - 1} times")
    if wrong:
        raise SystemExit("\n".join([*wrong, f"see {place}"]))
    print("every one came to what the undisturbed one came to, to the last bit")
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
