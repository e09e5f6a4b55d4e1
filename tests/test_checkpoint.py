"""A run on disk: all of it, whole or not at all, and only for the same configuration."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from avil_ray import checkpoint
from avil_ray.container import Container, Damaged, pack, unpack
from avil_ray.errors import UserError
from avil_ray.rounds import Best, Line, Progress
from avil_ray.storage import LocalStorage

CONFIGURATION = {"suite": "x", "rounds": 3, "method.weights": {"a": 0.5}, "method.bounds": (0.0, math.inf)}


def progress() -> Progress:
    state = {
        "0.momentum_buffer": np.arange(3, dtype=np.float32),
        "0.step": np.array(7.0, np.float32),
        "many": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2],
        "weights": {"b": 1 / 3, "a": 0.1},
        "count": 5,
        "words": ["x", None, True],
    }
    rows = ({"round": 0, "select/loss": 0.1 + 0.2, "dev/loss": math.nan}, {"round": 1, "select/loss": math.inf})
    theta, best = (np.random.default_rng(seed).standard_normal(5).astype(np.float32) for seed in (0, 1))
    return Progress(theta, state, Best(0, 1 / 7, best), rows=rows)


def equal(a: object, b: object) -> bool:
    """Equal to the last bit, in type and shape too."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(*pair) for pair in zip(a, b, strict=True))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def same(a: object, b: object) -> bool:
    """Equal to the last bit, a best round too; the names of a state may come in another order."""
    if isinstance(a, Best) and isinstance(b, Best):
        return (a.number, a.score) == (b.number, b.score) and equal(a.theta, b.theta)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    return equal(a, b)


def test_everything_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    stored = progress()
    checkpoint.save(LocalStorage(tmp_path), stored, CONFIGURATION)
    found = checkpoint.load(LocalStorage(tmp_path), CONFIGURATION)
    assert found is not None
    assert equal(found.theta, stored.theta)
    assert found.state.keys() == stored.state.keys()
    for name, value in stored.state.items():
        assert equal(found.state[name], value), name
    assert equal(found.rows, stored.rows)
    assert found.best is not None
    assert stored.best is not None
    assert (found.best.number, found.best.score) == (0, 1 / 7)
    assert equal(found.best.theta, stored.best.theta)


@pytest.mark.parametrize("best", [None, Best(3, math.inf, np.array([7, 8], np.float32))])
def test_the_line_that_waits_comes_back_too(best: Best | None, tmp_path: Path) -> None:
    waits = Line(np.array([1, 2], np.float32), {"step": np.arange(2), "weights": {"a": 0.5}, "theta": 3}, best, index=4)
    stored = replace(progress(), aside=waits, index=5)
    checkpoint.save(LocalStorage(tmp_path), stored, CONFIGURATION)
    found = checkpoint.load(LocalStorage(tmp_path), CONFIGURATION)
    for name in ("theta", "state", "best", "rows", "index"):
        assert same(getattr(found, name), getattr(stored, name)), name
    for name in ("theta", "state", "best", "index"):
        assert same(getattr(found.aside, name), getattr(waits, name)), name


def test_a_run_without_a_round_comes_back_too(tmp_path: Path) -> None:
    checkpoint.save(LocalStorage(tmp_path), Progress(np.ones(2, np.float32)), {})
    found = checkpoint.load(LocalStorage(tmp_path), {})
    assert found is not None
    assert (found.theta.tolist(), found.best, found.rows, dict(found.state)) == ([1, 1], None, (), {})
    assert found.aside is None


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(LocalStorage(tmp_path / "nowhere"), CONFIGURATION) is None
    assert checkpoint.load(LocalStorage(tmp_path), CONFIGURATION) is None
    assert checkpoint.rows(LocalStorage(tmp_path)) == []
    checkpoint.remove(LocalStorage(tmp_path / "nowhere"))


def test_a_write_that_was_cut_off_leaves_the_last_one(tmp_path: Path) -> None:
    checkpoint.save(LocalStorage(tmp_path), progress(), CONFIGURATION)
    (tmp_path / f"{checkpoint.FILE}.new").write_bytes(b"half a fi")
    assert checkpoint.load(LocalStorage(tmp_path), CONFIGURATION) is not None
    checkpoint.save(LocalStorage(tmp_path), Progress(np.zeros(1, np.float32)), CONFIGURATION)
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.FILE, checkpoint.PREVIOUS}
    found = checkpoint.load(LocalStorage(tmp_path), CONFIGURATION)
    assert found is not None
    assert found.theta.tolist() == [0]


def test_the_rows_alone(tmp_path: Path) -> None:
    checkpoint.save(LocalStorage(tmp_path), progress(), CONFIGURATION)
    assert equal(checkpoint.rows(LocalStorage(tmp_path)), list(progress().rows))


