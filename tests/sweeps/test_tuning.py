"""What Tune is told for thousands of trials."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune.search.variant_generator import generate_variants

from avil_ray.reports.records import RESULT, trial_folder, write_record
from avil_ray.sweeps.index import INDEX, Index
from avil_ray.sweeps.trial import make_record
from avil_ray.sweeps.tuning import WAITING, Indexed, Shared, few_waiting

KEY = "equal/c000/s1"
FACTS = {"key": KEY, "label": "equal", "method": "equal", "configuration": 0, "options": {}, "seed": 1}


class Counted:
    """Counts how often it is copied."""

    copies = 0

    def __deepcopy__(self, memo: object) -> Counted:
        Counted.copies += 1
        return self


def test_tune_makes_every_trial_of_a_grid_and_copies_none_of_the_others() -> None:
    values = [{"key": str(number), "counted": Counted()} for number in range(50)]
    space = {"config": {"trial": tune.grid_search(Shared(values))}}
    made = [spec["config"]["trial"] for _, spec in generate_variants(space)]
    assert made == values
    assert Counted.copies <= 2 * len(values), "and not their square"
    assert copy.deepcopy(Shared(values)) == values


def test_tune_keeps_few_trials_waiting_unless_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WAITING, raising=False)
    with few_waiting(3):
        assert os.environ[WAITING] == "4"
    assert WAITING not in os.environ
    monkeypatch.setenv(WAITING, "200")
    with few_waiting(3):
        assert os.environ[WAITING] == "200"
    assert os.environ[WAITING] == "200"


def ended(index: Index) -> None:
    trial: Any = SimpleNamespace(config={"trial": FACTS})
    Indexed(index).on_trial_complete(0, [], trial)


def test_trials_are_in_the_index_as_soon_as_they_end(tmp_path: Path) -> None:
    ended(Index(tmp_path))
    assert not (tmp_path / INDEX).exists(), "it left no record"
    write_record(trial_folder(tmp_path, KEY), make_record(FACTS, "stopped", []))
    ended(Index(tmp_path))
    assert KEY in (tmp_path / INDEX).read_text()


def test_a_damaged_record_ends_no_sweep(tmp_path: Path) -> None:
    write_record(trial_folder(tmp_path, KEY), make_record(FACTS, "finished", []))
    (trial_folder(tmp_path, KEY) / RESULT).write_text("{")
    ended(Index(tmp_path))
    assert not (tmp_path / INDEX).exists()
