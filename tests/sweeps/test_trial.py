"""What a trial tells the scheduler, and what it continues from; the rest of a trial is tested with the sweep."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small
from safetensors.numpy import load_file, save_file

from avil_ray import checkpoint
from avil_ray.errors import WorkFailed
from avil_ray.learning.track import MAIN, Best, Track
from avil_ray.methods.method import Memory, Run, Setting
from avil_ray.reports.records import read_record, trial_folder
from avil_ray.spaces.entries import TrialPlan
from avil_ray.storage import LocalStorage
from avil_ray.sweeps.sweep import settle
from avil_ray.sweeps.trial import CHECKPOINT, THETA, best_so_far, load_theta, make_ready, save_theta

SUITE = small.constant_suite()
THREE = np.arange(3, dtype=np.float32)
ROW = {"round": 0, "cost/gradient_steps": 12, "time/device": 0.5, "time/round": 0.25, "time/reserved": 0.75}
PLAN = TrialPlan("equal/c000/s1", "equal", "equal", 0, {}, 1)


@pytest.mark.parametrize(
    ("metric", "figures", "best"),
    [
        ("accuracy", [0.7, 0.9, 0.1], 0.9),
        ("mean_squared_error", [0.7, 0.9, 0.3, 2.0], 0.3),
        ("accuracy", [math.nan, 0.4, math.inf], 0.4),
    ],
)
def test_a_scheduler_is_told_the_best_of_the_rounds_so_far(metric: str, figures: list[float], best: float) -> None:
    mode = "min" if "error" in metric else "max"
    assert best_so_far([{f"select/{metric}": figure} for figure in figures], metric, mode) == best


def test_without_a_finite_figure_it_is_told_none() -> None:
    assert math.isnan(best_so_far([{"select/auc": math.nan}], "auc", "max"))


def interrupted(tmp_path: Path) -> Path:
    """The folder of a trial that has done two rounds."""
    folder = trial_folder(tmp_path, PLAN.key)
    (folder / CHECKPOINT).mkdir(parents=True)
    for rows in ((ROW,), (ROW, {**ROW, "round": 1})):
        setting = Setting(SUITE, SUITE.draw(0), 3, 1)
        run = Run(setting, {MAIN: Track(THREE, best=Best(0, 0.5, THREE))}, Memory(), rows)
        checkpoint.save(LocalStorage(folder / CHECKPOINT), run, {})
    return folder


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def folder_instead(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


@pytest.mark.parametrize("damage", [spoil, folder_instead])
def test_a_trial_whose_checkpoints_are_damaged_starts_anew_and_that_is_said(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = interrupted(tmp_path)
    assert make_ready(folder) == []
    assert make_ready(tmp_path / "nothing yet") == []
    storage = LocalStorage(folder / CHECKPOINT)
    damage(folder / CHECKPOINT / checkpoint.FILE)
    assert make_ready(folder) == []
    assert len(checkpoint.rows(storage)) == 1, "the previous one"
    damage(folder / CHECKPOINT / checkpoint.PREVIOUS)
    (said,) = make_ready(folder)
    assert said.endswith("; the trial restarts from its first round")
    assert str(folder / CHECKPOINT) in said
    assert not checkpoint.exists(storage)


def test_the_checkpoint_of_another_version_is_kept(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    save_file({"theta": THREE}, folder / CHECKPOINT / checkpoint.FILE, {"avil_ray.format": "2"})
    assert make_ready(folder) == []
    assert (folder / CHECKPOINT / checkpoint.FILE).exists()


def test_what_stands_in_the_place_of_a_trials_folders_gives_way(tmp_path: Path) -> None:
    folder = trial_folder(tmp_path, PLAN.key)
    (folder / THETA).mkdir(parents=True)
    (folder / CHECKPOINT).touch()
    assert make_ready(folder) == [f"{folder / CHECKPOINT} is not a folder; it is replaced"]
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.touch()
    assert make_ready(folder) == [f"{folder} is not a folder; it is replaced"]
    assert not folder.exists()


def test_a_trial_that_ended_otherwise_is_settled_with_its_cost(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    settle(tmp_path, PLAN, None, None)
    assert not (folder / "result.json").exists(), "it is neither failed nor stopped, so it was interrupted"
    settle(tmp_path, PLAN, None, "stopped by asha")
    record = read_record(folder)
    assert (record.status, record.reason) == ("stopped", "stopped by asha after 2 rounds")
    assert record.cost.gradient_steps == 24
    settle(tmp_path, PLAN, "too late", None)
    assert read_record(folder).status == "stopped"


def test_a_damaged_checkpoint_does_not_keep_a_trial_from_being_settled(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    for name in (checkpoint.FILE, checkpoint.PREVIOUS):
        spoil(folder / CHECKPOINT / name)
    settle(tmp_path, PLAN, "it diverged", None)
    record = read_record(folder)
    assert record.status == "failed"
    assert str(record.reason).startswith("it diverged; its cost is unknown: ")
    assert record.cost.gradient_steps == 0


def test_parameters_that_changed_are_found(tmp_path: Path) -> None:
    path = tmp_path / THETA
    save_theta(tmp_path, THREE)
    assert load_theta(tmp_path).tolist() == [0, 1, 2]
    assert load_file(path)["theta"].tolist() == [0, 1, 2], "plain safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WorkFailed, match=r"theta.safetensors: unreadable .the checksum is wrong."):
        load_theta(tmp_path)
    path.unlink()
    with pytest.raises(WorkFailed, match="No such file"):
        load_theta(tmp_path)
