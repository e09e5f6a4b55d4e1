"""A run on disk: all of it, whole or not at all, and only for the same configuration."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import small
from safetensors.numpy import load_file, save_file

from avil_ray import checkpoint
from avil_ray.container import Container, Damaged, pack, unpack
from avil_ray.errors import UserError
from avil_ray.learning.track import MAIN, Best, Track
from avil_ray.methods.method import Memory, Run, Setting
from avil_ray.storage import LocalStorage

CONFIGURATION = {"suite": "x", "rounds": 3, "method.weights": {"a": 0.5}, "method.bounds": (0.0, math.inf)}


SUITE = small.constant_suite()
SETTING = Setting(SUITE, SUITE.draw(0), 3, 1)


@dataclass(frozen=True)
class Remembered(Memory):
    """Arrays of several kinds, and plain values."""

    many: npt.NDArray[Any]
    scalar: npt.NDArray[Any]
    weights: dict[str, float]
    words: list[Any]
    count: int = 5


def remembered() -> Remembered:
    many = np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2]
    return Remembered(many, np.array(7.0, np.float32), {"b": 1 / 3, "a": 0.1}, ["x", None, True])


def track(seed: int, **changes: Any) -> Track:
    theta, best = np.random.default_rng(seed).standard_normal((2, 5)).astype(np.float32)
    optimizer = {"trunk.momentum_buffer": theta[:3] * 2, "head of a/b.step": np.array(7.0, np.float32)}
    memory = {"seen": np.arange(seed + 1), "best": np.ones(2)}
    return replace(Track(theta, 4 + seed, optimizer, memory, 1 / 3, Best(seed, 1 / 7, best)), **changes)


def stored_run() -> Run:
    """Three tracks; one stands at its best round, and one has never been evaluated."""
    at_best = track(1)
    tracks = {
        MAIN: track(0),
        "with 2": replace(at_best, best=Best(0, 0.5, at_best.theta)),
        "target-only": track(2, score=math.nan, best=None, optimizer={}, memory={}),
    }
    rows = ({"round": 0, "select/loss": 0.1 + 0.2, "dev/loss": math.nan}, {"round": 1, "select/loss": math.inf})
    return Run(SETTING, tracks, remembered(), rows)


def load(
    storage: LocalStorage, configuration: Mapping[str, Any] | None = None, memory: type[Memory] = Remembered
) -> Run | None:
    return checkpoint.load(storage, SETTING, memory, CONFIGURATION if configuration is None else configuration)


def loaded(storage: LocalStorage, configuration: Mapping[str, Any] | None = None) -> Run:
    found = load(storage, configuration)
    assert found is not None
    return found


def equal(a: object, b: object) -> bool:
    """Equal to the last bit, in type and shape too."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(*pair) for pair in zip(a, b, strict=True))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def same(found: Run, expected: Run) -> None:
    """Equal to the last bit; the names of arrays may come in another order."""
    assert list(found.tracks) == list(expected.tracks)
    for name, track in expected.tracks.items():
        other = found.tracks[name]
        assert equal(other.theta, track.theta)
        assert equal((other.steps, other.score), (track.steps, track.score))
        for mine, theirs in ((other.optimizer, track.optimizer), (other.memory, track.memory)):
            assert mine.keys() == theirs.keys()
            assert all(equal(mine[key], theirs[key]) for key in theirs)
        assert (other.best is None) == (track.best is None)
        if track.best is not None and other.best is not None:
            assert equal((other.best.round, other.best.score), (track.best.round, track.best.score))
            assert equal(other.best.theta, track.best.theta)
    assert type(found.memory) is type(expected.memory)
    assert all(equal(value, getattr(expected.memory, name)) for name, value in vars(found.memory).items())
    assert equal(found.rows, expected.rows)


def test_everything_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    stored = stored_run()
    checkpoint.save(LocalStorage(tmp_path), stored, CONFIGURATION)
    found = loaded(LocalStorage(tmp_path))
    same(found, stored)
    assert found.setting is SETTING
    again = loaded(LocalStorage(tmp_path))
    checkpoint.save(LocalStorage(tmp_path), again, CONFIGURATION)
    same(loaded(LocalStorage(tmp_path)), stored)


