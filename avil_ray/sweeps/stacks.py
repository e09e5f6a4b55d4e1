"""Trials of fixed weights, many at a time: each stack is one task of Ray, which writes a record for every trial.

A stack goes by the same files as trials by themselves, in each trial's own folder, so either can go on with what the
other has left. What a stack cannot finish is run by itself afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from avil_ray.catalog import build_suite, build_trial
from avil_ray.errors import WorkFailed
from avil_ray.locking import locked
from avil_ray.methods.joint import FixedWeights
from avil_ray.pools.lost import cause
from avil_ray.reports.formats import counted
from avil_ray.reports.records import RESULT, read_record, trial_folder, write_record
from avil_ray.spaces.entries import TrialPlan
from avil_ray.spaces.vectorize import chunks
from avil_ray.stacked import Ended, Halving, Member, train_stack
from avil_ray.storage import Storage, at
from avil_ray.sweeps.stages import Stage, rungs
from avil_ray.sweeps.storage import SPACE
from avil_ray.sweeps.trial import CHECKPOINT, PATIENCE, Job, best_so_far, make_ready, make_record, save_theta, unseen
from avil_ray.tasks.suite import Suite

if TYPE_CHECKING:
    from avil_ray.sweeps.sweep import Trials
    from avil_ray.sweeps.watch import Watch

POLL = 0.5
"""Seconds between two looks at whether somebody asked for the end."""


@dataclass(frozen=True)
class Work:
    """What a task of Ray is told of its stack; plain values.

    Attributes
    ----------
    plans
        All trials of the stack, those that have ended in an earlier start of the sweep too.
    waiting
        Keys of those to run.
    rungs
        Numbers of rounds after which a third of the trials goes on; none without successive halving.
    folder
        Where the sweep was started.
    """

    job: Mapping[str, Any]
    plans: Sequence[Mapping[str, Any]]
    waiting: Sequence[str]
    rungs: Sequence[int]
    folder: str


def run_stacks(trials: Trials, stage: Stage, waiting: Sequence[TrialPlan], watch: Watch) -> list[TrialPlan]:
    """Run those of the waiting trials of a stage that can be rows of a stack; what has to run by itself comes back."""
    space, suite, folder = trials.seen.space, trials.seen.suite, at(trials.job.folder)
    halving = space.search.scheduler == "asha"
    made, _ = chunks(stage.plans, suite, suite.draw(space.seeds[0]), deal=halving)
    there = {plan.key for plan in waiting}
    work = [
        Work(
            asdict(trials.job),
            [asdict(plan) for plan in chunk],
            [plan.key for plan in chunk if plan.key in there],
            rungs(stage.rounds) if halving else (),
            str(Path.cwd()),
        )
        for chunk in made
    ]
    for one, trouble in _ended([one for one in work if one.waiting], trials, watch):
        left = [key for key in one.waiting if not trial_folder(folder, key).exists(RESULT)]
        if trouble:
            line = f"{counted(len(left), 'trial')} of a stack that failed run one by one: {trouble}"
            trials.console.print(Text(line), soft_wrap=True)
        watch.left(left)
        for key in one.waiting:
            if key not in left:
                record = read_record(trial_folder(folder, key))
                trials.index.look(key)
                trials.tracker.end(key, "FINISHED")  # its record says all
                how = record.reason or f"{record.cost.wall_seconds:.1f} s in a stack"
                watch.over(key, how, record.select)
    return [plan for plan in waiting if not trial_folder(folder, plan.key).exists(RESULT)]


def _ended(work: Sequence[Work], trials: Trials, watch: Watch) -> Iterator[tuple[Work, str | None]]:
    """Run stacks side by side, as many as there is room for; each as it ends, with what went wrong in it."""
    import ray

    waiting, per_task = list(work), trials.job.per_task
    running: dict[Any, Work] = {}
    room = min((int(trials.seen.there.get(name, 0) / one + 1e-9) for name, one in per_task.items() if one), default=1)
    most = max(1, min(room, trials.max_concurrent or room))
    remote = ray.remote(_run_stack).options(
        num_cpus=per_task.get("CPU", 0), num_gpus=per_task.get("GPU", 0), max_retries=0
    )
    try:
        while (waiting or running) and not trials.interruption.asked:
            while waiting and len(running) < most:
                one = waiting.pop(0)
                running[remote.remote(one)] = one
                watch.running(one.waiting, per_task)
            trials.tracker.listen()
            watch.tell()
            for done in ray.wait(list(running), timeout=POLL)[0]:
                try:
                    ray.get(done)
                    yield running.pop(done), None
                except ray.exceptions.RayError as error:
                    yield running.pop(done), cause(error)
    finally:
        for task in running:
            ray.cancel(task, force=True)


def _run_stack(work: Work) -> None:
    """What Ray runs: train the trials that wait, and write each one's record as it ends."""
    job = Job(**work.job)
    if Path(work.folder).is_dir():
        os.chdir(work.folder)
    sweep = at(job.folder)
    if not sweep.exists(SPACE):  # else it would be made here
        raise WorkFailed(unseen(sweep))
    suite = build_suite(job.suite)
    waiting = [plan for plan in work.plans if plan["key"] in work.waiting]
    folders = [trial_folder(sweep, plan["key"]) for plan in waiting]
    gone = [plan for plan in work.plans if plan["key"] not in work.waiting]
    with ExitStack() as locks:
        for folder in folders:  # an earlier attempt may still be ending
            locks.enter_context(locked(folder, wait=PATIENCE))
            make_ready(folder)
            (folder / CHECKPOINT).make()
        for ended in train_stack(
            [_member(suite, plan, folder) for plan, folder in zip(waiting, folders, strict=True)],
            rounds=job.rounds,
            steps_per_round=job.steps_per_round,
            threads=job.threads,
            others=[_member(suite, plan, None).method for plan in gone],
            halving=_halving(work, job, gone),
            checkpoint_every=job.checkpoint_every,
        ):
            _note(ended, waiting[ended.place], folders[ended.place])


def _member(suite: Suite, plan: Mapping[str, Any], folder: Storage | None) -> Member:
    learned, method = build_trial(suite, plan["method"], plan["options"])
    assert isinstance(method, FixedWeights)
    return Member(learned, method, plan["seed"], None if folder is None else folder / CHECKPOINT)


def _halving(work: Work, job: Job, gone: Sequence[Mapping[str, Any]]) -> Halving | None:
    """Where trials are stopped early: the rungs, and how those that have ended already did there."""
    if not work.rungs:
        return None
    rows = [read_record(trial_folder(at(job.folder), plan["key"])).history.to_dict("records") for plan in gone]
    earlier = {
        rung: [best_so_far(known[:rung], job.metric, job.mode) for known in rows if len(known) >= rung]  # type: ignore[arg-type]
        for rung in work.rungs
    }
    return Halving(tuple(work.rungs), "max" if job.mode == "max" else "min", earlier)


def _note(ended: Ended, facts: Mapping[str, Any], folder: Storage) -> None:
    """Write what a trial by itself would have written; one that has left writes it when it has run by itself."""
    if ended.how == "left":
        return
    if ended.result is None:
        reason = f"stopped by asha after {len(ended.rows)} rounds"
        write_record(folder, make_record(facts, "stopped", ended.rows, reason=reason))
    else:
        result = ended.result
        found = {"select": result.select, "test": dict(result.test), "best_round": result.best_round}
        save_theta(folder, result.theta)
        write_record(folder, make_record(facts, "finished", ended.rows, **found))
    folder.delete(CHECKPOINT)
