"""One trial of a sweep: what Ray Tune runs, in a process that drives the trial's own workers.

A trial stores itself in its folder on the sweep's storage: checkpoints as it goes, its record at the end. So a
retry, on any node, continues from the last of them, and a sweep that was killed knows what is done without Tune's help.
"""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from avil_ray import checkpoint
from avil_ray.container import Container, Damaged, pack, unpack
from avil_ray.errors import UserError, WorkFailed
from avil_ray.launching import Ranks
from avil_ray.learning.parameters import Vector
from avil_ray.locking import locked
from avil_ray.pools.pool import Pool
from avil_ray.reports.records import HISTORY, Cost, Status, TrialRecord, trial_folder, write_record
from avil_ray.rounds import Round
from avil_ray.storage import Place, Storage, at, discard, why
from avil_ray.sweeps.storage import SPACE
from avil_ray.tracking.items import ROUND, ROW

log = logging.getLogger(__name__)

CHECKPOINT, THETA = "checkpoint", "theta.safetensors"
PATIENCE = 60.0
"""Seconds that a trial waits for an earlier attempt to let go of its folder."""


@dataclass(frozen=True)
class Job:
    """What all trials of a sweep have in common; plain values, as it travels to other nodes.

    Parameters
    ----------
    folder
        The sweep's folder on storage that every node sees.
    suite
        The suite's specification: name or factory, and options.
    metric, mode
        The target's metric, which schedulers compare trials by, and which way is better.
    rounds, steps_per_round
        The length of a run.
    pool
        Where a trial's assignments run: ray, train or inline.
    per_task, driver
        What a worker and a trial's driver occupy: {"CPU": 1.0, "GPU": 0.5}.
    threads, timeout
        CPU threads of each process; seconds that a pool waits for an answer.
    checkpoint_every
        Seconds between checkpoints of a large model; see `train`.
    """

    folder: str
    suite: Mapping[str, Any]
    metric: str
    mode: str
    rounds: int
    steps_per_round: int
    pool: str
    per_task: Mapping[str, float]
    driver: Mapping[str, float]
    threads: int
    timeout: float
    checkpoint_every: float


def run_trial(config: Mapping[str, Any]) -> None:
    """Ray Tune's trainable: run `config["trial"]` under `config["job"]`, and report every round."""
    from ray import tune
    from ray.util import get_current_placement_group

    from avil_ray.catalog import build_suite, build_trial
    from avil_ray.pools.notice import Notice
    from avil_ray.training import train

    job, facts = Job(**config["job"]), config["trial"]
    sweep = at(job.folder)
    if not sweep.exists(SPACE):  # the folder alone may be one that Tune has made
        raise WorkFailed(unseen(sweep))
    folder = trial_folder(sweep, facts["key"])
    suite, method = build_trial(build_suite(job.suite), facts["method"], facts["options"])
    rows: list[Mapping[str, Any]] = []
    notice = Notice(get_current_placement_group())

    def report(row: Mapping[str, Any]) -> None:
        rows.append(row)
        score = best_so_far(rows, job.metric, job.mode)
        tune.report({ROUND: row[ROUND], "score": score, ROW: pickle.dumps(dict(row))})

    def after_round(done: Round) -> None:
        report(done.row)
        if notice.given:
            notice.leave()

    # where the sweep was killed, an attempt of its last start may still be ending
    with locked(folder, wait=PATIENCE):
        make_ready(folder)
        for row in checkpoint.rows(folder / CHECKPOINT):  # the first attempt may not have told them
            report(row)
        result = train(
            suite,
            method,
            rounds=job.rounds,
            steps_per_round=job.steps_per_round,
            seed=facts["seed"],
            pool=pool_of(job, facts, method.prepare(suite)),
            threads=job.threads,
            output=folder / CHECKPOINT,
            resume=True,
            checkpoint_every=job.checkpoint_every,
            on_round=after_round,
            store_now=notice.arrived,
        )
        save_theta(folder, result.theta)
        found = {"select": result.select, "test": dict(result.test), "best_round": result.best_round}
        write_record(folder, make_record(facts, "finished", rows, **found))
        folder.delete(CHECKPOINT)


