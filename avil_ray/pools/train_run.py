"""Launches a run with Ray Train: `TorchTrainer` starts the ranks, and restarts them if one dies.

Results are passed through a folder, as Train keeps no metrics of rounds without a checkpoint, and does not return them
to the caller.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import PicklingError
from typing import Any

import ray
import ray.train
from ray.cloudpickle import dumps
from ray.exceptions import RayError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2.api.config import LoggingConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from avil_ray.errors import UserError, WorkFailed, told
from avil_ray.learning.learner import Learner
from avil_ray.learning.member import Member
from avil_ray.learning.world import PeerLost
from avil_ray.plain import plain
from avil_ray.pools.rank import Rank, Ranks, serve
from avil_ray.pools.reserved import own_device
from avil_ray.pools.train_pool import TrainPool
from avil_ray.storage import discard, make_folder, replace_file
from avil_ray.tasks.suite import Suite

_train: Any = ray.train  # its type stubs are those of Train's previous version

FAILURE = "failure.json"
"""The file that a rank writes if it fails itself."""
LOST = 3
"""How often ranks may be lost before a run gives up: more deaths have a cause that new ranks would share."""
LOOK, LET_GO = 0.1, 30.0
"""Seconds between two checks for results, and seconds that Train has to end a run cleanly."""

SETTINGS = {
    # the interval in seconds at which Train polls its ranks (default 2); each report waits for it
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.05",
    # ranks stay in the folder that the suite's relative paths refer to
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


@dataclass(frozen=True)
class Program:
    """The program that every rank runs.

    Parameters
    ----------
    suite, seed, threads
        What its member loads: the suite as prepared by the method.
    drive
        What the first rank does with the pool, from the start or from the last checkpoint; it must store its result.
    folder
        The folder for Train's files and the cause of a failure, on storage that every node can access.
    place
        The folder that the suite's relative paths refer to, if it exists.
    """

    suite: Suite
    seed: int
    threads: int
    drive: Callable[[TrainPool], None]
    folder: Path
    place: Path


@dataclass(frozen=True)
class Ranked:
    """The number of ranks, and the resources of each.

    Parameters
    ----------
    count
        The number of ranks, or a minimum and a maximum: then as many as the cluster has room for when they start.
    resources
        {"CPU": 1.0, "GPU": 0.5}.
    timeout
        Seconds without an answer after which a rank is considered lost.
    """

    count: int | tuple[int, int]
    resources: Mapping[str, float]
    timeout: float = 1800.0


def launch(program: Program, ranked: Ranked, look: Callable[[], None]) -> None:
    """Run a program to its end; `look` is called regularly in this process, and may raise to end it.

    Raises
    ------
    UserError
        The suite cannot be sent, or a rank finds a mistake of the user's.
    WorkFailed
        A rank fails otherwise, or ranks are lost repeatedly.
    """
    _require_sendable(program)
    discard(program.folder / FAILURE)
    make_folder(program.folder)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    gpu = ranked.resources.get("GPU", 0.0) > 0
    trainer = _Trainer(
        _take_part,
        train_loop_config={"program": program},
        torch_config=TorchConfig("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout_s=round(ranked.timeout)),
        scaling_config=_train.ScalingConfig(
            num_workers=ranked.count, use_gpu=gpu, resources_per_worker=dict(ranked.resources)
        ),
        run_config=_train.RunConfig(
            name="train",
            storage_path=str(program.folder),
            failure_config=_train.FailureConfig(max_failures=LOST),
            checkpoint_config=_train.CheckpointConfig(num_to_keep=1),
            logging_config=LoggingConfig(log_level="CRITICAL"),
        ),
    )

    def look_for_failures_too() -> None:
        look()
        _raise_failure(program.folder)

    trainer.look = look_for_failures_too
    try:
        trainer.fit()
    except _train.TrainingFailedError as error:
        _raise_failure(program.folder)
        raise WorkFailed(f"ranks were lost more than {LOST} times, the last with: {_last_line(error)}") from error


class _Trainer(TorchTrainer):
    """A TorchTrainer that can be interrupted: its own `fit` waits indefinitely and replaces the SIGINT handler.

    It does not start Train's cleaner of placement groups either, which needs Ray's dashboard and outlives the run
    without one.
    """

    look: Callable[[], Any] = staticmethod(lambda: None)

    def _create_default_callbacks(self) -> list[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray copies its own deprecated options
            made = super()._create_default_callbacks()  # type: ignore[misc]  # it has
        return [one for one in made if not isinstance(one, PlacementGroupCleanerCallback)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": here}
        options["runtime_env"] = {"env_vars": get_env_vars_to_propagate()}
        controller: Any = ray.remote(**options)(TrainController)
        controller = controller.remote(**arguments)
        running = controller.run.remote()
        try:
            while not ray.wait([running], timeout=LOOK)[0]:
                self.look()
            ray.get(running)
            self.look()
            return ray.get(controller.get_result.remote())
        except BaseException:
            with suppress(RayError):  # it ends itself, which Ray reports as an error
                ray.get(controller.abort.remote(), timeout=LET_GO)
            ray.kill(controller)
            raise


def _require_sendable(program: Program) -> None:
    for what, value in ((f"suite {program.suite.name!r}", program.suite), ("the run", program.drive)):
        try:
            dumps(value)
        except (TypeError, AttributeError, PicklingError) as error:
            raise UserError(f"{what} cannot be sent to workers: {plain(error)}") from error


def _take_part(config: Mapping[str, Any]) -> None:
    """What Train runs on every rank; the rank's own failure is stored, as Train would just restart it."""
    program: Program = config["program"]
    if program.place.is_dir():
        os.chdir(program.place)
    try:
        _run(program)
    except BaseException as error:
        if _another_is_lost(error):
            raise
        ours = isinstance(error, UserError | WorkFailed)
        found = {
            "kind": "user" if isinstance(error, UserError) else "work",
            "text": str(error) if ours else told(error),
        }
        if not (program.folder / FAILURE).exists():
            replace_file(program.folder / FAILURE, json.dumps(found).encode())
        time.sleep(LET_GO)  # the launching process ends the run before Train restarts it
        raise


def _another_is_lost(error: BaseException | None) -> bool:
    """Whether an error was caused by another rank's death, however it was wrapped on the way."""
    return error is not None and (isinstance(error, PeerLost) or _another_is_lost(error.__cause__ or error.__context__))


def _run(program: Program) -> None:
    world = Ranks()
    learner = Learner(program.suite, program.suite.draw(program.seed), program.seed, own_device(), program.threads)
    rank = Rank(Member(learner), world, _report)
    if world.rank > 0:
        serve(rank)
        return
    pool = TrainPool(rank)
    program.drive(pool)
    pool.end()


def _report(row: Mapping[str, Any]) -> None:
    """Report a round to Train. Its checkpoint only names the round; the run's own are in the output folder."""
    if not row:
        _train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "round.json").write_text(json.dumps({"round": row["round"]}))
        _train.report(dict(row), checkpoint=_train.Checkpoint.from_directory(folder))


def _raise_failure(folder: Path) -> None:
    """Raise the failure that a rank has stored, if any."""
    try:
        found = json.loads((folder / FAILURE).read_text())
    except FileNotFoundError:
        return
    raise (UserError if found["kind"] == "user" else WorkFailed)(found["text"])


def _last_line(error: BaseException) -> str:
    return plain((str(error).strip().splitlines() or [type(error).__name__])[-1])[:200]
