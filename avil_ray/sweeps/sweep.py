"""A sweep: a search space becomes trials, Ray Tune runs them, and what they leave becomes one comparison."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from avil_ray import checkpoint
from avil_ray.catalog import build_suite
from avil_ray.errors import UserError, WorkFailed
from avil_ray.interruption import Interruption
from avil_ray.locking import locked
from avil_ray.pools.placement import at_once, bundles
from avil_ray.reports.comparison import SweepFacts
from avil_ray.reports.records import RESULT, TRIALS, trial_folder, write_record
from avil_ray.spaces.entries import TrialPlan
from avil_ray.spaces.preview import Preview, preview
from avil_ray.spaces.search_space import SearchSpace
from avil_ray.storage import Place, Storage, Unreachable, at, over, why
from avil_ray.sweeps import provenance
from avil_ray.sweeps.conclusion import Outcome, conclude
from avil_ray.sweeps.index import Ended, Index
from avil_ray.sweeps.progress import Progress, progress_of
from avil_ray.sweeps.stacks import run_stacks
from avil_ray.sweeps.stages import Stage, scheduler, stages
from avil_ray.sweeps.storage import SPACE, as_run, require_usable, store, tracking_folder, write_facts
from avil_ray.sweeps.trial import CHECKPOINT, Job, make_ready, make_record, run_trial
from avil_ray.telemetry import no_calls_home

if TYPE_CHECKING:
    from avil_ray.sweeps.watch import Watch
    from avil_ray.tracking.outbox import Outbox

PLAN = "running trials keep their last checkpoints, and the report is written; continue later with --resume"
"""What happens after the first Ctrl-C."""


def run_sweep(
    space: SearchSpace,
    storage: Place,
    *,
    address: str | None = None,
    max_concurrent: int | None = None,
    resume: bool = False,
    fresh: bool = False,
    console: Console | None = None,
    register: str | None = None,
) -> Outcome:
    """Run every trial of a search space that has no result yet, and compare.

    Parameters
    ----------
    storage
        The folder that holds sweeps, or its URI; this one's is `storage/<name>`. On a cluster every node must see it.
    address
        See `connected`.
    max_concurrent
        Most trials at a time; as many as fit where not given.
    resume, fresh
        Go on with the sweep of this name, or remove it and start again; without either its name must be new.
    console
        Where to show progress.
    register
        What the registered model in MLflow is called of which the recommended model becomes a version; none if None.

    Raises
    ------
    UserError
        Where the input is wrong, or asks for more than the cluster has. Nothing is written then.
    """
    no_calls_home()
    from avil_ray.sweeps.cluster import connected, lacking_labels, nodes
    from avil_ray.sweeps.visible import require_seen
    from avil_ray.tracking.outbox import Outbox
    from avil_ray.tracking.store import experiment_name, tracking_uri

    console, storage = console or Console(stderr=True), at(storage)
    folder = at(storage.local.absolute() if storage.local else storage) / space.name
    require_usable(folder, space, resume, fresh)
    if storage.local is None and not os.environ.get("MLFLOW_TRACKING_URI"):
        tracked = tracking_folder(storage).absolute()
        console.print(Text(f"runs are tracked in {tracked}, since a database needs a local disk"))
    space = as_run(folder, space) if resume else space
    suite, tasks = build_suite(space.suite), space.draw()
    target = tasks[suite.target]
    tracker = Outbox(tracking_uri(tracking_folder(storage)), experiment_name(suite.name), space.name, folder)
    with locked(folder), tracker, connected(address):
        there = nodes()
        seen = preview(space, there)
        if lacking := seen.lacking or lacking_labels(space.resources):
            raise UserError(lacking)
        if seen.vectorize:
            console.print(Text(seen.vectorize), soft_wrap=True)
        tracker.reach()
        setup = provenance.setup(space, suite, tasks)
        facts = replace(store(folder, seen.space, suite, target, fresh), setup=setup)
        require_seen(folder)
        if fresh:
            tracker.forget()
        started, earlier = provenance.start(there), facts.starts
        tracker.prepare(replace(facts, starts=(*earlier, started)))
        facts = replace(facts, starts=(*earlier, replace(started, mlflow=tracker.link)))
        write_facts(folder, facts)
        with Interruption(PLAN) as interruption:
            job = make_job(seen, folder, facts)
            trials = Trials(job, seen, there, facts, tracker, max_concurrent, console, interruption)
            for stage in stages(seen.space, folder, facts, trials.say):
                trials.run(stage)
            return conclude(folder, facts, trials.plans, suite, tracker, register)


def make_job(seen: Preview, folder: Storage, facts: SweepFacts) -> Job:
    """What every trial is told."""
    space, resources = seen.space, seen.space.resources
    driver, per_task = seen.shares
    return Job(
        folder=str(folder),
        suite=dict(space.suite),
        metric=facts.metric,
        mode=facts.mode,
        rounds=space.rounds,
        steps_per_round=space.steps_per_round,
        pool=resources.pool,
        per_task=per_task,
        driver=driver,
        threads=resources.threads,
        timeout=resources.timeout,
        checkpoint_every=resources.checkpoint_every,
    )


@dataclass
class Trials:
    """Runs batches of trials through Ray Tune, skipping those that have a result."""

    job: Job
    seen: Preview
    nodes: list[dict[str, float]]
    facts: SweepFacts
    tracker: Outbox
    max_concurrent: int | None
    console: Console
    interruption: Interruption
    plans: list[TrialPlan] = field(default_factory=list)

    @cached_property
    def index(self) -> Index:
        """How trials ended in earlier starts and in this one."""
        return Index(self.job.folder)

    @cached_property
    def progress(self) -> Progress:
        """How far the whole sweep is."""
        return progress_of(self.seen, self.facts.metric, self.facts.mode)

    def run(self, stage: Stage) -> None:
        """Run these trials; afterwards each has a record in its folder, unless the sweep was interrupted."""
        from avil_ray.sweeps.tuning import quiet_tune, state_of_tune
        from avil_ray.sweeps.watch import Watch

        folder, plans = at(self.job.folder), stage.plans
        self.plans += plans
        begun = set((folder / TRIALS).names())
        earlier = [plan for plan in plans if trial_folder(Path(), plan.key).name in begun]
        ended = zip(earlier, over(folder, self._ended_well, earlier), strict=True)
        done = {plan.key: one.select for plan, one in ended if one is not None}
        self.progress.expect(plans, done)
        waiting = [plan for plan in plans if plan.key not in done]
        if done:
            self.say(f"{len(done)} of {len(plans)} trials are already done")
        if not waiting or self.interruption.asked:
            return
        over(folder, self._make_ready, [plan for plan in earlier if plan.key not in done])
        with Watch(self.progress, stage.rounds, self.console, self.interruption) as watch:
            single = run_stacks(self, stage, waiting, watch) if self.seen.space.search.vectorize else waiting
            if single and not self.interruption.asked:
                with state_of_tune(folder) as state, quiet_tune():
                    self._tune(Stage(single, stage.rounds), watch, state)
        if not folder.exists(SPACE):
            advice = "if its storage is only disconnected, reconnect it and continue with --resume"
            raise WorkFailed(f"{folder}: {SPACE} is gone; {advice}")
        over(folder, partial(self._settle, watch=watch), waiting)
        self.index.write()

    def _settle(self, plan: TrialPlan, watch: Watch) -> None:
        stopped = f"stopped by {self.seen.space.search.scheduler}" if plan.key in watch.ended else None
        settle(self.job.folder, plan, watch.failed.get(plan.key), stopped)

    def _make_ready(self, plan: TrialPlan) -> None:
        folder = trial_folder(at(self.job.folder), plan.key)
        folder.delete(RESULT)  # a failure of an earlier start is no longer the last word
        for line in make_ready(folder):
            self.say(f"{plan.key}: {line}")

    def _ended_well(self, plan: TrialPlan) -> Ended | None:
        """How the trial ended in an earlier start of the sweep, if it finished or was stopped on purpose."""
        try:
            ended = self.index.look(plan.key)
        except Unreachable:
            raise
        except WorkFailed as error:
            self.say(f"{plan.key} runs again: {error}")
            return None
        return ended if ended is not None and ended.well else None

    def say(self, line: str) -> None:
        """Print a line beside the progress."""
        self.console.print(Text(line), soft_wrap=True)

    def _tune(self, stage: Stage, watch: Watch, state: Path) -> None:
        from ray import tune

        from avil_ray.sweeps.orphans import Orphans
        from avil_ray.sweeps.silence import Silence
        from avil_ray.sweeps.tuning import Indexed, Shared, few_waiting, placement
        from avil_ray.tracking.callback import TrackingCallback

        folder, space, orphans = self.job.folder, self.seen.space, Orphans()
        slots = {row.label: row.slots for row in self.seen.rows}
        facts = [{**asdict(plan), "slots": slots[plan.label]} for plan in stage.plans]
        tuner = tune.Tuner(
            tune.with_resources(_run_here, partial(placement, job=self.job, resources=space.resources)),
            param_space={"trial": tune.grid_search(Shared(facts)), "job": asdict(self.job), "folder": str(Path.cwd())},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=self._most_at_once(facts),
                reuse_actors=True,
                scheduler=scheduler(space, stage, self.facts.mode),
                trial_name_creator=lambda trial: str(trial.config["trial"]["key"]).replace("/", "-"),
                trial_dirname_creator=lambda trial: str(trial.config["trial"]["key"]).replace("/", "-"),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(state),
                verbose=0,
                callbacks=[
                    TrackingCallback(self.tracker),
                    Indexed(self.index),
                    watch,
                    orphans,
                    Silence(space.resources.timeout),
                ],
                failure_config=tune.FailureConfig(max_failures=space.resources.retries),
            ),
        )
        try:
            with orphans, few_waiting(max(row.at_once for row in self.seen.rows)):
                tuner.fit()
        except (OSError, EOFError, UnpicklingError) as error:  # the last two: of its own files, cut off by a full disk
            advice = "check the disk, then continue with --resume: earlier data is kept"
            raise WorkFailed(f"{folder}: Ray Tune cannot keep its state there ({why(error)}); {advice}") from error

    def _most_at_once(self, facts: Sequence[Mapping[str, Any]]) -> int | None:
        """Most trials at a time: where Tune does not see what they occupy, as many as there is room for."""
        if self.job.pool != "train":
            return self.max_concurrent
        largest = bundles(self.job.driver, self.job.per_task, max(one["slots"] for one in facts))
        fitting = at_once(largest, self.nodes, len(facts))
        return fitting if self.max_concurrent is None else min(fitting, self.max_concurrent)


def settle(folder: Place, plan: TrialPlan, failed: str | None, stopped: str | None) -> None:
    """Write the record of a trial that could not write its own: why it `failed`, or by what it was `stopped`."""
    place = trial_folder(at(folder), plan.key)
    if place.exists(RESULT) or not (failed or stopped):
        return
    rows, note = [], ""
    try:
        rows = checkpoint.rows(place / CHECKPOINT)
    except UserError as error:
        note = f"; its cost is unknown: {error}"
    if failed:
        record = make_record(asdict(plan), "failed", rows, reason=failed + note)
    else:
        record = make_record(asdict(plan), "stopped", rows, reason=f"{stopped} after {len(rows)} rounds{note}")
    write_record(place, record)


def _run_here(config: Mapping[str, Any]) -> None:
    """`run_trial` in the folder that the sweep was started in, where this node has it: suites may name relative paths.

    Where Ray ran before the sweep, its processes stand elsewhere.
    """
    if Path(config["folder"]).is_dir():
        os.chdir(config["folder"])
    run_trial(config)
