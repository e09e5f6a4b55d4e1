"""A run on disk: all of it, whole or not at all, and only for the same configuration."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from avil_ray import checkpoint
from avil_ray.errors import UserError
from avil_ray.rounds import Best, Line, Progress

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
    return Progress(theta, state, Best(0, 1 / 7, best), rows)


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
    checkpoint.save(tmp_path / "a" / "b", stored, CONFIGURATION)
    found = checkpoint.load(tmp_path / "a" / "b", CONFIGURATION)
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
    checkpoint.save(tmp_path, stored, CONFIGURATION)
    found = checkpoint.load(tmp_path, CONFIGURATION)
    for name in ("theta", "state", "best", "rows", "index"):
        assert same(getattr(found, name), getattr(stored, name)), name
    for name in ("theta", "state", "best", "index"):
        assert same(getattr(found.aside, name), getattr(waits, name)), name


def test_a_run_without_a_round_comes_back_too(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, Progress(np.ones(2, np.float32)), {})
    found = checkpoint.load(tmp_path, {})
    assert found is not None
    assert (found.theta.tolist(), found.best, found.rows, dict(found.state)) == ([1, 1], None, (), {})
    assert found.aside is None


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "nowhere", CONFIGURATION) is None
    assert checkpoint.load(tmp_path, CONFIGURATION) is None
    assert checkpoint.rows(tmp_path) == []
    checkpoint.remove(tmp_path / "nowhere")


def test_a_write_that_was_cut_off_leaves_the_last_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, progress(), CONFIGURATION)
    (tmp_path / f"{checkpoint.FILE}.new").write_bytes(b"half a fi")
    assert checkpoint.load(tmp_path, CONFIGURATION) is not None
    checkpoint.save(tmp_path, Progress(np.zeros(1, np.float32)), CONFIGURATION)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]
    found = checkpoint.load(tmp_path, CONFIGURATION)
    assert found is not None
    assert found.theta.tolist() == [0]


def test_the_rows_alone(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, progress(), CONFIGURATION)
    assert equal(checkpoint.rows(tmp_path), list(progress().rows))


def test_a_run_that_is_done_leaves_nothing(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "run", progress(), CONFIGURATION)
    checkpoint.remove(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def refused(folder: Path, configuration: dict[str, object] = CONFIGURATION) -> str:
    with pytest.raises(UserError) as caught:
        checkpoint.load(folder, configuration)
    message = str(caught.value)
    assert message.startswith(f"{folder / checkpoint.FILE}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_a_damaged_file_is_the_users_to_remove(tmp_path: Path, share: float) -> None:
    checkpoint.save(tmp_path, progress(), CONFIGURATION)
    path = tmp_path / checkpoint.FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "not a checkpoint that can be read" in refused(tmp_path)
    assert "remove it to start again" in refused(tmp_path)
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.rows(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 100, b"theta: 1\n" * 20])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / checkpoint.FILE).write_bytes(content)
    assert "not a checkpoint that can be read" in refused(tmp_path)


@pytest.mark.parametrize(
    "metadata", [None, {}, {"progress": "{"}, {"progress": "[]"}, {"progress": "{}"}, {"progress": '{"rows": []}'}]
)
def test_tensors_of_another_kind_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"theta": np.ones(2, np.float32)}, tmp_path / checkpoint.FILE, metadata)
    assert "not a checkpoint that can be read" in refused(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rounds": 4}, "was made with rounds = 3, asked is 4"),
        ({"suite": "y"}, "was made with suite = 'x', asked is 'y'"),
        ({"method.weights": {"a": 0.6}}, "was made with method.weights = {'a': 0.5}, asked is {'a': 0.6}"),
        ({"new": 1}, "was made with new = None, asked is 1"),
    ],
)
def test_another_configuration_is_refused(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    checkpoint.save(tmp_path, progress(), CONFIGURATION)
    assert said in refused(tmp_path, {**CONFIGURATION, **changed})
    without = {name: value for name, value in CONFIGURATION.items() if name != "rounds"}
    assert "was made with rounds = 3, asked is None" in refused(tmp_path, without)


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    """No pickle: a checkpoint runs no code when it is opened."""
    checkpoint.save(tmp_path, progress(), CONFIGURATION)
    arrays = load_file(tmp_path / checkpoint.FILE)
    names = {"theta", "best", "state/0.momentum_buffer", "state/0.step", "state/many"}
    assert set(arrays) == names
