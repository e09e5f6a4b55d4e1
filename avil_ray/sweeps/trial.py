"""One trial of a sweep: what Ray Tune runs, in a process that drives the trial's own workers.

A trial stores itself in its folder on the sweep's storage: a checkpoint after every round, its record at the end. So a
retry, on any node, goes on from the last round, and a sweep that was killed knows what is done without Tune's help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avil_ray import checkpoint
from avil_ray.errors import WorkFailed
from avil_ray.pools.pool import Pool
from avil_ray.reports.records import Cost, Status, TrialRecord, replace_file, trial_folder, write_record
from avil_ray.rounds import Round
from avil_ray.tasks.objectives import METRICS

CHECKPOINT, THETA = "checkpoint", "theta.safetensors"


@dataclass(frozen=True)
class Job:
    """What all trials of a sweep have in common; plain values, as it travels to other nodes.

    Parameters
    ----------
    folder
        The sweep's folder on storage that every node sees.
    suite
        The suite's specification: name or factory, and options.
    metric
        The target's metric, which schedulers compare trials by.
    rounds, steps_per_round
        The length of a run.
    per_task, driver
        What a worker and a trial's driver occupy: {"CPU": 1.0, "GPU": 0.5}.
    threads, timeout
        CPU threads of each process; seconds that a pool waits for an answer.
    """

    folder: str
    suite: Mapping[str, Any]
    metric: str
    rounds: int
    steps_per_round: int
    per_task: Mapping[str, float]
    driver: Mapping[str, float]
    threads: int
    timeout: float


def run_trial(config: Mapping[str, Any]) -> None:
    """Ray Tune's trainable: run `config["trial"]` under `config["job"]`, and report every round."""
    from ray import tune

    from avil_ray.catalog import build_method, build_suite
    from avil_ray.training import train

    job, facts = Job(**config["job"]), config["trial"]
    if not Path(job.folder).is_dir():
        raise WorkFailed(f"{job.folder} is not there on this node: the storage must be mounted on every node")
    suite, folder = build_suite(job.suite), trial_folder(Path(job.folder), facts["key"])
    method = build_method(facts["method"], facts["options"])
    rows: list[Mapping[str, Any]] = []

    def report(row: Mapping[str, Any]) -> None:
        rows.append(row)
        tune.report({**row, "score": best_so_far(rows, job.metric)})

    def after_round(done: Round) -> None:
        report(done.row)

    for row in checkpoint.rows(folder / CHECKPOINT):  # a retry tells again what the first attempt may not have told
        report(row)
    result = train(
        suite,
        method,
        rounds=job.rounds,
        steps_per_round=job.steps_per_round,
        seed=facts["seed"],
        pool=lambda: open_pool(job, facts, method.prepare(suite)),
        threads=job.threads,
        output=folder / CHECKPOINT,
        resume=True,
        on_round=after_round,
    )
    save_theta(folder / THETA, result.theta)
    found = {"select": result.select, "test": dict(result.test), "best_round": result.best_round}
    write_record(folder, make_record(facts, "finished", rows, **found))
    checkpoint.remove(folder / CHECKPOINT)


def best_so_far(rows: Sequence[Mapping[str, Any]], metric: str) -> float:
    """The best figure on select so far, which schedulers compare: NaN where no round has a finite figure.

    A round's own figure would not do, as a phase may start anew and be behind for some rounds.
    """
    best = max if METRICS[metric].mode == "max" else min
    return best((one for row in rows if math.isfinite(one := float(row[f"select/{metric}"]))), default=math.nan)


def open_pool(job: Job, facts: Mapping[str, Any], suite: Any) -> AbstractContextManager[Pool]:
    """The workers of a trial, in the trial's own placement group, behind the driver's bundle.

    Tune drops a driver's bundle that asks for nothing, so the workers' bundles are counted from the end.
    """
    from ray.util import get_current_placement_group

    from avil_ray.pools.ray_pool import RayPool, Slots

    group = get_current_placement_group()
    if group is None:
        raise WorkFailed("a trial must run inside a placement group of its own")
    slots = Slots(facts["slots"], job.per_task, group, len(group.bundle_specs) - facts["slots"])
    return RayPool(suite, facts["seed"], job.threads, slots, timeout=job.timeout, keep_warm=True)


def make_record(
    facts: Mapping[str, Any], status: Status, rows: Sequence[Mapping[str, Any]], **found: Any
) -> TrialRecord:
    """A trial's record from what was asked (`facts`), how it ended, its rounds and its figures."""
    import pandas as pd

    named = {name: facts[name] for name in ("key", "label", "method", "configuration", "options", "seed")}
    cost = Cost(
        gradient_steps=sum(int(row["cost/gradient_steps"]) for row in rows),
        device_seconds=sum(row["time/device"] for row in rows),
        wall_seconds=sum(row["time/round"] for row in rows),
    )
    return TrialRecord(**named, status=status, cost=cost, history=pd.DataFrame(rows), **found)


def save_theta(path: Path, theta: Any) -> None:
    """The best parameters, float32 [P], as safetensors."""
    from safetensors.numpy import save

    replace_file(path, save({"theta": theta}))
