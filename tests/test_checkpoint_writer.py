"""Checkpoints beside the run: no vector is written twice, none is lost, and the run does not wait."""

from __future__ import annotations

import logging
import math
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import small
from safetensors.numpy import load_file

from avil_ray import checkpoint
from avil_ray.checkpoint_vectors import FOLDER, LARGE
from avil_ray.checkpoint_writer import SMALL, Checkpoints
from avil_ray.container import Damaged
from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import MAIN, Best, Track
from avil_ray.methods.method import Memory, Run, Setting
from avil_ray.storage import Content, LocalStorage

SUITE = small.constant_suite()
SETTING = Setting(SUITE, SUITE.draw(0), 3, 1)
SIZE = LARGE // 4
"""Numbers of a vector that is just large enough for a file of its own."""


class Counting(LocalStorage):
    """It remembers what is written, in order, and does what a test wants before each write."""

    def __init__(self, folder: Path, before: Callable[[str], object] = lambda name: None) -> None:
        super().__init__(folder)
        self.__dict__.update(written=[], before=before)

    written: list[tuple[str, int]]
    before: Callable[[str], object]

    def write(self, name: str, *content: Content) -> None:
        self.before(name)
        super().write(name, *content)
        self.written.append((name, sum(map(len, content))))

    def vectors(self) -> list[str]:
        """The vectors written since the last call."""
        names = [name for name, _ in self.written if name.startswith(FOLDER)]
        self.written.clear()
        return names


def vector(seed: int, size: int = SIZE) -> Vector:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def step(run: Run | None, size: int = SIZE) -> Run:
    """The next round of a run whose arrays all derive from its number; `side` moves in the first round only."""
    number = 0 if run is None else len(run.rows)
    theta = vector(number, size)
    side = Track(vector(10**6, size)) if run is None else run.tracks["side"]
    best = Best(number, 0.5, theta) if number % 3 == 0 or run is None else run.main.best
    main = Track(theta, number, {"momentum": theta * 2, "step": np.array(float(number))}, score=0.1, best=best)
    rows = (*(() if run is None else run.rows), {"round": number, "select/loss": 1 / (number + 1)})
    return Run(SETTING, {MAIN: main, "side": replace(side, best=Best(0, 0.5, side.theta))}, Memory(), rows)


def after(rounds: int) -> Run:
    run = step(None)
    for _ in range(rounds - 1):
        run = step(run)
    return run


def same(found: Run | None, expected: Run) -> None:
    assert found is not None
    assert found.rows == expected.rows
    for name, track in expected.tracks.items():
        other = found.tracks[name]
        assert other.theta.tobytes() == track.theta.tobytes()
        assert other.best is not None
        assert track.best is not None
        assert other.best.theta.tobytes() == track.best.theta.tobytes()
        assert {key: array.tobytes() for key, array in other.optimizer.items()} == {
            key: array.tobytes() for key, array in track.optimizer.items()
        }


def loaded(folder: Path) -> Run | None:
    return checkpoint.load(LocalStorage(folder), SETTING, Memory, {})


def stored(storage: LocalStorage, rounds: int) -> Run:
    """A run of so many rounds, each stored in `storage`."""
    with Checkpoints(storage, {}, 1.0) as checkpoints:
        run = None
        for _ in range(rounds):
            run = step(run)
            checkpoints.begin(run)
    assert run is not None
    return run


def vector_files(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).iterdir())


def test_a_vector_that_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    storage = Counting(tmp_path)
    with Checkpoints(storage, {}, 1.0) as checkpoints:
        run = step(None)
        checkpoints.begin(run)
        checkpoints.finish()
        assert len(storage.vectors()) == 3, "theta, which is the best, its momentum, and the other track's"
        for _ in range(6):
            run = step(run)
            checkpoints.begin(run)
            checkpoints.finish()
            size = sum(count for _, count in storage.written)
            assert len(storage.vectors()) == 2, "theta and its momentum"
            assert 2 * LARGE < size < 2 * LARGE + 5000
        still = replace(run, rows=(*run.rows, {"round": 7}))
        checkpoints.begin(still)
        checkpoints.finish()
        assert [name for name, _ in storage.written] == [f"{checkpoint.FILE}.new"]
        same(loaded(tmp_path), still)


def test_vectors_of_the_same_content_are_one_file(tmp_path: Path) -> None:
    theta = vector(0)
    tracks = {MAIN: Track(theta, best=Best(0, 0.5, theta.copy())), "side": Track(theta.copy())}
    with Checkpoints(LocalStorage(tmp_path), {}, 1.0) as checkpoints:
        checkpoints.begin(Run(SETTING, tracks, Memory()))
    (path,) = vector_files(tmp_path)
    found = loaded(tmp_path)
    assert found is not None
    assert found.tracks["side"].theta is found.main.theta
    assert path.name == f"{sha256(path.read_bytes()).hexdigest()}.safetensors"
    assert load_file(path)["vector"].tobytes() == theta.tobytes(), "plain safetensors"


