"""A run driven by the first rank of a program launched by Ray Train (`pool="train"`).

The first rank reports to the caller through a folder on storage: the rows of the history, one by one, and the result at
the end.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from avil_ray import checkpoint
from avil_ray.container import Container, pack, unpack
from avil_ray.errors import UserError
from avil_ray.methods.method import Run
from avil_ray.pools.placement import bundles, describe, missing, most_slots, own_cpus
from avil_ray.rounds import Round
from avil_ray.storage import LocalStorage, discard, make_folder, replace_file
from avil_ray.tasks.suite import Suite

if TYPE_CHECKING:
    from avil_ray.pools.train_pool import TrainPool

FOLDER, ROWS, RESULT = "train", "rows.jsonl", "result.safetensors"
"""The subfolder of the output for files of Train and its ranks, until the run is finished."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Ranks:
    """The placement of a run's ranks: pass it to `train` as its pool if "train" is not specific enough.

    Parameters
    ----------
    count
        The number of ranks, or (minimum, maximum): then as many as there is room for whenever they start. By default
        one per task, as far as there is room.
    resources
        The resources of each: {"CPU": 1.0, "GPU": 0.5}. By default one CPU per thread and per data loader process, and
        one GPU if the cluster has any.
    timeout
        Seconds without an answer after which a rank is considered lost.
    """

    count: int | tuple[int, int] | None = None
    resources: Mapping[str, float] | None = None
    timeout: float = 1800.0


class Told(Round):
    """A round of which only the number and the row were received: its parameters stay with the ranks."""

    def __init__(self, row: Row) -> None:
        object.__setattr__(self, "number", int(row["round"]))
        object.__setattr__(self, "row", row)

    def __repr__(self) -> str:
        return f"Told({self.row})"

    @property
    def run(self) -> Run:
        """Not available here."""
        advice = "the result has the best ones, and the checkpoint in the output folder the last"
        raise UserError(f"round {self.number}: with pool='train' a round's parameters stay with the workers; {advice}")


class Drive(Protocol):
    """`train` with all its arguments except those that the first rank supplies."""

    def __call__(self, *, pool: Any, output: Path, resume: bool, on_round: Callable[[Round], None]) -> Any:
        """The result."""
        ...


def launched(
    drive: Drive,
    suite: Suite,
    seed: int,
    threads: int,
    ranks: Ranks,
    output: Path | None,
    on_round: Callable[[Round], None],
) -> dict[str, Any]:
    """Run `drive` on ranks of Ray Train; returns the fields of its result except suite, method and seed.

    Parameters
    ----------
    suite
        As prepared by the method.
    output
        The folder for checkpoints; the run continues from them if there are any.
    on_round
        Called after every round, in this process.

    Raises
    ------
    UserError
        The input is wrong, or requests more than the cluster has.
    WorkFailed
        Training diverges, or ranks are lost repeatedly.
    """
    from avil_ray.pools.connection import connected, named_by_environment
    from avil_ray.pools.ray_pool import node_resources
    from avil_ray.pools.train_run import Program, Ranked, launch

    least, most = _bounds(ranks.count)
    each = threads + suite.learning.loader_processes
    with ExitStack() as stack:
        stack.enter_context(connected(named_by_environment(), cpus=own_cpus(each * (most or 1))))
        nodes = node_resources()
        ranked = Ranked(*_placed(suite, ranks, least, most, float(each), nodes), ranks.timeout)
        if output is None:
            if len(nodes) > 1:
                raise UserError("pool 'train' on several nodes needs output: a folder that every node sees")
            output = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="avil-ray-")))
        output = output.absolute()
        folder = output / FOLDER
        discard(folder)
        make_folder(folder)
        before = len(checkpoint.rows(LocalStorage(output)))
        driven = Driven(drive, output, before)
        program = Program(suite, seed, threads, driven, folder, Path.cwd())
        launch(program, ranked, Listener(folder / ROWS, on_round).listen)
        found = unpack((folder / RESULT).read_bytes())
        discard(folder)
    return {**found.facts, "theta": found.arrays["theta"], "rows": tuple(found.facts["rows"])}


def _bounds(count: int | tuple[int, int] | None) -> tuple[int | None, int | None]:
    """The minimum and maximum number of ranks; None if not given."""
    if not isinstance(count, tuple):
        return count, count
    if not (len(count) == 2 and all(type(one) is int for one in count) and 1 <= count[0] <= count[1]):
        raise UserError(f"workers must be a whole number, or (at least, at most) such as (2, 4), not {count!r}")
    return count


def _placed(
    suite: Suite, ranks: Ranks, least: int | None, most: int | None, each: float, nodes: list[dict[str, float]]
) -> tuple[int | tuple[int, int], dict[str, float]]:
    """The number of ranks and the resources of each; `UserError` if there is no room for them."""
    resources = dict(ranks.resources or {"CPU": each})
    if ranks.resources is None and any(node["GPU"] >= 1 for node in nodes):
        resources["GPU"] = 1.0
    if least is None or most is None:
        return max(1, most_slots({}, resources, nodes, len(suite.task_names))), resources
    lacking = missing(bundles({}, resources, least), nodes)
    if lacking:
        raise UserError(f"{least} workers of {describe(resources)}: {lacking}; ask for fewer workers")
    return (least if least == most else (least, most)), resources


@dataclass(frozen=True)
class Driven:
    """The first rank's program: runs the rounds from the last checkpoint, reports each once, and stores the result.

    Parameters
    ----------
    before
        The number of rounds the run had when it was launched; they are not reported again.
    """

    drive: Drive
    output: Path
    before: int

    def __call__(self, pool: TrainPool) -> None:
        """Drive the run on this pool."""
        folder = self.output / FOLDER
        teller = Teller(folder / ROWS, self.before)
        for row in checkpoint.rows(LocalStorage(self.output)):  # an earlier attempt may not have reported the last ones
            teller.tell(row)

        def after_round(done: Round) -> None:
            teller.tell(done.row)
            pool.report(done.row)

        result = self.drive(pool=lambda: nullcontext(pool), output=self.output, resume=True, on_round=after_round)
        names = ("test", "best_round", "select", "rows", "best_track")
        facts = {name: getattr(result, name) for name in names}
        replace_file(folder / RESULT, pack(Container({"theta": result.theta}, facts)))


class Teller:
    """Writes rows for a listener: one complete line per round, only once however often the round runs."""

    def __init__(self, path: Path, before: int) -> None:
        self._path = path
        lines = _whole_lines(path)
        if path.exists():
            os.truncate(path, sum(map(len, lines)))  # drops a line truncated when its writer died
        self._next = before + len(lines)

    def tell(self, row: Row) -> None:
        """Write the row of a round, unless it was already reported."""
        if row["round"] < self._next:
            return
        with self._path.open("ab") as file:
            file.write(json.dumps(dict(row)).encode() + b"\n")
        self._next = int(row["round"]) + 1


@dataclass
class Listener:
    """Reads the rows reported since its last call."""

    path: Path
    on_round: Callable[[Round], None]
    heard: int = 0
    """The number of bytes read."""

    def listen(self) -> None:
        """Pass on new rows."""
        for line in _whole_lines(self.path, self.heard):
            self.heard += len(line)
            self.on_round(Told(json.loads(line)))


def _whole_lines(path: Path, start: int = 0) -> list[bytes]:
    """The complete lines from a byte offset on; none if there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return [line for line in file if line.endswith(b"\n")]
    except FileNotFoundError:
        return []