def test_a_run_that_is_done_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        checkpoint.save(LocalStorage(tmp_path), progress(), CONFIGURATION)
    assert checkpoint.exists(LocalStorage(tmp_path))
    checkpoint.remove(LocalStorage(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert not checkpoint.exists(LocalStorage(tmp_path))


def refused(folder: Path, configuration: dict[str, object] = CONFIGURATION) -> str:
    with pytest.raises(UserError) as caught:
        checkpoint.load(LocalStorage(folder), configuration)
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
    storage, first = LocalStorage(tmp_path), replace(progress(), rows=progress().rows[:1])
    checkpoint.save(storage, first, CONFIGURATION)
    checkpoint.save(storage, progress(), CONFIGURATION)
    damage(tmp_path / checkpoint.FILE)
    assert equal(checkpoint.rows(storage), list(first.rows))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = checkpoint.load(storage, CONFIGURATION)
    assert found is not None
    assert equal(found.rows, first.rows)
    assert caplog.text.count("the previous one is used, with its 1 rounds") == 1
    assert str(tmp_path / checkpoint.FILE) in caplog.text

    # the next one must not push the damaged one to where the only good one stands
    checkpoint.save(storage, progress(), CONFIGURATION)
    flip(tmp_path / checkpoint.FILE)
    found = checkpoint.load(storage, CONFIGURATION)
    assert found is not None
    assert equal(found.rows, first.rows)


@pytest.mark.parametrize("damage", DAMAGE)
def test_where_all_are_damaged_it_is_the_users_to_remove_them(damage: Callable[[Path], None], tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    checkpoint.save(storage, progress(), CONFIGURATION)
    shutil.copy(tmp_path / checkpoint.FILE, tmp_path / checkpoint.PREVIOUS)
    for name in (checkpoint.FILE, checkpoint.PREVIOUS):
        damage(tmp_path / name)
    with pytest.raises(Damaged):
        checkpoint.rows(storage)
    assert "and the previous one too; remove both to start again" in refused(tmp_path)
    storage.delete(checkpoint.PREVIOUS)
    assert "and there is no previous one; remove it to start again" in refused(tmp_path)
    checkpoint.remove(storage)
    assert checkpoint.load(storage, CONFIGURATION) is None


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path, share: float) -> None:
    checkpoint.save(LocalStorage(tmp_path), progress(), CONFIGURATION)
    path = tmp_path / checkpoint.FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "the checkpoint is damaged" in refused(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"progress": "{}"}, "was written by avil_ray 0.1, whose checkpoints this version cannot read"),
        ({"avil_ray.format": "3"}, "was written by a newer avil_ray (format 3); this one reads format 2"),
    ],
)
def test_another_version_is_named_and_its_file_is_kept(metadata: dict[str, str], said: str, tmp_path: Path) -> None:
    checkpoint.save(LocalStorage(tmp_path), progress(), CONFIGURATION)
    checkpoint.save(LocalStorage(tmp_path), progress(), CONFIGURATION)
    save_file({"theta": np.ones(2, np.float32)}, tmp_path / checkpoint.FILE, metadata)
    assert said in refused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.FILE, checkpoint.PREVIOUS}


def test_a_checkpoint_that_may_be_read_another_time_is_not_damaged(tmp_path: Path) -> None:
    class Locked(LocalStorage):
        def read(self, name: str) -> bytes:
            raise PermissionError(13, "Permission denied")

    checkpoint.save(LocalStorage(tmp_path), progress(), CONFIGURATION)
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
    checkpoint.save(LocalStorage(tmp_path), progress(), CONFIGURATION)
    assert said in refused(tmp_path, {**CONFIGURATION, **changed})
    without = {name: value for name, value in CONFIGURATION.items() if name != "rounds"}
    assert "was saved with rounds = 3, but this run uses rounds = None" in refused(tmp_path, without)


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    """No pickle: a checkpoint runs no code when it is opened."""
    checkpoint.save(LocalStorage(tmp_path), progress(), CONFIGURATION)
    arrays = load_file(tmp_path / checkpoint.FILE)
    names = {"theta", "best", "state/0.momentum_buffer", "state/0.step", "state/many"}
    assert set(arrays) == {f"main/{name}" for name in names}


def test_numbers_that_are_not_finite_come_back_to_the_last_bit(tmp_path: Path) -> None:
    odd = np.array([0x7FC00001, 0xFFC00000, 0x7F800000, 0x80000000, 1], np.uint32).view(np.float32)
    checkpoint.save(LocalStorage(tmp_path), Progress(odd, {"a": -math.inf}, Best(0, math.nan, odd[::-1])), {})
    found = checkpoint.load(LocalStorage(tmp_path), {})
    assert found is not None
    assert found.best is not None
    assert found.theta.tobytes() == odd.tobytes()
    assert found.best.theta.tobytes() == odd[::-1].tobytes()
    assert (found.state["a"], math.isnan(found.best.score)) == (-math.inf, True)


@pytest.mark.parametrize("facts", [{"rows": 5}, {"rows": [5]}, {"configuration": 5}, {"tracks": 5}])
def test_facts_of_another_shape_are_damage(facts: dict[str, Any], tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    checkpoint.save(storage, progress(), {})
    path = tmp_path / checkpoint.FILE
    found = unpack(path.read_bytes())
    path.write_bytes(pack(Container(found.arrays, {**found.facts, **facts})))
    with pytest.raises(Damaged, match="not a checkpoint"):
        checkpoint.load(storage, {})