def test_small_arrays_stay_in_the_head_and_those_of_other_types_too(tmp_path: Path) -> None:
    theta, complex_numbers = vector(0, SIZE - 1), np.ones(LARGE, np.complex64)
    run = Run(SETTING, {MAIN: Track(theta, optimizer={"odd": complex_numbers})}, Memory())
    checkpoint.save(LocalStorage(tmp_path), run, {})
    assert not (tmp_path / FOLDER).exists()
    found = loaded(tmp_path)
    assert found is not None
    assert found.main.optimizer["odd"].tobytes() == complex_numbers.tobytes()


@pytest.mark.parametrize("kind", ["bool", "int8", "uint16", "int64", "float16", "float64", ">f4"])
def test_large_arrays_of_any_type_and_layout_come_back(kind: str, tmp_path: Path) -> None:
    array = (np.arange(2 * LARGE) % 100).reshape(2, LARGE).astype(kind).T[::2]
    run = Run(SETTING, {MAIN: Track(vector(0), optimizer={"odd": array})}, Memory())
    checkpoint.save(LocalStorage(tmp_path), run, {})
    found = loaded(tmp_path)
    assert found is not None
    assert found.main.optimizer["odd"].dtype == np.dtype(kind).newbyteorder("<")
    assert np.array_equal(found.main.optimizer["odd"], array)
    assert found.main.optimizer["odd"].flags.writeable


def test_nothing_unreferenced_stays_behind(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / ".half.part").write_bytes(b"of a process that was killed")
    run = stored(LocalStorage(tmp_path), 20)
    heads = [load_file(tmp_path / name) for name in (checkpoint.FILE, checkpoint.PREVIOUS)]
    assert all(sum(array.nbytes for array in head.values()) < LARGE for head in heads)
    assert len(vector_files(tmp_path)) == 5, "two of each round, one of which is the best, and `side`"
    same(loaded(tmp_path), run)
    checkpoint.remove(LocalStorage(tmp_path))
    assert list(tmp_path.iterdir()) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def new_vectors(folder: Path) -> list[Path]:
    """The files that the last checkpoint alone names."""
    last, previous = (checkpoint._named(LocalStorage(folder), name) for name in (checkpoint.FILE, checkpoint.PREVIOUS))
    return [folder / FOLDER / f"{digest}.safetensors" for digest in last - previous]


