"""`train`: one run of one method on one suite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Literal

import numpy as np

from avil_ray import checkpoint
from avil_ray.arguments import check_kinds, check_numbers, check_workers, kind_of
from avil_ray.checkpoint_writer import Checkpoints
from avil_ray.configuration import describe
from avil_ray.errors import UserError, WorkFailed, between
from avil_ray.keeping import InMemory, Keeper, Stored
from avil_ray.launching import Ranks, launched
from avil_ray.learning.evaluation import Target
from avil_ray.learning.learner import cpu_threads
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import MAIN, Best, Track
from avil_ray.locking import locked
from avil_ray.methods.method import Method, Run, Setting
from avil_ray.pools.inline import InlinePool
from avil_ray.pools.pool import Evaluating, Pool
from avil_ray.pools.reserved import own_device
from avil_ray.result import Result as Result
from avil_ray.rounds import Round, run_rounds
from avil_ray.storage import Place, Storage, at
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

OpenPool = Callable[[], AbstractContextManager[Pool]]
"""A function that opens a pool for the duration of a run."""


LET_GO = 30.0
"""Seconds that a run waits for the ranks of an earlier one, which may still be shutting down."""

DAY = 86_400
"""The longest interval between checkpoints, in seconds."""


def train(
    suite: Suite,
    method: Method,
    *,
    rounds: int = 20,
    steps_per_round: int = 24,
    seed: int = 0,
    pool: Literal["inline", "ray", "train"] | OpenPool | Ranks = "inline",
    workers: int | tuple[int, int] | None = None,
    threads: int = 1,
    output: Place | None = None,
    resume: bool = False,
    checkpoint_every: float = 30.0,
    on_round: Callable[[Round], None] | None = None,
    store_now: Callable[[], bool] = lambda: False,
) -> Result:
    """Train `suite` with `method`.

    Parameters
    ----------
    rounds, steps_per_round
        The number of rounds, and the gradient steps of each task in a round. If the method ends with a fine-tuning, its
        rounds are added.
    seed
        All random choices derive from it, including the choice of data if the suite draws by seed.
    pool
        `inline` (this process), `ray` (one actor per task), `train` (the ranks of a Ray Train `TorchTrainer`; `Ranks`
        sets their number and resources), or a function that opens a pool for `method.prepare(suite)`, the suite as the
        method trains it. On CPU, results are bit-identical.
    workers
        Processes of the ray or train pool; by default one per task, as far as there are CPUs or GPUs. For the train
        pool also (minimum, maximum): then as many as there is room for whenever they start.
    threads
        CPU threads of each worker and of the driver. Results depend on it.
    output, resume
        A folder for checkpoints, or its URI such as `s3://bucket/run`; with `resume`, an interrupted run continues from
        there.
    checkpoint_every
        Seconds between checkpoints, less than a day. They are written in the background; a run that is killed repeats
        the rounds since the last one. A run with fewer than 1,048,576 parameters is stored after every round.
    on_round
        Called after every round, while its checkpoint (if due) is being written. With `train` it is called in this
        process, but only the round's number and row are available, not its parameters.
    store_now
        Called after every round: whether to store it even if no checkpoint is due; not with `train`.

    Raises
    ------
    UserError
        The input is wrong. Nothing has been written.
    WorkFailed
        Training diverges, or a worker cannot be started.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.Equal(), rounds=2, steps_per_round=2)
    >>> sorted(result.test), len(result.history)
    (['accuracy', 'loss'], 2)
    """
    check_kinds(suite, method, pool, output, resume, on_round)
    check_numbers(rounds=rounds, steps_per_round=steps_per_round, threads=threads, seed=seed)
    check_workers(workers, pool)
    between("checkpoint_every", checkpoint_every, 0, DAY)
    method.check(suite)
    require_no_patience(suite, method)
    if pool == "train" or isinstance(pool, Ranks):
        drive = partial(train, suite, method, rounds=rounds, steps_per_round=steps_per_round, seed=seed)
        drive = partial(drive, threads=threads, checkpoint_every=checkpoint_every)
        where = Ranks(workers) if pool == "train" else pool
        with _opened(output, resume, LET_GO):  # released again, as the first rank writes there
            folder = None if output is None else at(output).local
            if output is not None and folder is None:
                raise UserError("output: pool 'train' needs a folder that every node sees, not a URI")
        found = launched(drive, method.prepare(suite), seed, threads, where, folder, on_round or _nobody)
        return Result(suite, method, seed, **found)
    assert not isinstance(workers, tuple)
    suite = method.prepare(suite)
    configuration = {} if output is None else describe(suite, method, rounds, steps_per_round, seed, threads)

    device = own_device()
    with (
        _opened(output, resume) as storage,
        nullcontext(suite.draw(seed)) as tasks,  # with the caller's number of threads
        cpu_threads(threads),
        nullcontext() if storage is None else Checkpoints(storage, configuration, checkpoint_every) as checkpoints,
    ):
        setting = Setting(suite, tasks, rounds, steps_per_round)
        memory = method.start(setting)
        run = None if checkpoints is None else checkpoints.load(setting, type(memory))
        target = Target(suite, tasks, seed, device)
        if run is None:
            run = Run(setting, {MAIN: Track(target.flat.vector())}, memory)
            target.check_evaluation(run.main.theta)
        if len(run.main.theta) != target.space.size:
            sizes = f"{len(run.main.theta)} parameters, but the suite's model has {target.space.size}"
            raise UserError(f"{output}: holds a run with {sizes}; choose another output folder")
        with _open(pool, suite, tasks, seed, device, threads, workers) as opened:
            if not callable(getattr(opened, "run", None)):
                raise UserError(f"pool must open something with a method run(), not {kind_of(opened)}")
            target.evaluator = opened if isinstance(opened, Evaluating) else None
            keeper: Keeper = InMemory(run, checkpoint_every)
            if checkpoints is not None:
                keeper = Stored(checkpoints, run, store_now)
            run = run_rounds(run, method, opened, target, on_round or _nobody, keeper)
            best, test = _judged(run, target)
    return Result(suite, method, seed, test, best.round, best.score, np.array(best.theta), run.rows, best.track)


def _nobody(done: Round) -> None:
    """The default `on_round`."""


def _judged(run: Run, target: Target) -> tuple[Best, dict[str, float]]:
    """The best round by select, and its figures on test, which is read only here."""
    best = run.main.best
    assert best is not None
    if not math.isfinite(best.score):
        raise WorkFailed(_no_figure(target, best.theta))
    test = target.evaluate("test", best.theta)
    if not (math.isfinite(test[target.task.measure.name]) and math.isfinite(test["loss"])):
        figures = f"task {target.task.name!r}: its figures on test are {dict(test)}"
        where = target.not_finite(best.theta, "test") or figures
        raise WorkFailed(f"{where}, at the best round, {best.round}: the run has no result")
    return best, test


def require_no_patience(suite: Suite, method: Method) -> None:
    """Raise `UserError` if `patience` could cut rounds that the method has planned."""
    if suite.learning.patience is not None and method.plans_ahead:
        name = type(method).__name__
        raise UserError(f"learning: patience: {name} plans its rounds ahead; leave patience out")


def _no_figure(target: Target, theta: Vector) -> str:
    """Why no round has a finite score on select."""
    broken = target.not_finite(theta, "select")
    if broken:
        return f"diverged: no round has a finite figure on select ({broken}); a lower learning_rate may help"
    name = f"task {target.task.name!r}: the metric {target.task.measure.name}"
    return f"{name} is not finite on select in any round, although the outputs are; look at the metric and its labels"


@contextmanager
def _opened(output: Place | None, resume: bool, wait: float = 0.0) -> Iterator[Storage | None]:
    """The storage for checkpoints, locked within the block; see `locked` for `wait`."""
    if output is None:
        if resume:
            raise UserError("resume needs the output folder of the run to continue")
        yield None
        return
    storage = at(output)
    with locked(storage, wait):
        if not resume and checkpoint.exists(storage):
            raise UserError(f"{storage.where()}: already holds a run; resume it, or choose another output folder")
        yield storage


def _open(
    pool: Literal["inline", "ray"] | OpenPool,
    suite: Suite,
    tasks: Mapping[str, Task],
    seed: int,
    device: str,
    threads: int,
    workers: int | None,
) -> AbstractContextManager[Pool]:
    if pool == "inline":
        return InlinePool(suite, tasks, seed, device, threads)
    if pool == "ray":
        from avil_ray.pools.ray_pool import local_pool

        return local_pool(suite, seed, threads, workers)
    opened = pool()
    if not isinstance(opened, AbstractContextManager):
        raise UserError(f"pool must be a function that returns a context manager, but returned {kind_of(opened)}")
    return opened