@pytest.mark.parametrize("name", ["with 2", "target-only", "main ", "é", ".", "method"])
def test_a_track_may_have_any_name_without_a_slash(name: str, tmp_path: Path) -> None:
    stored = replace(stored_run(), tracks={MAIN: track(0), name: track(1)})
    checkpoint.save(LocalStorage(tmp_path), stored, CONFIGURATION)
    same(loaded(LocalStorage(tmp_path)), stored)
    for odd in (f"{name}/optimizer", ""):
        with pytest.raises(UserError, match="a track's name must not be empty or hold a '/'"):
            stored.with_tracks({odd: track(2)})


def test_a_track_at_its_best_round_is_stored_once(tmp_path: Path) -> None:
    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    assert not any(name.startswith("track/with 2/best") for name in load_file(tmp_path / checkpoint.FILE))
    found = loaded(LocalStorage(tmp_path)).tracks["with 2"]
    assert found.best is not None
    assert found.best.theta is found.theta


def test_a_run_without_a_round_comes_back_too(tmp_path: Path) -> None:
    stored = Run(SETTING, {MAIN: Track(np.ones(2, np.float32))}, Memory())
    checkpoint.save(LocalStorage(tmp_path), stored, {})
    found = load(LocalStorage(tmp_path), {}, Memory)
    assert found is not None
    same(found, stored)


def test_the_memory_of_another_method_is_damage(tmp_path: Path) -> None:
    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    with pytest.raises(Damaged, match="not a checkpoint of this method") as caught:
        load(LocalStorage(tmp_path), memory=Memory)
    assert str(caught.value).startswith(f"{tmp_path / checkpoint.FILE}: ")


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert load(LocalStorage(tmp_path / "nowhere")) is None
    assert load(LocalStorage(tmp_path)) is None
    assert checkpoint.rows(LocalStorage(tmp_path)) == []
    checkpoint.remove(LocalStorage(tmp_path / "nowhere"))


def test_a_write_that_was_cut_off_leaves_the_last_one(tmp_path: Path) -> None:
    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    (tmp_path / f"{checkpoint.FILE}.new").write_bytes(b"half a fi")
    assert load(LocalStorage(tmp_path)) is not None
    checkpoint.save(LocalStorage(tmp_path), replace(stored_run(), rows=()), CONFIGURATION)
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.FILE, checkpoint.PREVIOUS}
    assert loaded(LocalStorage(tmp_path)).rows == ()


def test_the_rows_alone(tmp_path: Path) -> None:
    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    assert equal(checkpoint.rows(LocalStorage(tmp_path)), list(stored_run().rows))


def test_a_run_that_is_done_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    assert checkpoint.exists(LocalStorage(tmp_path))
    checkpoint.remove(LocalStorage(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert not checkpoint.exists(LocalStorage(tmp_path))


def refused(folder: Path, configuration: dict[str, object] = CONFIGURATION) -> str:
    with pytest.raises(UserError) as caught:
        load(LocalStorage(folder), configuration)
    message = str(caught.value)
    assert message.startswith(f"{folder / checkpoint.FILE}: ")
    assert "\n" not in message
    return message


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def another_kind(path: Path) -> None:
    save_file({"theta": np.ones(2, np.float32)}, path)


def another_shape(path: Path) -> None:
    path.write_bytes(pack(Container({"theta": np.ones(2, np.float32)}, {})))


DAMAGE = [flip, cut, empty, folder, another_kind, another_shape]


@pytest.mark.parametrize("damage", [*DAMAGE, Path.unlink])
def test_where_the_last_one_is_damaged_the_previous_one_is_used_and_that_is_said(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage, first = LocalStorage(tmp_path), replace(stored_run(), rows=stored_run().rows[:1])
    checkpoint.save(storage, first, CONFIGURATION)
    checkpoint.save(storage, stored_run(), CONFIGURATION)
    damage(tmp_path / checkpoint.FILE)
    assert equal(checkpoint.rows(storage), list(first.rows))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = loaded(storage)
    assert equal(found.rows, first.rows)
    assert caplog.text.count("using the previous checkpoint, which has 1 rounds") == 1
    assert str(tmp_path / checkpoint.FILE) in caplog.text

    # the next one must not push the damaged one to where the only good one stands
    checkpoint.save(storage, stored_run(), CONFIGURATION)
    flip(tmp_path / checkpoint.FILE)
    found = loaded(storage)
    assert equal(found.rows, first.rows)


@pytest.mark.parametrize("damage", DAMAGE)
def test_where_all_are_damaged_it_is_the_users_to_remove_them(damage: Callable[[Path], None], tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    checkpoint.save(storage, stored_run(), CONFIGURATION)
    shutil.copy(tmp_path / checkpoint.FILE, tmp_path / checkpoint.PREVIOUS)
    for name in (checkpoint.FILE, checkpoint.PREVIOUS):
        damage(tmp_path / name)
    with pytest.raises(Damaged):
        checkpoint.rows(storage)
    assert "and the previous one is damaged too; delete both to start over" in refused(tmp_path)
    storage.delete(checkpoint.PREVIOUS)
    assert "and there is no previous one; delete it to start over" in refused(tmp_path)
    checkpoint.remove(storage)
    assert load(storage) is None


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path, share: float) -> None:
    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    path = tmp_path / checkpoint.FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "the checkpoint is damaged" in refused(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"progress": "{}"}, "was written by avil_ray 0.1, whose checkpoints this version cannot read"),
        ({"avil_ray.format": "2"}, "was written by an older avil_ray (format 2); this one reads format 4"),
        ({"avil_ray.format": "3"}, "was written by an older avil_ray (format 3); this one reads format 4"),
        ({"avil_ray.format": "5"}, "was written by a newer avil_ray (format 5); this one reads format 4"),
    ],
)
def test_another_version_is_named_and_its_file_is_kept(metadata: dict[str, str], said: str, tmp_path: Path) -> None:
    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    save_file({"theta": np.ones(2, np.float32)}, tmp_path / checkpoint.FILE, metadata)
    assert said in refused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.FILE, checkpoint.PREVIOUS}