@pytest.mark.parametrize("damage", [flip, cut, folder_instead, Path.unlink])
@pytest.mark.parametrize("where", ["head", "vector"])
def test_after_damage_the_previous_one_is_used_and_the_run_ends_as_if_nothing_had_been(
    where: str, damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored(LocalStorage(tmp_path), 5)
    damage(tmp_path / checkpoint.FILE if where == "head" else new_vectors(tmp_path)[0])
    assert len(checkpoint.rows(LocalStorage(tmp_path))) == 4
    with caplog.at_level(logging.WARNING), Checkpoints(LocalStorage(tmp_path), {}, 1.0) as checkpoints:
        run = checkpoints.load(SETTING, Memory)
        assert "using the previous checkpoint, which has 4 rounds" in caplog.text
        assert run is not None
        for _ in range(2):  # the first of them has the bits, and so the names, of what was damaged
            run = step(run)
            checkpoints.begin(run)
            checkpoints.finish()
            same(loaded(tmp_path), run)
    same(run, after(6))


def test_a_vector_that_both_name_cannot_be_done_without(tmp_path: Path) -> None:
    stored(LocalStorage(tmp_path), 2)
    for path in set(vector_files(tmp_path)) - set(new_vectors(tmp_path)):
        path.unlink()
    with pytest.raises(
        Damaged, match=r"vectors/.* is missing.*, and the previous one is damaged too; delete both"
    ) as caught:
        loaded(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_vector_that_cannot_be_read_now_is_not_damaged(tmp_path: Path) -> None:
    class Locked(LocalStorage):
        def read(self, name: str) -> bytes:
            if name.startswith(FOLDER):
                raise PermissionError(13, "Permission denied")
            return super().read(name)

    stored(LocalStorage(tmp_path), 2)
    with pytest.raises(UserError, match=r"cannot be read .Permission denied.") as caught:
        checkpoint.rows(Locked(tmp_path))
    assert not isinstance(caught.value, Damaged)


def test_after_a_resumption_nothing_is_written_that_is_there(tmp_path: Path) -> None:
    stored(LocalStorage(tmp_path), 3)
    storage = Counting(tmp_path)
    with Checkpoints(storage, {}, 1.0) as checkpoints:
        run = checkpoints.load(SETTING, Memory)
        assert run is not None
        checkpoints.begin(run)
        checkpoints.finish()
        assert storage.written == [], "it is the one that is stored"
        checkpoints.begin(step(run))
        checkpoints.finish()
    assert len(storage.vectors()) == 2, "theta, which is the best, and its momentum; not the other track's"


def test_it_is_written_beside_the_run_and_at_most_one_at_a_time(tmp_path: Path) -> None:
    go_on = threading.Semaphore(0)

    def slowly(name: str) -> None:
        if name == f"{checkpoint.FILE}.new":
            go_on.acquire()

    storage = Counting(tmp_path, slowly)
    with Checkpoints(storage, {}, 1.0) as checkpoints:
        first = step(None)
        checkpoints.begin(first)  # returns although the storage does not
        assert not checkpoint.exists(storage)
        threading.Timer(0.1, go_on.release).start()
        checkpoints.begin(step(first))  # waits for the first one
        same(loaded(tmp_path), first)
        go_on.release()
    same(loaded(tmp_path), after(2))


def test_what_is_stored_keeps_no_memory(tmp_path: Path) -> None:
    with Checkpoints(LocalStorage(tmp_path), {}, 1.0) as checkpoints:
        run = step(None)
        theta = weakref.ref(run.main.theta)
        checkpoints.begin(run)
        checkpoints.finish()
        del run
        assert theta() is None


def test_small_runs_are_due_every_round_and_large_ones_by_the_clock(tmp_path: Path) -> None:
    large = Run(SETTING, {MAIN: Track(np.zeros(SMALL, np.float32))}, Memory())
    almost = Run(SETTING, {MAIN: Track(np.zeros(SMALL - 1, np.float32))}, Memory())
    with Checkpoints(LocalStorage(tmp_path), {}, 30.0) as checkpoints:
        assert checkpoints.due(large, -math.inf)
        checkpoints.begin(large)
        now = time.monotonic()
        assert not checkpoints.due(large, now)
        assert not checkpoints.due(large, now + 29)
        assert checkpoints.due(large, now + 30)
        assert checkpoints.due(almost, now)


def full(name: str) -> None:
    raise WorkFailed(f"{name}: cannot be written (No space left on device)")


@pytest.mark.parametrize("file", ["vector", "head"])
def test_a_full_disk_is_told_at_the_next_call_and_costs_nothing_that_was_stored(file: str, tmp_path: Path) -> None:
    before = stored(LocalStorage(tmp_path), 2)
    there = sorted(tmp_path.rglob("*"))
    left = [1 if file == "vector" else 2]

    def fill(name: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            full(name)

    checkpoints = Checkpoints(Counting(tmp_path, fill), {}, 1.0)
    run = checkpoints.load(SETTING, Memory)
    assert run is not None
    checkpoints.begin(step(run))
    with pytest.raises(WorkFailed, match="No space left on device"):
        checkpoints.begin(step(step(run)))
    checkpoints.finish()
    assert sorted(tmp_path.rglob("*")) == there, "what was written of the new one does not take room"
    same(loaded(tmp_path), before)
    left[0] = 99
    with checkpoints:
        checkpoints.begin(step(run))
    same(loaded(tmp_path), after(3))


def broken_block(storage: LocalStorage) -> None:
    with Checkpoints(storage, {}, 1.0) as checkpoints:
        checkpoints.begin(step(None))
        raise KeyError("mine")


def test_the_end_of_the_block_waits_and_its_own_error_comes_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Counting(tmp_path, lambda name: time.sleep(0.02))
    with pytest.raises(KeyError, match="mine"):
        broken_block(storage)
    same(loaded(tmp_path), after(1))
    with pytest.raises(WorkFailed, match="No space"), Checkpoints(Counting(tmp_path, full), {}, 1.0) as checkpoints:
        checkpoints.begin(step(None))
    assert caplog.text == ""
    with pytest.raises(KeyError, match="mine"):
        broken_block(Counting(tmp_path, full))
    assert "No space left" in caplog.text


WRITER = """
import sys
from pathlib import Path
import test_checkpoint_writer as here
storage = here.LocalStorage(Path(sys.argv[1]))
with here.Checkpoints(storage, {}, 1.0) as checkpoints:
    run = checkpoints.load(here.SETTING, here.Memory)
    print(0 if run is None else len(run.rows), flush=True)
    while True:
        run = here.step(run)
        checkpoints.begin(run)
"""


def kill_at_random(folder: Path, times: int) -> None:
    """A process that writes checkpoints is killed so many times, and each time what it leaves is as if it had not."""
    moments, reached = random.Random(0), 0
    for _ in range(times):
        command = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as process:
            assert process.stdout is not None
            resumed = int(process.stdout.readline())
            time.sleep(moments.uniform(0, 0.2))
            process.kill()
        assert resumed >= reached
        found = loaded(folder)
        assert found is not None or reached == 0
        if found is not None:
            assert len(found.rows) >= resumed
            reached = len(found.rows)
            same(found, after(reached))
    assert reached > 0


def test_a_process_that_is_killed_at_any_moment_leaves_a_checkpoint(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 3)


@pytest.mark.faults
def test_a_process_that_is_killed_very_often_leaves_a_checkpoint(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 60)