def unseen(sweep: Storage) -> str:
    """What is wrong where a node does not see the sweep's folder."""
    advice = "the storage must be mounted" if sweep.local else "the store must be reachable, with credentials,"
    return f"{sweep} is not visible on this node: {advice} on every node"


def make_ready(place: Place) -> list[str]:
    """Clear a trial's folder of what it cannot continue from, so that it starts anew; what was found, in lines."""
    folder, said = at(place), []
    path = folder.local
    if path is not None and path.exists() and not path.is_dir():
        said.append(f"{folder} is not a folder; it is replaced")
        discard(path)
    for name in (HISTORY, THETA):
        if (folder / name).is_there():
            folder.delete(name)
    if folder.exists(CHECKPOINT) and not (folder / CHECKPOINT).is_there():
        said.append(f"{folder.where(CHECKPOINT)} is not a folder; it is replaced")
        folder.delete(CHECKPOINT)
    try:
        checkpoint.rows(folder / CHECKPOINT)
    except Damaged as error:
        said.append(f"{error}; the trial restarts from its first round")
        log.warning("%s", said[-1])
        folder.delete(CHECKPOINT)
    except UserError:  # of another version, say: the trial itself fails of it, with the reason
        pass
    return said


def best_so_far(rows: Sequence[Mapping[str, Any]], metric: str, mode: str) -> float:
    """The best figure on select so far, which schedulers compare: NaN where no round has a finite figure.

    A round's own figure would not do, as a track may start anew and be behind for some rounds.
    """
    best, column = max if mode == "max" else min, f"select/{metric}"
    figures = (float(value) for row in rows for name, value in row.items() if name.endswith(column))
    return best((figure for figure in figures if math.isfinite(figure)), default=math.nan)


def pool_of(job: Job, facts: Mapping[str, Any], suite: Any) -> Any:
    """What `train` is told as the pool of a trial: with one slot, the trial's own process is its worker."""
    if job.pool == "train":
        return Ranks(facts["slots"], job.per_task, job.timeout)
    return "inline" if facts["slots"] == 1 else lambda: open_pool(job, facts, suite)


def open_pool(job: Job, facts: Mapping[str, Any], suite: Any) -> AbstractContextManager[Pool]:
    """The workers of a trial, in the trial's own placement group, behind the driver's bundle.

    Tune drops a driver's bundle that asks for nothing, so the workers' bundles are counted from the end.
    """
    from ray.util import get_current_placement_group

    from avil_ray.pools.crew import Slots
    from avil_ray.pools.ray_pool import RayPool

    group = get_current_placement_group()
    if group is None:
        raise WorkFailed("a trial must run inside a placement group of its own")
    slots = Slots(facts["slots"], job.per_task, group, len(group.bundle_specs) - facts["slots"])
    return RayPool(suite, facts["seed"], job.threads, slots, timeout=job.timeout, keep_warm=True, name=facts["key"])


def make_record(
    facts: Mapping[str, Any], status: Status, rows: Sequence[Mapping[str, Any]], **found: Any
) -> TrialRecord:
    """A trial's record from what was asked (`facts`), how it ended, its rounds and its figures."""
    import pandas as pd

    named = {name: facts[name] for name in ("key", "label", "method", "configuration", "options", "seed")}
    cost = Cost(
        gradient_steps=sum(int(row["cost/gradient_steps"]) for row in rows),
        device_seconds=sum(row["time/device"] for row in rows),
        reserved_device_seconds=sum(row["time/reserved"] for row in rows),
        wall_seconds=sum(row["time/round"] for row in rows),
    )
    return TrialRecord(**named, status=status, cost=cost, history=pd.DataFrame(rows), **found)


def save_theta(place: Place, theta: Vector) -> None:
    """Write the best parameters, float32 [P], into a trial's folder, as safetensors."""
    at(place).write(THETA, pack(Container({"theta": theta}, {})))


def load_theta(place: Place) -> Vector:
    """The parameters in a trial's folder; WorkFailed where they are not what was written."""
    folder = at(place)
    try:
        return unpack(folder.read(THETA)).arrays["theta"]
    except (OSError, KeyError, UserError) as error:
        raise WorkFailed(f"{folder.where(THETA)}: unreadable ({why(error)})") from error