def test_a_checkpoint_that_may_be_read_another_time_is_not_damaged(tmp_path: Path) -> None:
    class Locked(LocalStorage):
        def read(self, name: str) -> bytes:
            raise PermissionError(13, "Permission denied")

    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    with pytest.raises(UserError, match=r"cannot be read .Permission denied.") as caught:
        checkpoint.rows(Locked(tmp_path))
    assert not isinstance(caught.value, Damaged)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rounds": 4}, "was saved with rounds = 3, but this run uses rounds = 4"),
        ({"suite": "y"}, "was saved with suite = 'x', but this run uses suite = 'y'"),
        (
            {"method.weights": {"a": 0.6}},
            "saved with method.weights = {'a': 0.5}, but this run uses method.weights = {'a': 0.6}",
        ),
        ({"new": 1}, "was saved with new = None, but this run uses new = 1"),
    ],
)
def test_another_configuration_is_refused(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    assert said in refused(tmp_path, {**CONFIGURATION, **changed})
    without = {name: value for name, value in CONFIGURATION.items() if name != "rounds"}
    assert "was saved with rounds = 3, but this run uses rounds = None" in refused(tmp_path, without)


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    """No pickle: a checkpoint runs no code when it is opened."""
    checkpoint.save(LocalStorage(tmp_path), stored_run(), CONFIGURATION)
    arrays = load_file(tmp_path / checkpoint.FILE)
    parts = {
        "main": ["theta", "best", "optimizer/trunk.momentum_buffer", "optimizer/head of a/b.step"],
        "with 2": ["theta", "optimizer/trunk.momentum_buffer", "optimizer/head of a/b.step"],
        "target-only": ["theta"],
    }
    names = {f"track/{name}/{part}" for name, held in parts.items() for part in held}
    names |= {f"track/{name}/memory/{part}" for name in ("main", "with 2") for part in ("seen", "best")}
    assert set(arrays) == names | {"method/many", "method/scalar"}


def test_numbers_that_are_not_finite_come_back_to_the_last_bit(tmp_path: Path) -> None:
    odd = np.array([0x7FC00001, 0xFFC00000, 0x7F800000, 0x80000000, 1], np.uint32).view(np.float32)
    stored = Run(
        SETTING,
        {MAIN: Track(odd, score=math.inf, best=Best(0, math.nan, odd[::-1]))},
        replace(remembered(), weights={"a": -math.inf, "b": math.nan}),
    )
    checkpoint.save(LocalStorage(tmp_path), stored, {})
    same(loaded(LocalStorage(tmp_path), {}), stored)


@pytest.mark.parametrize(
    "facts", [{"rows": 5}, {"rows": [5]}, {"configuration": 5}, {"tracks": 5}, {"tracks": {}}, {"tracks": {"main": 5}}]
)
def test_facts_of_another_shape_are_damage(facts: dict[str, Any], tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    checkpoint.save(storage, stored_run(), {})
    path = tmp_path / checkpoint.FILE
    found = unpack(path.read_bytes())
    path.write_bytes(pack(Container(found.arrays, {**found.facts, **facts})))
    with pytest.raises(Damaged, match="not a checkpoint"):
        load(storage, {})
